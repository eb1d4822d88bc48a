//! Replicas come, go, are killed and are stopped in mid-work; payments go on and none is made twice.

use eschaton_api::ingress::Outcome;
use rustix::process::{Signal, kill_process};

use crate::kit::cluster::Cluster;
use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::rpc::Rpc;
use crate::rounds::{ROUND, fund, paid, pay_round};

#[tokio::test(flavor = "multi_thread")]
async fn shards_move_when_replicas_come_go_and_die() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let cluster = Cluster::new(dir.path(), &mint.options()).unwrap();
    let first = cluster.add("conflict-resolver").unwrap();
    let prover = cluster.add("merkle-prover").unwrap();
    let edge = cluster.add("gossip-ingress,query").unwrap();
    let rpc = Rpc::connect(&edge.url).await;
    let issued = fund(&rpc, &mint, 5).await;
    pay_round(&rpc, &issued, 0).await;

    let second = cluster.add("conflict-resolver").unwrap();
    pay_round(&rpc, &issued, 1).await;
    first.stop();
    pay_round(&rpc, &issued, 2).await;

    let third = cluster.add("conflict-resolver").unwrap();
    pay_round(&rpc, &issued, 3).await;
    second.kill();
    let took = pay_round(&rpc, &issued, 4).await;
    println!("a round of {ROUND} payments over a killed resolver took {took:?}");

    // Nobody was paid twice: what was spent is spent once, what was paid is there once.
    paid(&rpc, 5 * ROUND).await;
    third.stop();
    prover.stop();
    edge.stop();
}

/// One that was stopped beyond its session wakes up with a batch in hand. Whatever it does then is not seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_slept_through_its_takeover_changes_nothing() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let cluster = Cluster::new(dir.path(), &mint.options()).unwrap();
    let sleeper = cluster.add("conflict-resolver").unwrap();
    let prover = cluster.add("merkle-prover").unwrap();
    let edge = cluster.add("gossip-ingress,query").unwrap();
    let rpc = Rpc::connect(&edge.url).await;
    let issued = fund(&rpc, &mint, 3).await;
    pay_round(&rpc, &issued, 0).await;

    kill_process(sleeper.pid(), Signal::STOP).unwrap();
    // These wait on the log for whoever owns their shards; the sleeper wakes up to the same ones.
    let successor = cluster.add("conflict-resolver").unwrap();
    let took = pay_round(&rpc, &issued, 1).await;
    println!("a round of {ROUND} payments over a stopped resolver took {took:?}");
    kill_process(sleeper.pid(), Signal::CONT).unwrap();
    pay_round(&rpc, &issued, 2).await;

    let again = pay(&key(0), outpoint(&issued, 0), stranger(8), 10);
    let refused = rpc.submit(&again.bytes).await.unwrap();
    assert_eq!(refused.outcome(), Outcome::Rejected, "{refused:?}");
    paid(&rpc, 3 * ROUND).await;
    assert!(rpc.outputs(stranger(8)).await.is_empty());
    for node in [edge, successor, prover, sleeper] {
        node.stop();
    }
}
