//! An embedded node's data goes into a cluster and back.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::kit::cli::{Cli, text};
use crate::kit::cluster::Cluster;
use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::kit::until;

/// Payments at each place.
const ROUND: usize = 40;

async fn pay_round(rpc: &Rpc, issued: &eschaton_types::Transaction, round: usize) {
    for n in round * ROUND..(round + 1) * ROUND {
        rpc.decide(&pay(&key(n as u64), outpoint(issued, n), stranger(7), 10)).await;
    }
    let count = (round + 1) * ROUND;
    until("all credits", async || (rpc.outputs(stranger(7)).await.len() == count).then_some(())).await;
}

/// Proves at the node, and checks elsewhere with the first node's key, that an output of round 0 was paid.
async fn prove(node: &Node, verifier: &str, outpoint: &str) {
    let cli = Cli::new(&node.url);
    let path = cli.file("proof.bin");
    let args = ["prove", "output", outpoint, "--out", text(&path), "--key", verifier];
    until("a proof", async || (cli.run(&args).code == 0).then_some(())).await;
    let checked = cli.json(&["verify", "output", outpoint, "--proof", text(&path), "--key", verifier]);
    assert!(checked["fact"].is_string(), "{checked}");
}

fn copy_key(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::copy(from.join("node.key"), to.join("node.key")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn into_a_cluster_and_back() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let [first, middle, last, out, back] =
        ["first", "middle", "last", "out", "back"].map(|name| dir.path().join(name));
    let cli = Cli::new("http://127.0.0.1:1");

    let node = Node::process(&first, &mint.options()).unwrap();
    let verifier = node.verifier_key.clone();
    let rpc = Rpc::connect(&node.url).await;
    let owners: Vec<_> = (0..3 * ROUND).map(|n| key(n as u64).address()).collect();
    let issued = mint.issue(&owners, 10, 0);
    rpc.decide(&issued).await;
    pay_round(&rpc, &issued, 0).await;
    let paid = format!("{}:0", issued.txid);
    prove(&node, &verifier, &paid).await;
    node.stop();
    let exported = cli.json(&["export", "--data-dir", text(&first), "--to", text(&out)]);

    copy_key(&first, &middle);
    let cluster = Cluster::new(&middle, &mint.options()).unwrap();
    let config = middle.join("cluster.toml");
    let there = ["--config", text(&config), "--data-dir", text(&middle)];
    let imported = cli.json(&[&["import", "--from", text(&out)], &there[..]].concat());
    same(&exported, &imported);
    // Again there is nothing to do.
    same(&exported, &cli.json(&[&["import", "--from", text(&out)], &there[..]].concat()));

    let nodes: Vec<_> = ["conflict-resolver", "merkle-prover"].map(|name| cluster.add(name).unwrap()).into();
    let refused = cli.fails(1, &[&["export", "--to", text(&back)], &there[..]].concat());
    assert!(refused.contains("still at work"), "{refused}");
    let edge = cluster.add("gossip-ingress,query").unwrap();
    assert_eq!(edge.verifier_key, verifier);
    let rpc = Rpc::connect(&edge.url).await;
    pay_round(&rpc, &issued, 1).await;
    prove(&edge, &verifier, &paid).await;
    edge.stop();
    for node in nodes {
        node.stop();
    }
    let exported = cli.json(&[&["export", "--to", text(&back)], &there[..]].concat());
    let refused = cli.fails(1, &[&["import", "--from", text(&out)], &there[..]].concat());
    assert!(refused.contains("holds something else"), "{refused}");
    let refused = cli.fails(1, &[&["import", "--from", text(&back)], &there[..]].concat());
    assert!(refused.contains("embedded engines only"), "{refused}");

    copy_key(&first, &last);
    let imported = cli.json(&["import", "--data-dir", text(&last), "--from", text(&back)]);
    same(&exported, &imported);
    let report = eschaton_node::check(&last, &dir.path().join("scratch"), 0, |_, _| {}).await.unwrap();
    assert_eq!(report.first_difference, None);
    assert_eq!(report.store_hash, exported["state_hash"].as_str().unwrap());
    let node = Node::process(&last, &mint.options()).unwrap();
    let rpc = Rpc::connect(&node.url).await;
    pay_round(&rpc, &issued, 2).await;
    prove(&node, &verifier, &paid).await;
    node.stop();
}

fn same(exported: &Value, imported: &Value) {
    for fact in ["records", "bytes", "rows", "state_hash", "verifier_key"] {
        assert_eq!(imported[fact], exported[fact], "{fact}");
    }
}
