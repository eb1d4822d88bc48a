//! The state of a ledger against its log: nothing differs after payments, and a changed row is named.

use std::path::Path;

use eschaton_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions};
use eschaton_ports::{
    Log, NewRecord, Row, RowChange, Store, StoreBatch, Table, Topic, TopicPartition, Watermark,
};
use eschaton_types::pb::log::{Decision, State};
use prost::Message;

use crate::kit::cli::{Cli, text};
use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::kit::until;

const PAYMENTS: usize = 40;

/// A stopped node's directory, after payments that are all in a checkpoint.
async fn used(dir: &Path) {
    let mint = Mint::new();
    let node = Node::start(dir, &mint.options());
    let rpc = Rpc::connect(&node.url).await;
    let owners: Vec<_> = (0..PAYMENTS).map(|n| key(n as u64).address()).collect();
    let issued = mint.issue(&owners, 10, 0);
    rpc.accept(&issued).await;
    let payments =
        (0..PAYMENTS).map(|n| pay(&key(n as u64), outpoint(&issued, n), stranger(1), 10).bytes).collect();
    rpc.batch(payments, false).await;
    let all = (PAYMENTS + 1) as u64;
    until("a checkpoint over all", async || (rpc.status().await.checkpoint_size == all).then_some(())).await;
    node.stop();
}

/// The middle row of a table whose key begins so.
async fn some_row(store: &EmbeddedStore, table: Table, prefix: &[u8]) -> Row {
    let rows = store.scan(table, prefix, None, 1_000).await.unwrap().rows;
    rows[rows.len() / 2].clone()
}

/// Writes past everything that writes rows.
async fn put(store: &EmbeddedStore, nth: u64, table: Table, (key, value): &Row) {
    let row = RowChange { table, key: key.clone(), value: Some(value.clone()) };
    let watermark = Watermark { sequence: nth, input_next: nth };
    let batch = StoreBatch { worker: "vandal".into(), family: table.family(), watermark, rows: vec![row] };
    store.apply(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_is_named_and_an_unchanged_store_passes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    used(&data).await;
    let cli = Cli::new("http://127.0.0.1:1");
    let scratch = dir.path().join("scratch");
    let verify = ["verify", "state", "--data-dir", text(&data), "--scratch", text(&scratch)];

    for how in [&[][..], &["--from-changes"]] {
        let lines = cli.json_lines(&[&verify[..], how].concat());
        let (last, progress) = lines.split_last().unwrap();
        assert!(progress.iter().any(|line| line["progress"] == "making trees" || line["of"].is_u64()));
        assert_eq!((&last["verified"], &last["difference"]), (&true.into(), &serde_json::Value::Null));
        assert_eq!(last["store_hash"], last["log_hash"]);
        // Outputs: issued, and paid to the stranger. Transactions have one row for the issuance.
        assert!(last["rows"].as_u64().unwrap() > 2 * PAYMENTS as u64, "{last}");
        assert!(last["checkpoints"].as_u64().unwrap() > 0 && last["records"].as_u64().unwrap() > 0, "{last}");
        // The issuance's and each payment's; none is made where nothing is decided.
        let decisions = last["decisions"].as_u64().unwrap();
        assert!(if how.is_empty() { decisions > PAYMENTS as u64 } else { decisions == 0 }, "{last}");
        assert!(!scratch.exists());
    }

    let tables =
        [(Table::Outputs, &b""[..]), (Table::Trees, b"M"), (Table::Trees, b"C"), (Table::Trees, b"T")];
    for (nth, (table, prefix)) in (1..).zip(tables) {
        let row = {
            let (store, _) = EmbeddedStore::open(&data.join("store"), &StoreOptions::default()).unwrap();
            let row = some_row(&store, table, prefix).await;
            let mut value = row.1.to_vec();
            *value.last_mut().unwrap() ^= 1;
            put(&store, 2 * nth, table, &(row.0.clone(), value.into())).await;
            store.flush().await.unwrap();
            row
        };
        let done = cli.run(&[&verify[..], &["--json"]].concat());
        assert_eq!(done.code, 1, "{done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
        let last: serde_json::Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
        let difference = &last["difference"];
        assert_eq!(last["verified"], false);
        assert_eq!(difference["table"], table.name(), "{last}");
        assert_eq!(difference["key"], hex(&row.0), "{last}");
        assert!(
            difference["log_says"].as_str().unwrap().contains(&hex(&row.1[..row.1.len().min(32)])),
            "{last}"
        );
        assert!(done.stderr.contains(&hex(&row.0)) && done.stderr.contains(table.name()), "{}", done.stderr);
        let (store, _) = EmbeddedStore::open(&data.join("store"), &StoreOptions::default()).unwrap();
        put(&store, 2 * nth + 1, table, &row).await;
        store.flush().await.unwrap();
    }
    assert_eq!(cli.run(&verify).code, 0);

    // A decision that no input ever led to, published past every worker.
    let forged = Decision { txid: vec![9; 32].into(), state: State::Rejected.into(), ..Decision::default() };
    {
        let (log, _) = EmbeddedLog::open(&data.join("log"), &LogOptions::new(4)).unwrap();
        let to = TopicPartition { topic: Topic::Decisions, partition: 2 };
        let payload = forged.encode_to_vec().into();
        log.append(vec![NewRecord { to, at_ms: 1, id: None, trace: None, payload }]).await.unwrap();
    }
    let done = cli.run(&verify);
    assert_eq!(done.code, 1, "{done:?}");
    for told in ["table decisions", "decisions/2", "the log says no decision", &hex(&[9; 32])] {
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
    }
    assert!(cli.fails(1, &["verify", "state", "--data-dir", text(dir.path())]).contains("node.json"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
