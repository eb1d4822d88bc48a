//! A node's data goes into files and into another directory, and the node goes on there.

use std::fs;
use std::path::Path;

use eschaton_node::{NodeConfig, Step, export, import};
use eschaton_transfer::TransferError;
use serde_json::Value;

use crate::kit::cli::{Cli, text};
use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::kit::until;

/// Payments before the move.
const PAYMENTS: usize = 60;

/// A stopped node's data, after an issuance and payments of all but one of its outputs.
async fn used(dir: &Path, mint: &Mint) -> eschaton_types::Transaction {
    let node = Node::start(dir, &mint.options());
    let rpc = Rpc::connect(&node.url).await;
    let owners: Vec<_> = (0..=PAYMENTS).map(|n| key(n as u64).address()).collect();
    let issued = mint.issue(&owners, 10, 0);
    rpc.accept(&issued).await;
    let payments: Vec<_> =
        (0..PAYMENTS).map(|n| pay(&key(n as u64), outpoint(&issued, n), stranger(1), 10).bytes).collect();
    rpc.batch(payments, false).await;
    node.stop();
    issued
}

/// Ends the work in the middle of its `n`-th step of this kind.
fn stop_at(what: &'static str, mut n: u32) -> impl FnMut(Step) -> Result<(), TransferError> + Send {
    move |step| {
        if step.what == what {
            n = n.checked_sub(1).ok_or(TransferError::Stopped)?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_node_has_the_same_state_and_pays_on() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let (old, new, files) = (dir.path().join("old"), dir.path().join("new"), dir.path().join("files"));
    let issued = used(&old, &mint).await;
    let cli = Cli::new("http://127.0.0.1:1");
    let exporting = ["export", "--data-dir", text(&old), "--to", text(&files)];
    let importing = ["import", "--data-dir", text(&new), "--from", text(&files)];

    // Interrupted at each kind of step, then whole.
    let config = NodeConfig::new(old.clone());
    for (what, n) in [("writing records", 3), ("making rows", 1), ("comparing rows", 0)] {
        let stopped = export(&config, &files, false, &mut stop_at(what, n)).await.unwrap_err();
        assert!(stopped.to_string().contains("repeat the command"), "{stopped:#}");
        let refused = cli.fails(1, &importing);
        assert!(refused.contains("holds no whole export"), "{refused}");
    }
    let file = files.join("changes-1.log");
    let half = fs::metadata(&file).unwrap().len() / 2;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(half).unwrap();
    let exported = cli.json(&exporting);
    assert_eq!((&exported["exported"], &exported["keys"]), (&Value::Bool(true), &Value::Bool(false)));
    assert!(!files.join("keys").exists());
    assert!(cli.fails(1, &exporting).contains("a whole export already"));

    // Damage is named before anything is made.
    let whole = fs::read(&file).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 1;
    fs::write(&file, bad).unwrap();
    let refused = cli.fails(1, &importing);
    assert!(refused.contains("changes-1.log is damaged") && !new.exists(), "{refused}");
    fs::write(&file, whole).unwrap();
    assert!(cli.fails(1, &[&importing[..], &["--shards", "5"]].concat()).contains("set shards to 4"));

    // The key does not travel unless it is asked for.
    assert!(cli.fails(1, &importing).contains("node.key is missing"));
    fs::create_dir_all(&new).unwrap();
    fs::copy(old.join("node.key"), new.join("node.key")).unwrap();
    let config = NodeConfig::new(new.clone());
    for (what, n) in
        [("putting records", 2), ("putting records", 5), ("making trees", 0), ("comparing rows", 0)]
    {
        import(&config, &files, &mut stop_at(what, n)).await.unwrap_err();
        assert!(!new.join("log").exists(), "{what}");
    }
    let imported = cli.json(&importing);
    for fact in ["records", "rows", "state_hash", "verifier_key"] {
        assert_eq!(imported[fact], exported[fact], "{fact}");
    }
    assert!(cli.fails(1, &importing).contains("is there already"));

    let report = eschaton_node::check(&new, &dir.path().join("scratch"), 0, |_, _| {}).await.unwrap();
    assert_eq!(report.first_difference, None);
    assert_eq!(report.store_hash, exported["state_hash"].as_str().unwrap());

    let node = Node::start(&new, &mint.options());
    assert_eq!(node.verifier_key, exported["verifier_key"].as_str().unwrap());
    let rpc = Rpc::connect(&node.url).await;
    // Credits that were still on their way when the old node stopped arrive here.
    let arrived = async || Some(rpc.outputs(stranger(1)).await).filter(|all| all.len() == PAYMENTS);
    until("every payment's output", arrived).await;
    rpc.accept(&pay(&key(PAYMENTS as u64), outpoint(&issued, PAYMENTS), stranger(2), 10)).await;
    let refused = rpc.submit(&pay(&key(0), outpoint(&issued, 0), stranger(2), 10).bytes).await.unwrap();
    assert_eq!(refused.outcome(), eschaton_api::ingress::Outcome::Rejected, "{refused:?}");
    node.stop();
    let report = eschaton_node::check(&new, &dir.path().join("scratch"), 0, |_, _| {}).await.unwrap();
    assert_eq!(report.first_difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_travel_when_asked_for_and_never_replace_others() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let (old, new, files) = (dir.path().join("old"), dir.path().join("new"), dir.path().join("files"));
    used(&old, &mint).await;
    let cli = Cli::new("http://127.0.0.1:1");
    let exported = cli.json(&["export", "--data-dir", text(&old), "--to", text(&files), "--with-keys"]);
    assert_eq!(exported["keys"], true);
    let importing = ["import", "--data-dir", text(&new), "--from", text(&files)];
    fs::create_dir_all(&new).unwrap();
    fs::write(new.join("node.key"), "00".repeat(32)).unwrap();
    assert!(cli.fails(1, &importing).contains("another key"));
    fs::remove_file(new.join("node.key")).unwrap();
    cli.json(&importing);
    assert_eq!(fs::read(old.join("node.key")).unwrap(), fs::read(new.join("node.key")).unwrap());
    assert!(
        cli.fails(1, &["export", "--data-dir", text(dir.path()), "--to", text(&new)]).contains("node.json")
    );
}
