//! Proofs from a node that is not trusted: judged without panic, and none proves what is not so. The
//! first byte chooses what is attacked.
#![no_main]

use bytes::Bytes;
use eschaton_proof::{
    CheckpointBody, Hash, MapProof, NoteSigner, OutputFact, tlog, verify_consistency, verify_inclusion,
    verify_output,
};
use eschaton_types::pb::proof as pb;
use eschaton_types::{OutPoint, TxId};
use libfuzzer_sys::fuzz_target;
use prost::Message;

const NAME: &str = "fuzz.example";

fn signer() -> NoteSigner {
    NoteSigner::new(NAME, &[7; 32]).expect("a plain name")
}

fn body(size: u64, log_root: Hash, map_root: Hash) -> CheckpointBody {
    CheckpointBody {
        origin: NAME.to_owned(),
        number: 0,
        size,
        log_root,
        map_root,
        time_ms: 0,
        previous: [0; 32],
    }
}

/// Without the node's key nothing is proven.
fn unsigned(data: &[u8]) {
    let (bytes, signer) = (Bytes::copy_from_slice(data), signer());
    let subject = OutPoint { txid: TxId([1; 32]), index: 0 };
    assert!(verify_output(&bytes, signer.verifier(), subject).is_err());
    assert!(verify_inclusion(&bytes, signer.verifier(), subject.txid).is_err());
    assert!(verify_consistency(&bytes, signer.verifier()).is_err());
}

/// An output proof whose checkpoint is signed over whatever root the branch leads to, so that all
/// that follows the signature is reached. The first eight bytes are the log's size.
fn signed_output(data: &[u8]) {
    let Some((size, data)) = data.split_first_chunk::<8>() else { return };
    let Ok(mut proof) = pb::OutputProof::decode(data) else { return };
    let Ok(txid) = TxId::from_slice(&proof.txid, "transaction id") else { return };
    let Ok(index) = u16::try_from(proof.index) else { return };
    let Some(Ok(map)) = proof.map.as_ref().map(MapProof::from_message) else { return };
    let Ok(map_root) = map.root(&txid) else { return };
    let body = body(u64::from_le_bytes(*size), tlog::leaf_hash(&proof.spender), map_root);
    let signer = signer();
    proof.note = signer.sign(body.clone()).expect("its own origin").note().clone();
    let (bytes, outpoint) = (Bytes::from(proof.encode_to_vec()), OutPoint { txid, index });
    let Ok(verified) = verify_output(&bytes, signer.verifier(), outpoint) else { return };
    assert_eq!(verified.checkpoint, body);
    match verified.fact {
        OutputFact::SpentBy { txid, sequence, .. } => {
            assert_eq!(proof.spender, txid.0.as_slice());
            assert!(sequence < body.size);
        }
        _ => assert!(proof.spender.is_empty() && proof.spender_path.is_empty()),
    }
    let other = OutPoint { txid: TxId(txid.0.map(|byte| !byte)), index };
    assert!(verify_output(&bytes, signer.verifier(), other).is_err(), "one proof for two outputs");
    let padded = Bytes::from([&bytes[..], &[0x78, 0x01]].concat());
    assert!(verify_output(&padded, signer.verifier(), outpoint).is_err(), "two forms of one proof");
}

fn leaf(position: u64) -> TxId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&position.to_le_bytes());
    TxId(id)
}

/// RFC 6962 root of the leaves from `from` to before `to`, as its section 2.1 defines it.
fn root(from: u64, to: u64) -> Hash {
    match to - from {
        0 => tlog::empty_root(),
        1 => tlog::leaf_hash(&leaf(from).0),
        leaves => {
            let split = from + (leaves.next_power_of_two() / 2);
            tlog::node_hash(&root(from, split), &root(split, to))
        }
    }
}

/// Each pair of bytes is the hash of a range of leaves, which is what true paths are made of.
fn path(data: &[u8], size: u64) -> Vec<Hash> {
    let range = |pair: &[u8; 2]| {
        let from = u64::from(pair[0]) % size.max(1);
        root(from, from + u64::from(pair[1]) % (size - from + 1))
    };
    data.as_chunks::<2>().0.iter().take(tlog::PATH_MAX + 1).map(range).collect()
}

/// Whatever the path, only the leaf that stands at a position is proven to stand there.
fn inclusion(data: &[u8]) {
    let Some(([size, index, claimed], rest)) = data.split_first_chunk::<3>() else { return };
    let size = u64::from(size % 33);
    let (index, claimed) = (u64::from(*index), u64::from(*claimed));
    let proven =
        tlog::verify_inclusion(&leaf(claimed), index, size, &path(rest, size), &root(0, size)).is_ok();
    assert!(
        !proven || (index == claimed && index < size),
        "leaf {claimed} is proven to stand at {index} of {size}"
    );
}

/// Whatever the path, only a true prefix is proven to be one.
fn consistency(data: &[u8]) {
    let Some(([old_size, claimed, size], rest)) = data.split_first_chunk::<3>() else { return };
    let size = u64::from(size % 33);
    let (old_size, claimed) = (u64::from(old_size % 33), u64::from(claimed % 33));
    let (old_root, new_root) = (root(0, claimed), root(0, size));
    let proven = tlog::verify_consistency(old_size, &old_root, size, &new_root, &path(rest, size)).is_ok();
    assert!(
        !proven || (old_size == claimed && old_size <= size),
        "{claimed} leaves pass as {old_size} of {size}"
    );
}

fuzz_target!(|data: &[u8]| {
    let Some((attack, data)) = data.split_first() else { return };
    match attack % 4 {
        0 => unsigned(data),
        1 => signed_output(data),
        2 => inclusion(data),
        _ => consistency(data),
    }
});
