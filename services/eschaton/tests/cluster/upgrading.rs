//! A newer program takes over a cluster from an older one.

use crate::kit::cluster::Cluster;
use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::rpc::Rpc;
use crate::rounds::{ROUND, fund, paid, pay_round};

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_older_programs_would_not_survive_waits_for_their_end() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let cluster = Cluster::new(dir.path(), &mint.options()).unwrap();
    let keyspace = &cluster.leavings.name;
    let resolver = cluster.add("conflict-resolver").unwrap();
    let rest = cluster.add("merkle-prover,gossip-ingress,query").unwrap();
    let rpc = Rpc::connect(&rest.url).await;
    let issued = fund(&rpc, &mint, 1).await;
    pay_round(&rpc, &issued, 0).await;
    paid(&rpc, ROUND).await;
    drop(rest.stop());

    // What a program of schema 2 had left.
    let set = |version: u32| {
        format!("UPDATE {keyspace}.meta SET value = '{version}' WHERE name = 'schema_version'")
    };
    cluster.leavings.statement(&set(2)).await;
    let refused = cluster.migrate().unwrap_err();
    for told in ["schema 2", "at work as conflict-resolver", "stop every process", "repeat the command"] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    let refused = cluster.add("query").map(drop).unwrap_err();
    assert!(refused.stderr.contains("run `eschaton migrate`"), "{}", refused.stderr);

    drop(resolver.stop());
    cluster.migrate().unwrap();
    let nodes = ["conflict-resolver", "merkle-prover,gossip-ingress,query"]
        .map(|services| cluster.add(services).unwrap());
    let rpc = Rpc::connect(&nodes[1].url).await;
    paid(&rpc, ROUND).await;
    let again = pay(&key(0), outpoint(&issued, 0), stranger(8), 10);
    let refused = rpc.submit(&again.bytes).await.unwrap();
    assert_eq!(refused.outcome(), eschaton_api::ingress::Outcome::Rejected, "{refused:?}");
    nodes.into_iter().rev().for_each(|node| drop(node.stop()));
}
