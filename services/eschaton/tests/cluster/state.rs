//! The store is a view: it may be dropped and comes back from the log, and a row that is not what the log says is found.

use eschaton_api::ingress::Outcome;
use serde_json::Value;

use crate::kit::cli::{Cli, text};
use crate::kit::cluster::Cluster;
use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::rounds::{ROUND, fund, paid, pay_round};

fn all_services(cluster: &Cluster) -> Vec<Node> {
    ["conflict-resolver", "merkle-prover", "gossip-ingress,query"]
        .map(|services| cluster.add(services).unwrap())
        .into()
}

/// What `verify state` says in the end; it must find no difference.
fn verified(cli: &Cli, there: &[&str]) -> Value {
    let mut lines = cli.json_lines(&[&["verify", "state"], there].concat());
    let last = lines.pop().unwrap();
    assert_eq!((&last["verified"], &last["difference"]), (&Value::Bool(true), &Value::Null), "{last}");
    assert_eq!(last["store_hash"], last["log_hash"]);
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_keyspace_comes_back_and_a_changed_row_is_named() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let cluster = Cluster::new(dir.path(), &mint.options()).unwrap();
    let cli = Cli::new("http://127.0.0.1:1");
    let there = ["--config", text(&cluster.config), "--data-dir", text(dir.path())];
    let nodes = all_services(&cluster);
    let rpc = Rpc::connect(&nodes[2].url).await;
    let issued = fund(&rpc, &mint, 2).await;
    pay_round(&rpc, &issued, 0).await;
    paid(&rpc, ROUND).await;

    // Beside processes that are at work, which go on undisturbed.
    let running = verified(&cli, &there);
    assert!(running["rows"].as_u64().unwrap() > 2 * ROUND as u64, "{running}");
    pay_round(&rpc, &issued, 1).await;
    paid(&rpc, 2 * ROUND).await;
    let before = verified(&cli, &there);
    assert_ne!(before["store_hash"], running["store_hash"]);
    nodes.into_iter().rev().for_each(|node| drop(node.stop()));

    let keyspace = &cluster.leavings.name;
    cluster.leavings.statement(&format!("DROP KEYSPACE {keyspace}")).await;
    cluster.migrate().unwrap();
    let nodes = all_services(&cluster);
    let rpc = Rpc::connect(&nodes[2].url).await;
    paid(&rpc, 2 * ROUND).await;
    let again = pay(&key(0), outpoint(&issued, 0), stranger(8), 10);
    let refused = rpc.submit(&again.bytes).await.unwrap();
    assert_eq!(refused.outcome(), Outcome::Rejected, "{refused:?}");
    nodes.into_iter().rev().for_each(|node| drop(node.stop()));
    let after = verified(&cli, &there);
    assert_eq!(after["checkpoints"], before["checkpoints"]);

    for table in ["outputs", "trees"] {
        let (part, key, value) = cluster.leavings.some_row(table).await;
        let mut changed = value.clone();
        *changed.last_mut().unwrap() ^= 1;
        let put = async |value: &[u8]| {
            let (part, key, value) = (hex(&part), hex(&key), hex(value));
            let update = format!("UPDATE {keyspace}.{table} SET value = 0x{value}");
            cluster.leavings.statement(&format!("{update} WHERE part = 0x{part} AND key = 0x{key}")).await;
        };
        put(&changed).await;
        let done = cli.run(&[&["verify", "state"], &there[..]].concat());
        assert_eq!(done.code, 1, "{done:?}");
        for told in [table, &hex(&key), &hex(&changed[..changed.len().min(64)])] {
            assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
        }
        put(&value).await;
    }
    assert_eq!(verified(&cli, &there)["store_hash"], after["store_hash"]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
