//! Proofs made by the node, checked by another process and by the library.

use std::time::Instant;

use bytes::Bytes;
use eschaton_proof::{VerifierKey, verify_consistency, verify_inclusion, verify_output};
use eschaton_types::{OutPoint, TxId};
use serde_json::Value;

use crate::kit::PATIENCE;
use crate::kit::cli::{Cli, text};
use crate::kit::node::Node;

fn field<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {object}"))
}

/// Asks again until a checkpoint has it: the prover follows the ledger.
fn prove(cli: &Cli, args: &[&str], fact: &str, file: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    let path = cli.file(file);
    loop {
        let done = cli.run(&[&["prove"], args, &["--out", text(&path), "--json"]].concat());
        if done.code == 0 {
            let proven: Value = serde_json::from_str(&done.stdout).unwrap();
            if proven["fact"] == fact {
                assert_eq!(proven["verified"], true);
                return proven;
            }
        }
        assert!(Instant::now() < deadline, "{args:?} never became {fact}: {done:?}");
    }
}

/// A stranger's machine with the operator's key, and no node.
fn verify(prover: &Cli, key: &str, args: &[&str], file: &str) -> Value {
    let cli = Cli::new("http://127.0.0.1:1");
    let path = prover.file(file);
    cli.json(&[&["verify"], args, &["--proof", text(&path), "--key", key]].concat())
}

/// Changes each byte in turn; the library must refuse each of the results.
fn refuse_flips<T: std::fmt::Debug, E: std::fmt::Debug>(
    proof: &[u8],
    check: impl Fn(&Bytes) -> Result<T, E>,
) {
    check(&Bytes::copy_from_slice(proof)).unwrap();
    for at in 0..proof.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut bad = proof.to_vec();
            bad[at] ^= mask;
            let verdict = check(&Bytes::from(bad));
            assert!(verdict.is_err(), "byte {at} of {} with {mask:#x} flipped: {verdict:?}", proof.len());
        }
    }
}

#[test]
fn every_kind_of_proof_is_verified_elsewhere_and_no_changed_byte_is() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &["--checkpoint-ms", "20"]);
    let key = node.verifier_key.as_str();
    let cli = Cli::new(&node.url);
    let address = field(&cli.json(&["wallet", "new"]), "address").to_owned();
    let issued = cli.json(&["wallet", "receive", "--amount", "1000"]);
    let issued = field(&issued, "txid");
    prove(&cli, &["inclusion", issued], "included", "issued.bin");
    let first = cli.json(&["checkpoint"])["checkpoint"]["number"].as_u64().unwrap();
    let paid = cli.json(&["pay", &address, "300"]);
    let paid = field(&paid, "txid");

    let (spent, unspent) = (format!("{issued}:0"), format!("{paid}:0"));
    let (never, beyond) = (format!("{}:0", "ab".repeat(32)), format!("{paid}:200"));
    for (args, fact, file) in [
        (vec!["inclusion", paid], "included", "inclusion.bin"),
        (vec!["output", &spent], "spent", "spent.bin"),
        (vec!["output", &unspent], "unspent", "unspent.bin"),
        (vec!["output", &never], "never_existed", "never.bin"),
        (vec!["output", &beyond], "never_existed", "beyond.bin"),
    ] {
        let proven = prove(&cli, &args, fact, file);
        let verified = verify(&cli, key, &args, file);
        assert_eq!((&verified["fact"], &verified["verified"]), (&fact.into(), &true.into()));
        assert_eq!(verified["checkpoint"], proven["checkpoint"]);
        if fact == "spent" {
            assert_eq!((field(&verified, "spent_by"), field(&verified, "amount")), (paid, "1000"));
        }
        if fact == "unspent" {
            assert!(field(&verified, "owner").starts_with("desc1"), "{verified}");
        }
    }
    let proven = prove(&cli, &["consistency", &first.to_string()], "consistent", "consistency.bin");
    assert!(proven["checkpoint"]["number"].as_u64().unwrap() > first, "two different checkpoints: {proven}");
    let verified = verify(&cli, key, &["consistency"], "consistency.bin");
    assert_eq!(verified["old_checkpoint"]["number"], first);

    let trusted = VerifierKey::parse(key).unwrap();
    let read = |file: &str| std::fs::read(cli.file(file)).unwrap();
    let (txid, outpoint) = (TxId::from_hex(paid).unwrap(), OutPoint::parse(&spent).unwrap());
    refuse_flips(&read("inclusion.bin"), |proof| verify_inclusion(proof, &trusted, txid));
    refuse_flips(&read("spent.bin"), |proof| verify_output(proof, &trusted, outpoint));
    refuse_flips(&read("consistency.bin"), |proof| verify_consistency(proof, &trusted));

    let mut bad = read("spent.bin");
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    let file = cli.file("bad.bin");
    std::fs::write(&file, bad).unwrap();
    let line = cli.fails(1, &["verify", "output", &spent, "--proof", text(&file), "--key", key]);
    assert!(line.contains("bad.bin is refused"), "{line}");
    let file = cli.file("spent.bin");
    let line = cli.fails(1, &["verify", "output", &unspent, "--proof", text(&file), "--key", key]);
    assert!(line.contains("spent.bin is refused"), "a proof about another output: {line}");
}
