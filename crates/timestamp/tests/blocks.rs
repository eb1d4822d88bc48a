//! Transactions and blocks of the reference implementation: our way to the block is its way, byte for byte.

#![allow(clippy::panic)]

use std::convert::Infallible;

use eschaton_ots::tree::Hash;
use eschaton_ots::{Chain, verify};
use eschaton_timestamp::block::BlockBranch;
use eschaton_timestamp::transaction::{Outpoint, TRANSACTION_BYTES_MAX, Transaction};
use eschaton_timestamp::{TimestampError, TransactionError, proof};
use serde_json::Value;

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(value[key].as_str().expect(key)).expect(key)
}

fn hash(value: &Value) -> Hash {
    hex::decode(value.as_str().expect("text")).expect("hex").try_into().expect("32 bytes")
}

fn blocks() -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../ots/vectors/vectors.json")).expect("JSON");
    let blocks = all["blocks"].as_array().expect("blocks").clone();
    assert!(blocks.len() > 20);
    blocks
}

#[test]
fn the_way_to_a_block_is_the_references() {
    for vector in blocks() {
        let transaction = Transaction::parse(&bytes(&vector, "transaction")).expect("sound");
        assert_eq!(transaction.txid(), hash(&vector["txid"]));
        let inputs: Vec<Outpoint> = vector["inputs"]
            .as_array()
            .expect("inputs")
            .iter()
            .map(|input| Outpoint {
                txid: hash(&input[0]),
                index: u32::try_from(input[1].as_u64().expect("index")).expect("32 bits"),
            })
            .collect();
        assert_eq!(transaction.inputs(), inputs);
        let txids: Vec<Hash> = vector["txids"].as_array().expect("txids").iter().map(hash).collect();
        let position = usize::try_from(vector["position"].as_u64().expect("position")).expect("small");
        let height = vector["height"].as_u64().expect("height");
        let header = bytes(&vector, "header").try_into().expect("80 bytes");
        let branch = BlockBranch::of(&txids, position).expect("in the block");
        branch.check(&transaction.txid(), height, &header).expect("it leads to the root");
        let payload = hash(&vector["payload"]);
        let timestamp = proof::block_timestamp(&payload, &transaction, &branch, Chain::Bitcoin, height)
            .expect("within limits");
        assert_eq!(timestamp.to_bytes().expect("attested"), bytes(&vector, "timestamp"));
        let report =
            verify(&payload, &timestamp, |_, _| Ok::<_, Infallible>(Some(header))).expect("executes");
        assert!(report.is_complete());
        lies(&transaction, &branch, height, &header);
    }
}

/// What a node that lies may tell.
fn lies(transaction: &Transaction, branch: &BlockBranch, height: u64, header: &[u8; 80]) {
    let wrong = Err(TransactionError::WrongBranch { height });
    for at in 0..branch.hashes.len() {
        let mut lie = branch.clone();
        lie.hashes[at][0] ^= 1;
        assert_eq!(lie.check(&transaction.txid(), height, header), wrong);
    }
    let mut long = branch.clone();
    long.hashes.push([0; 32]);
    assert_eq!(long.check(&transaction.txid(), height, header), wrong);
    let beyond = BlockBranch { position: branch.position + (1 << branch.hashes.len()), ..branch.clone() };
    assert_eq!(beyond.check(&transaction.txid(), height, header), wrong);
    let mut other = *header;
    other[40] ^= 1;
    assert_eq!(branch.check(&transaction.txid(), height, &other), wrong);
    assert_eq!(branch.check(&[9; 32], height, header), wrong);
    assert!(matches!(
        proof::transaction_ops(&[9; 32], transaction),
        Err(TimestampError::Transaction(TransactionError::NoCommitment { .. }))
    ));
}

/// No part of a transaction is one, nor is more than it; whatever byte changes, it is refused, is another
/// transaction, or differs in what its id does not cover.
#[test]
fn transactions_are_parsed_to_the_last_byte() {
    for vector in blocks().iter().take(12) {
        let raw = bytes(vector, "transaction");
        let whole = Transaction::parse(&raw).expect("sound");
        for cut in 0..raw.len() {
            assert!(Transaction::parse(&raw[..cut]).is_err(), "{cut} of {} bytes", raw.len());
        }
        assert!(Transaction::parse(&[&raw[..], &[0]].concat()).is_err());
        let has_witness = raw[4..6] == [0, 1];
        for at in 0..raw.len() {
            let mut changed = raw.clone();
            changed[at] ^= 0x11;
            if let Ok(parsed) = Transaction::parse(&changed) {
                assert!(parsed.txid() != whole.txid() || has_witness, "byte {at}");
            }
        }
    }
    let large = vec![0; 17_000];
    assert!(matches!(Transaction::parse(&large), Err(TransactionError::TooLarge { .. })));
    const { assert!(TRANSACTION_BYTES_MAX < eschaton_ots::MESSAGE_MAX) };
    // A count of inputs beyond the bytes is refused before anything is kept.
    let counts = [&[1, 0, 0, 0, 0xff][..], &[0xff; 8]].concat();
    assert!(matches!(Transaction::parse(&counts), Err(TransactionError::Malformed { .. })));
}
