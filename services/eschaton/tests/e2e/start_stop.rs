//! Draining, starting again, and directories that must not be opened.

use std::fs;
use std::path::{Path, PathBuf};

use eschaton_api::ingress::Outcome;
use eschaton_types::Network;

use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::kit::until;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_calls_under_way_and_the_next_start_serves_the_same() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    // The window keeps the call under way while the node is told to stop.
    let options = [mint.options().as_slice(), &["--window-ms", "4000"]].concat();
    let node = Node::start(dir.path(), &options);
    let rpc = Rpc::connect(&node.url).await;
    let (owner, receiver) = (key(1), stranger(1));
    let issued = mint.issue(&[owner.address()], 10, 0);
    rpc.accept(&issued).await;
    let payment = pay(&owner, outpoint(&issued, 0), receiver, 10);
    let call = tokio::spawn({
        let (rpc, bytes) = (rpc.clone(), payment.bytes.clone());
        async move { rpc.submit(&bytes).await }
    });
    until("the payment pending", async || {
        rpc.transaction(&payment.txid).await.filter(|found| found.state == "PENDING")
    })
    .await;
    node.signal_stop();
    let answer = call.await.unwrap().unwrap();
    assert_eq!((answer.outcome(), &answer.txid), (Outcome::Accepted, &payment.txid.to_bytes()), "{answer:?}");
    drop(rpc);
    let ended = node.ended();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");

    let node = Node::start(dir.path(), &options);
    let rpc = Rpc::connect(&node.url).await;
    let found = rpc.transaction(&payment.txid).await.unwrap();
    assert_eq!((found.state.as_str(), found.at_ms), ("ACCEPTED", answer.at_ms));
    assert_eq!(rpc.outputs(owner.address()).await[0].spent_by, payment.txid.to_bytes());
    // Credited by the receiver's shard, which may have been told to stop before it came to that.
    let received =
        until("the credit", async || Some(rpc.outputs(receiver).await).filter(|all| !all.is_empty())).await;
    assert_eq!((received.len(), received[0].amount), (1, 10), "{received:?}");
}

/// Starting must fail with one line on standard error that says this.
fn refused(dir: &Path, options: &[&str], says: &[&str]) {
    let Err(ended) = Node::try_start(dir, options) else { panic!("{options:?}: the node serves") };
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let [line] = lines[..] else { panic!("{options:?}: not one line: {ended:?}") };
    for words in says {
        assert!(line.starts_with("error: ") && line.contains(words), "`{words}` is not in: {line}");
    }
}

#[test]
fn a_directory_in_use_or_made_otherwise_is_refused() {
    let (dir, issuer) = (tempfile::tempdir().unwrap(), key(1).address());
    let node = Node::start(dir.path(), &[]);
    refused(dir.path(), &[], &["in use by another process", "use another directory"]);
    node.stop();
    refused(dir.path(), &["--shards", "8"], &["made with number of shards 4", "opened with 8"]);
    let (main, test) = (issuer.to_text(Network::Main), issuer.to_text(Network::Test));
    refused(
        dir.path(),
        &["--network", "main", "--native-issuer", &main],
        &["network dev", "opened with main"],
    );
    refused(
        dir.path(),
        &["--network", "test", "--native-issuer", &test],
        &["network dev", "opened with test"],
    );
    refused(
        dir.path(),
        &["--origin", "elsewhere.example"],
        &["origin eschaton.local/dev", "opened with elsewhere"],
    );
    refused(dir.path(), &["--network", "main"], &["set --native-issuer"]);
    // Refusals changed nothing.
    Node::start(dir.path(), &[]).stop();
}

/// The journal that a stopped node wrote last.
fn newest_journal(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("log/engine")).unwrap().map(|entry| entry.unwrap().path());
    let journals = entries.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_log_tail_is_reported_and_the_node_serves() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let node = Node::start(dir.path(), &mint.options());
    let owner = key(1);
    let issued = mint.issue(&[owner.address()], 10, 0);
    Rpc::connect(&node.url).await.accept(&issued).await;
    node.stop();

    // What a crash in the middle of a write leaves: the head of a batch, and not its end.
    let journal = newest_journal(dir.path());
    let mut bytes = fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let head: Vec<u8> = bytes[..100].to_vec();
    bytes.truncate(end);
    bytes.extend(head);
    fs::write(&journal, bytes).unwrap();

    let node = Node::start(dir.path(), &mint.options());
    let rpc = Rpc::connect(&node.url).await;
    assert_eq!(rpc.transaction(&issued.txid).await.unwrap().state, "ACCEPTED");
    rpc.accept(&pay(&owner, outpoint(&issued, 0), stranger(1), 10)).await;
    drop(rpc);
    let ended = node.stop();
    assert!(ended.stderr.contains("torn") && ended.stderr.contains("last good record"), "{ended:?}");
    // Cut once is cut for good.
    let ended = Node::start(dir.path(), &mint.options()).stop();
    assert_eq!(ended.stderr, "");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_older_than_the_store_is_refused() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let (log, backup) = (dir.path().join("log"), dir.path().join("backup"));
    for nonce in 0..2 {
        let node = Node::start(dir.path(), &mint.options());
        Rpc::connect(&node.url).await.accept(&mint.issue(&[key(1).address()], 10, nonce)).await;
        node.stop();
        if nonce == 0 {
            copy(&log, &backup);
        }
    }
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&backup, &log).unwrap();
    // Whether it serves for a moment or not, it ends by itself.
    let ended = Node::try_start(dir.path(), &mint.options()).map_or_else(|ended| ended, Node::ended);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the store is ahead of the log"), "{ended:?}");
}
