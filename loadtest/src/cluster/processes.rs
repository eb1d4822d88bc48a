//! Services in processes of their own, on topics and a keyspace of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, anyhow};
use clap::Args;
use eschaton_node::{Layers, NodeConfig};
use eschaton_types::{Address, Network};

use crate::node::{Running, serve_until_told, telemetry};

/// Where the engines are.
#[derive(Args, Clone)]
pub(crate) struct Engines {
    /// Kafka that runs already
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: String,
    /// Cassandra or Scylla that runs already
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) cql: String,
    /// Its user
    #[arg(long, default_value = "cassandra")]
    pub(crate) cql_user: String,
    /// Its user's password
    #[arg(long, default_value = "cassandra")]
    pub(crate) cql_password: String,
    /// Any other setting of the services, as in their configuration: shard_turn_ms=0, kafka.compression=none
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Engines {
    /// On this machine, with the scripts' user.
    pub(crate) fn here(kafka_port: u16, cql_port: u16) -> Self {
        Self {
            kafka: format!("127.0.0.1:{kafka_port}"),
            cql: format!("127.0.0.1:{cql_port}"),
            cql_user: "cassandra".to_owned(),
            cql_password: "cassandra".to_owned(),
            set: Vec::new(),
        }
    }
}

/// What all processes of a cluster have in common.
pub(crate) struct Shape {
    pub(crate) shards: u32,
    pub(crate) partition_bits: u8,
}

/// Options of subcommand `service`.
#[derive(Args)]
pub(crate) struct ServiceArgs {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    service: String,
}

/// The process that [`Cluster::start`] starts.
pub(crate) async fn serve(args: ServiceArgs) -> anyhow::Result<()> {
    let config = read(&args.config, &args.service)?;
    let metrics = telemetry(([127, 0, 0, 1], 0).into())?;
    serve_until_told(config, Some(metrics)).await
}

fn read(file: &Path, services: &str) -> anyhow::Result<NodeConfig> {
    let mut layers = Layers::default();
    layers.file(file)?;
    layers.option("services", services);
    layers.settings()?.node(&layers).map_err(|wrong| {
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        anyhow!(lines.join("; "))
    })
}

/// A cluster's configuration.
pub(crate) struct Cluster {
    file: PathBuf,
    /// Processes so far.
    started: AtomicUsize,
    pub(crate) config: NodeConfig,
}

impl Cluster {
    /// Makes topics and tables whose names begin with `name`, and writes the configuration and later the node's key
    /// into `dir`.
    pub(crate) async fn make(
        dir: &Path,
        name: &str,
        engines: &Engines,
        shape: &Shape,
        issuer: &Address,
    ) -> anyhow::Result<Self> {
        let file = dir.join(format!("{name}.toml"));
        let mut settings = toml::toml! {
            kafka.replication = 1
            cql.migrate.replicas = 1
        };
        set(&mut settings, "", "data_dir", dir.to_string_lossy().into_owned());
        set(&mut settings, "", "grpc", "127.0.0.1:0".to_owned());
        set(&mut settings, "", "shards", i64::from(shape.shards));
        set(&mut settings, "", "native_issuer", issuer.to_text(Network::Dev));
        set(&mut settings, "kafka", "bootstrap", engines.kafka.clone());
        set(&mut settings, "kafka", "topic_prefix", name.to_owned());
        set(&mut settings, "cql", "nodes", vec![engines.cql.clone()]);
        set(&mut settings, "cql", "user", engines.cql_user.clone());
        set(&mut settings, "cql", "password", engines.cql_password.clone());
        set(&mut settings, "cql", "keyspace", name.to_owned());
        set(&mut settings, "cql", "partition_bits", i64::from(shape.partition_bits));
        for setting in &engines.set {
            let (key, value) =
                setting.split_once('=').with_context(|| format!("--set {setting}: it must be KEY=VALUE"))?;
            let (section, key) = key.rsplit_once('.').unwrap_or(("", key));
            let value = value.parse().unwrap_or_else(|_| toml::Value::String(value.to_owned()));
            set(&mut settings, section, key, value);
        }
        std::fs::write(&file, settings.to_string())
            .with_context(|| format!("{} cannot be written", file.display()))?;
        let config = read(&file, "gossip-ingress")?;
        eschaton_node::migrate(&config).await?;
        Ok(Self { file, started: AtomicUsize::new(0), config })
    }

    /// Starts one more process with these services; returns when it serves. Its messages go to a file of its own
    /// beside the configuration.
    pub(crate) fn start(&self, services: &str) -> anyhow::Result<Running> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let messages = self.file.with_extension(format!("{number}.{services}.log"));
        let arguments: [OsString; 5] = [
            "service".into(),
            "--config".into(),
            self.file.clone().into(),
            "--service".into(),
            services.into(),
        ];
        let stderr = std::fs::File::create(&messages)?;
        Running::launch(arguments, stderr.into())
            .with_context(|| format!("service {services} did not start; see {}", messages.display()))
    }
}

fn set(settings: &mut toml::Table, section: &str, key: &str, value: impl Into<toml::Value>) {
    let table = match section {
        "" => Some(settings),
        section => {
            settings.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new())).as_table_mut()
        }
    };
    if let Some(table) = table {
        table.insert(key.to_owned(), value.into());
    }
}
