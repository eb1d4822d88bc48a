//! What `cluster status` says of owners, lag and commits, and its words when a service is missing, silent or behind.

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::kit::cli::{Cli, text};
use crate::kit::cluster::Cluster;
use crate::kit::money::Mint;
use crate::kit::rpc::Rpc;
use crate::kit::until;
use crate::rounds::{ROUND, fund, paid, pay_round, pay_round_within};

/// The state, and its problems, which the exit status must fit.
fn status(cli: &Cli, cluster: &Cluster) -> (Value, Vec<String>) {
    let done = cli.run(&["cluster", "status", "--json", "--config", text(&cluster.config)]);
    let state: Value = serde_json::from_str(done.stdout.trim()).unwrap_or_else(|_| panic!("{done:?}"));
    let problems: Vec<String> = serde_json::from_value(state["problems"].clone()).unwrap();
    assert_eq!(done.code, i32::from(!problems.is_empty()), "{done:?}");
    (state, problems)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_owners_commits_and_what_is_missing_or_behind() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let cluster = Cluster::new(dir.path(), &mint.options()).unwrap();
    let cli = Cli::new("http://127.0.0.1:1");
    let (_, problems) = status(&cli, &cluster);
    let missing = |problem: &&String| problem.contains("start service conflict-resolver");
    assert_eq!(problems.iter().filter(missing).count(), 4, "{problems:?}");
    for service in ["merkle-prover", "gossip-ingress", "query"] {
        let told = format!("start service {service}");
        assert!(problems.iter().any(|problem| problem.contains(&told)), "{told}: {problems:?}");
    }

    let [resolver, prover, edge] =
        ["conflict-resolver", "merkle-prover", "gossip-ingress,query"].map(|name| cluster.add(name).unwrap());
    let rpc = Rpc::connect(&edge.url).await;
    let issued = fund(&rpc, &mint, 2).await;
    pay_round(&rpc, &issued, 0).await;
    paid(&rpc, ROUND).await;
    let state = until("no problems and no lag", async || {
        let (state, problems) = status(&cli, &cluster);
        let idle = state["shards"].as_array()?.iter().all(|shard| shard["lag"] == 0);
        (problems.is_empty() && idle && state["checkpoint"]["size"].as_u64()? == 1 + ROUND as u64)
            .then_some(state)
    })
    .await;
    let name = resolver.url.trim_start_matches("http://");
    for shard in state["shards"].as_array().unwrap() {
        assert_eq!(shard["owner"], name, "{shard}");
        assert_eq!(
            (&shard["behind_s"], &shard["rows_up_to"]),
            (&0.into(), &shard["committed_up_to"]),
            "{shard}"
        );
        assert!(shard["last_commit_ms"].as_u64().unwrap() > 1_700_000_000_000, "{shard}");
    }
    assert_eq!(state["provers"][0]["name"], prover.url.trim_start_matches("http://"));
    let at_the_edge = [edge.url.trim_start_matches("http://")];
    for what in ["ingresses", "queries"] {
        assert_eq!(state[what], serde_json::json!(at_the_edge), "{what}");
    }
    let human = cli.run(&["cluster", "status", "--config", text(&cluster.config)]);
    assert!(human.stdout.contains("all is well") && human.stdout.contains("last commit"), "{human:?}");

    // Its shards are its own while its session lasts; what it does not do is told by its age.
    kill_process(resolver.pid(), Signal::STOP).unwrap();
    let aside = {
        let (url, issued) = (edge.url.clone(), issued.clone());
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                let rpc = Rpc::connect(&url).await;
                pay_round_within(std::time::Duration::from_secs(240), &rpc, &issued, 1).await
            })
        })
    };
    until("a process that does not answer", async || {
        let (_, problems) = status(&cli, &cluster);
        problems
            .iter()
            .any(|problem| problem.contains(&format!("process {name} does not answer")))
            .then_some(())
    })
    .await;
    let problems = until("a shard without owner, and its lag", async || {
        let (state, problems) = status(&cli, &cluster);
        let lags = state["shards"].as_array()?.iter().any(|shard| shard["behind_s"].as_u64() > Some(10));
        (lags && problems.iter().any(|problem| problem.starts_with("shard "))).then_some(problems)
    })
    .await;
    println!("with a resolver that is stopped: {problems:#?}");
    kill_process(resolver.pid(), Signal::CONT).unwrap();
    aside.await.unwrap();
    until("all well again", async || status(&cli, &cluster).1.is_empty().then_some(())).await;
    // One that ends in order has told its groups.
    edge.stop();
    let (state, problems) = status(&cli, &cluster);
    assert_eq!((&state["ingresses"], &state["queries"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert!(problems.iter().any(|problem| problem.contains("start service gossip-ingress")), "{problems:?}");
    for node in [prover, resolver] {
        node.stop();
    }
}
