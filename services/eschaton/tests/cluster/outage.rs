//! An engine is down at the start and in mid-run. Health, status and metrics say so, nothing that was acknowledged is
//! lost, and payments go on by themselves when it is back.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::engines::{Engine, SmallDisk, alone};
use crate::kit::cli::{Cli, Done, text};
use crate::kit::cluster::{Cluster, engine};
use crate::kit::money::Mint;
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::kit::{until, until_within};
use crate::rounds::{ROUND, fund, paid, pay_round_within};

/// For payments that wait for an engine's return.
const LONG: Duration = Duration::from_secs(240);

/// From an engine's return until payments that waited for it are decided: a session time-out (8 s), an opening, a client
/// that asks again each 10 s, and room for a small machine.
const RECOVERY: Duration = Duration::from_secs(40);

/// What a process's health service says under a name; none when it does not answer.
async fn health(url: &str, service: &str) -> Option<ServingStatus> {
    let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.ok()?;
    let request = HealthCheckRequest { service: service.to_owned() };
    Some(HealthClient::new(channel).check(request).await.ok()?.into_inner().status())
}

async fn is(url: &str, ready: bool) {
    let wanted = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    until_within(LONG, &format!("readiness {ready} of {url}"), async || {
        (health(url, "ready").await? == wanted).then_some(())
    })
    .await;
    assert_eq!(health(url, "").await, Some(ServingStatus::Serving), "it must not be restarted for that");
}

/// The value of `eschaton_problem` for a part.
async fn problem_metric(node: &Node, part: &str) -> Option<u8> {
    let wanted = format!("eschaton_problem{{part=\"{part}\"}} ");
    let text = node.scrape();
    text.lines().find_map(|line| line.strip_prefix(&wanted)).map(|value| value.trim().parse().unwrap())
}

/// A round beside the test.
fn pay_aside(
    rpc: &Rpc,
    issued: &eschaton_types::Transaction,
    round: usize,
) -> tokio::task::JoinHandle<Duration> {
    let (rpc, issued) = (rpc.clone(), issued.clone());
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(pay_round_within(LONG, &rpc, &issued, round)))
}

struct Town {
    cluster: Cluster,
    /// Resolver, prover, edge.
    nodes: Vec<Node>,
    rpc: Rpc,
    cli: Cli,
}

impl Town {
    async fn found(kafka: String, cql: String, dir: &Path, mint: &Mint) -> Self {
        let cluster = Cluster::on(kafka, cql, dir, &mint.options()).unwrap();
        let nodes = ["conflict-resolver", "merkle-prover", "gossip-ingress,query"];
        let nodes: Vec<Node> = nodes.map(|services| cluster.add(services).unwrap()).into();
        let rpc = Rpc::connect(&nodes[2].url).await;
        Self { cluster, nodes, rpc, cli: Cli::new("http://127.0.0.1:1") }
    }

    fn status(&self) -> Done {
        self.cli.run(&["cluster", "status", "--json", "--config", text(&self.cluster.config)])
    }

    /// The problems of `cluster status`, whose exit status must fit.
    fn problems(&self) -> Vec<String> {
        let done = self.status();
        let state: Value = serde_json::from_str(done.stdout.trim()).unwrap_or_else(|_| panic!("{done:?}"));
        let problems: Vec<String> = serde_json::from_value(state["problems"].clone()).unwrap();
        assert_eq!(done.code, i32::from(!problems.is_empty()), "{done:?}");
        problems
    }

    /// While `part` is away: who has what to say says it.
    async fn told(&self, part: &str, by_status: &str) {
        for node in &self.nodes {
            is(&node.url, false).await;
            until("the metric", async || (problem_metric(node, part).await? == 1).then_some(())).await;
        }
        let own = self.rpc.status().await.problems;
        assert!(own.iter().any(|problem| problem.starts_with(&format!("{part}: "))), "{own:?}");
        let whole = self.problems();
        assert!(whole.iter().any(|problem| problem.contains(by_status)), "{whole:?}");
        let troubled = whole.iter().filter(|problem| problem.contains("has trouble")).count();
        println!(
            "cluster status while the {part} is away: {whole:#?}; {troubled} processes speak for themselves"
        );
    }

    /// After its return.
    async fn well_again(&self, part: &str) {
        for node in &self.nodes {
            is(&node.url, true).await;
            assert_eq!(problem_metric(node, part).await, Some(0));
        }
        until_within(LONG, "no problems", async || self.problems().is_empty().then_some(())).await;
    }

    /// Everything that was paid is there once, and the rows are what the log says.
    async fn whole(self, payments: usize) {
        paid(&self.rpc, payments).await;
        let verify = ["verify", "state", "--config", text(&self.cluster.config)];
        let done = self.cli.run(&verify);
        assert_eq!(done.code, 0, "{done:?}");
        for node in self.nodes.into_iter().rev() {
            node.stop();
        }
    }
}

/// Kills an engine under payments, starts one process more meanwhile, starts the engine again.
async fn goes_and_comes_back(which: &Engine, part: &str, by_status: &str, town: Town, mint: &Mint) {
    let rpc = town.rpc.clone();
    let issued = fund(&rpc, mint, 3).await;
    pay_round_within(LONG, &rpc, &issued, 0).await;
    which.run("kill9");
    let killed = Instant::now();
    let waiting = pay_aside(&rpc, &issued, 1);
    town.told(part, by_status).await;

    // One that starts now waits, lives, and is not ready.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (late, away) = std::thread::scope(|scope| {
        let late = scope.spawn(|| town.cluster.add_with("conflict-resolver", &["--grpc", &free]));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(is(&format!("http://{free}"), false));
        });
        // Without the store, payments go on whose inputs a resolver remembers.
        assert!(part == "store" || !waiting.is_finished(), "nothing is decided while the {part} is away");
        which.run("start");
        let away = killed.elapsed();
        (late.join().unwrap().unwrap(), away)
    });
    let after = waiting.await.unwrap().saturating_sub(away);
    println!(
        "the {part} was away for {away:?}; a round of {ROUND} payments was done {after:?} after its return"
    );
    // Who lost the broker for longer than a session joins anew, and the group waits for the former members' sessions.
    assert!(after < RECOVERY, "payments go on {after:?} after the {part} is back");
    is(&late.url, true).await;
    pay_round_within(LONG, &rpc, &issued, 2).await;
    town.well_again(part).await;
    late.stop();
    town.whole(3 * ROUND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_goes_and_comes_back() {
    let _alone = alone().await;
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let database = Engine::cassandra();
    let town = Town::found(engine("ESCHATON_TEST_KAFKA"), database.address(), dir.path(), &mint).await;
    goes_and_comes_back(&database, "store", "no node of the store answers", town, &mint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_goes_and_comes_back() {
    let _alone = alone().await;
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let broker = Engine::kafka(&[]);
    let town = Town::found(broker.address(), engine("ESCHATON_TEST_CQL"), dir.path(), &mint).await;
    goes_and_comes_back(&broker, "log", "no kafka broker answered", town, &mint).await;
}

/// A broker whose disk is full ends itself. Payments wait; with room again and a new start they go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_broker_loses_nothing() {
    let _alone = alone().await;
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let disk = SmallDisk::mount(dir.path().join("disk"), 256).unwrap_or_else(|why| {
        panic!("a full disk is tried on a small file system, and this user may not mount one ({why}); run as root, or \
                leave this test out by name: --skip a_full_disk_of_the_broker_loses_nothing")
    });
    let broker =
        Engine::kafka(&[("KAFKA_DATA", dir.path().join("disk/data").to_string_lossy().into_owned())]);
    let town = Town::found(broker.address(), engine("ESCHATON_TEST_CQL"), dir.path(), &mint).await;
    let rpc = town.rpc.clone();
    let issued = fund(&rpc, &mint, 2).await;
    pay_round_within(LONG, &rpc, &issued, 0).await;
    disk.fill();
    let waiting = pay_aside(&rpc, &issued, 1);
    town.told("log", "no kafka broker answered").await;
    assert!(!waiting.is_finished(), "nothing is decided without room for it");
    disk.make_room();
    broker.run("start");
    waiting.await.unwrap();
    town.well_again("log").await;
    town.whole(2 * ROUND).await;
}
