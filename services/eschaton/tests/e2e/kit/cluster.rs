//! A cluster: real engines that somebody started, and a process for each service.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::engines::Leavings;
use super::node::{Ended, Node, collect, wait};

/// What the processes of one cluster have in common: a directory and the names that follow from it. Dropped, its
/// topics and tables are deleted: drop the processes before it.
pub(crate) struct Cluster {
    dir: PathBuf,
    pub(crate) config: PathBuf,
    options: Vec<String>,
    #[allow(dead_code, reason = "the other test binary's")]
    pub(crate) leavings: Leavings,
}

/// An engine's address.
pub(crate) fn engine(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; start the engines and name them, or run .ci/test, which does both")
    })
}

impl Cluster {
    /// Makes topics and tables of its own, named after the directory.
    pub(crate) fn new(dir: &Path, options: &[&str]) -> Result<Self, Ended> {
        Self::on(engine("ESCHATON_TEST_KAFKA"), engine("ESCHATON_TEST_CQL"), dir, options)
    }

    /// As [`Cluster::new`], on these engines.
    pub(crate) fn on(kafka: String, cql: String, dir: &Path, options: &[&str]) -> Result<Self, Ended> {
        let leavings = Leavings::new(dir, kafka.clone(), cql.clone());
        let name = &leavings.name;
        let config = dir.join("cluster.toml");
        std::fs::write(
            &config,
            format!(
                "[kafka]\nbootstrap = \"{kafka}\"\ntopic_prefix = \"{name}\"\nreplication = 1\n\
                 [cql]\nnodes = [\"{cql}\"]\nuser = \"cassandra\"\npassword = \"cassandra\"\nkeyspace = \"{name}\"\npartition_bits = 4\nmigrate.replicas = 1\n"
            ),
        )
        .unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let cluster = Self { dir: dir.to_owned(), config, options, leavings };
        cluster.migrate().map(|()| cluster)
    }

    /// Makes what is missing of topics and tables.
    pub(crate) fn migrate(&self) -> Result<(), Ended> {
        let mut migrate = Command::new(env!("CARGO_BIN_EXE_eschaton"))
            .arg("migrate")
            .arg("--config")
            .arg(&self.config)
            .arg("--data-dir")
            .arg(&self.dir)
            .args(&self.options)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = collect(migrate.stderr.take().unwrap());
        let status = wait(&mut migrate);
        match status.success() {
            true => Ok(()),
            false => Err(Ended { status, stderr: stderr.join().unwrap() }),
        }
    }

    /// One more process with these services.
    pub(crate) fn add(&self, services: &str) -> Result<Node, Ended> {
        self.add_with(services, &[])
    }

    /// As [`Cluster::add`], with options of its own.
    pub(crate) fn add_with(&self, services: &str, more: &[&str]) -> Result<Node, Ended> {
        let config = self.config.to_string_lossy();
        let mut options = vec!["--config", &config, "--service", services];
        options.extend(more);
        options.extend(self.options.iter().map(String::as_str));
        // Who neither signs nor issues does without keys.
        let keys = ["merkle-prover", "gossip-ingress"].iter().any(|name| services.contains(name));
        Node::process_in(keys.then_some(&self.dir), &options)
    }
}

/// A cluster in four processes; the one with ingress and queries is the node.
pub(crate) fn start(dir: &Path, options: &[&str]) -> Result<Node, Ended> {
    let cluster = Cluster::new(dir, options)?;
    let others = ["conflict-resolver", "conflict-resolver", "merkle-prover"]
        .map(|service| cluster.add(service))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let edge = cluster.add("gossip-ingress,query")?;
    Ok(edge.with(others, cluster))
}
