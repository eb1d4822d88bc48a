//! What the reference implementation wrote, merged, joined and refused.

#![allow(clippy::panic)]

mod common;

use common::{bytes, list, text, vectors};
use eschaton_ots::{Attestation, Chain, DetachedFile, OtsError, Stamping, Timestamp, tree};
use serde_json::{Value, json};

/// As the script tells it: message, kind, value.
fn said(message: &[u8], timestamp: &Timestamp) -> Vec<Value> {
    let mut found = Vec::new();
    timestamp
        .visit(message, |_, message, attestation| {
            let (kind, value) = match attestation {
                Attestation::Block { chain: Chain::Bitcoin, height } => ("bitcoin", json!(height)),
                Attestation::Block { chain: Chain::Litecoin, height } => ("litecoin", json!(height)),
                Attestation::Pending(uri) => ("pending", json!(uri.as_str())),
                Attestation::Unknown(unknown) => {
                    ("unknown", json!(hex::encode(unknown.tag()) + &hex::encode(unknown.payload())))
                }
            };
            found.push(json!([hex::encode(message), kind, value]));
        })
        .expect("it was read");
    found
}

fn check_file(vector: &Value) -> DetachedFile {
    let (name, raw) = (text(vector, "name"), bytes(vector, "file"));
    let file = DetachedFile::from_bytes(&raw).expect(name);
    assert_eq!(file.to_bytes().as_ref(), Ok(&raw), "{name}");
    assert_eq!(file.hash().op().name(), text(vector, "hash"), "{name}");
    assert_eq!(file.digest(), bytes(vector, "digest"), "{name}");
    assert_eq!(said(file.digest(), file.timestamp()), list(vector, "said"), "{name}");
    file
}

#[test]
fn files_are_read_executed_and_written_the_same() {
    for vector in list(&vectors(), "files") {
        check_file(vector);
    }
}

#[test]
fn the_stock_clients_files_are_read() {
    for vector in list(&vectors(), "client") {
        let stamped = check_file(&vector["stamped"]);
        let upgraded = check_file(&vector["upgraded"]);
        let pending = stamped.timestamp().pending(stamped.digest()).expect("read");
        let [pending] = &pending[..] else { panic!("{pending:?}") };
        // The answer that made the difference, put in by us, gives the client's own bytes.
        let mut ours = stamped.clone();
        assert!(ours.merge(&upgraded).expect("one digest"));
        assert_eq!(ours.to_bytes().expect("attested"), bytes(&vector["upgraded"], "file"));
        let mut answer = None;
        fn find(node: &Timestamp, message: &[u8], commitment: &[u8], answer: &mut Option<Timestamp>) {
            if message == commitment {
                *answer = Some(node.clone());
            }
            for (op, next) in node.branches() {
                find(next, &op.apply(message).expect("read"), commitment, answer);
            }
        }
        find(upgraded.timestamp(), upgraded.digest(), &pending.commitment, &mut answer);
        let mut ours = stamped.clone();
        let answer = answer.expect("the commitment is in it");
        assert!(ours.upgrade(&pending.commitment, &answer).expect("it is pending"));
        assert!(!ours.upgrade(&pending.commitment, &answer).expect("it is pending"), "nothing new");
        assert_eq!(ours, upgraded);
        assert!(matches!(ours.upgrade(&[0; 32], &answer), Err(OtsError::NotPending { .. })));
        assert_eq!(ours, upgraded);
    }
}

#[test]
fn merging_gives_what_the_reference_gives() {
    for vector in list(&vectors(), "merges") {
        let digest = bytes(vector, "digest");
        let read =
            |hex: &str| Timestamp::from_answer(&digest, &hex::decode(hex).expect("hex")).expect("read");
        let parts: Vec<Timestamp> =
            list(vector, "parts").iter().map(|part| read(part.as_str().expect("text"))).collect();
        for (one, other) in [(0, 1), (1, 0)] {
            let mut merged = parts[one].clone();
            merged.merge(&parts[other]).expect("within limits");
            assert_eq!(hex::encode(merged.to_bytes().expect("attested")), text(vector, "merged"));
            assert!(!merged.merge(&parts[other]).expect("within limits"), "a second time nothing is new");
        }
    }
}

#[test]
fn trees_have_the_references_shape() {
    for vector in list(&vectors(), "trees") {
        let count = vector["count"].as_u64().expect("count");
        use sha2::{Digest, Sha256};
        let leaves: Vec<tree::Hash> =
            (0..count).map(|leaf| Sha256::digest(format!("{leaf} of {count}")).into()).collect();
        assert_eq!(hex::encode(tree::root(leaves.clone()).expect("leaves")), text(vector, "root"));
        for (leaf, expected) in vector["leaves"].as_object().expect("leaves") {
            let leaf: usize = leaf.parse().expect("number");
            let (sides, root) = tree::branch(leaves.clone(), leaf).expect("in the tree");
            assert_eq!(hex::encode(root), text(vector, "root"));
            let end = Timestamp::attested(Attestation::bitcoin(count));
            let path = Timestamp::path(tree::branch_ops(&sides), end).expect("short");
            assert_eq!(hex::encode(path.to_bytes().expect("attested")), expected.as_str().expect("text"));
        }
        assert!(tree::branch(leaves.clone(), leaves.len()).is_err());
    }
}

/// Every refusal of the reference is one here, with an error that says the same.
#[test]
fn what_the_reference_refuses_is_refused() {
    let expected = |name: &str, error: &OtsError| match name {
        "empty" | "magic" => matches!(error, OtsError::Magic),
        "version" => matches!(error, OtsError::Version { version: 2 }),
        "hash" => matches!(error, OtsError::NotAFileHash { tag: 0xf2 }),
        "no timestamp" | "short digest" | "nothing after fork" | "payload cut" | "height empty" => {
            matches!(error, OtsError::Truncated { .. })
        }
        "unknown operation" => matches!(error, OtsError::UnknownOp { tag: 0x77 }),
        "fork twice" => matches!(error, OtsError::UnknownOp { tag: 0xff }),
        "trailing" | "pending with trailing" | "height with trailing" => {
            matches!(error, OtsError::Trailing { .. })
        }
        "empty operand" => matches!(error, OtsError::Operand { found: 0, .. }),
        "long operand" => matches!(error, OtsError::Operand { found: 4097, .. }),
        "long message" | "long hexlify" => matches!(error, OtsError::Message { .. }),
        "long payload" => matches!(error, OtsError::Payload { found: 8193, .. }),
        "long address" => matches!(error, OtsError::UriLength { found: 1001, .. }),
        "address with blank" | "address with query" | "address not ascii" => {
            matches!(error, OtsError::UriByte { .. })
        }
        "too deep" => matches!(error, OtsError::Depth { .. }),
        _ => false,
    };
    for vector in list(&vectors(), "refused") {
        let name = text(vector, "name");
        let error = DetachedFile::from_bytes(&bytes(vector, "file")).expect_err(name);
        assert!(expected(name, &error), "{name}: {error}");
    }
}

#[test]
fn limits_hold_where_timestamps_are_made() {
    use eschaton_ots::{DEPTH_MAX, NODES_MAX, Op, Operand};
    let end = || Timestamp::attested(Attestation::bitcoin(1));
    assert!(Timestamp::path(vec![Op::Sha256; DEPTH_MAX], end()).is_ok());
    let deep = Timestamp::path(vec![Op::Sha256; DEPTH_MAX + 1], end());
    assert_eq!(deep, Err(OtsError::Depth { max: DEPTH_MAX }));
    assert!(Timestamp::path(vec![Op::Sha256; 1_000_000], end()).is_err());
    let mut whole = Timestamp::new();
    let mut refused = 0;
    for number in 0..u32::try_from(NODES_MAX).expect("small") {
        let operand = Operand::new(number.to_be_bytes().to_vec()).expect("short");
        let before = whole.nodes();
        // Two nodes each, so that the limit is met half way.
        let branch = Timestamp::path(vec![Op::Append(operand)], end()).expect("short");
        if number % 512 != 511 {
            // Adding one by one is quadratic: build up by halves.
            whole = merged(whole, branch);
            continue;
        }
        match whole.merge(&branch) {
            Ok(new) => assert!(new),
            Err(error) => {
                assert_eq!(error, OtsError::Nodes { max: NODES_MAX });
                assert_eq!(whole.nodes(), before, "refused and changed");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && whole.nodes() <= NODES_MAX);
}

fn merged(mut whole: Timestamp, branch: Timestamp) -> Timestamp {
    // Refusals are counted by the caller's own merges.
    let _ = whole.merge(&branch);
    whole
}

/// Many files in one tree: each gets a file of its own that leads to the one root.
#[test]
fn files_stamped_together_share_a_root() {
    for count in [1usize, 2, 3, 7, 100] {
        let files: Vec<_> = (0..count)
            .map(|file| {
                let byte = u8::try_from(file).expect("small");
                ([byte; 32], [byte ^ 0x55; 16])
            })
            .collect();
        let stamping = Stamping::new(files.clone()).expect("files");
        assert_eq!(stamping.len(), count);
        let answer = Timestamp::attested(Attestation::pending("https://calendar.example").expect("fine"));
        for (index, (digest, _)) in files.iter().enumerate() {
            let file = stamping.file(index, &answer).expect("in it");
            assert_eq!(file.digest(), digest);
            let pending = file.timestamp().pending(digest).expect("executes");
            assert_eq!(pending.len(), 1);
            assert_eq!(pending[0].commitment, stamping.root());
            assert_eq!(DetachedFile::from_bytes(&file.to_bytes().expect("attested")), Ok(file));
        }
        assert!(stamping.file(count, &answer).is_err());
    }
    assert!(matches!(Stamping::new(Vec::new()), Err(OtsError::NoLeaves)));
}
