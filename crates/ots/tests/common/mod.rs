//! Vectors of the reference implementation, and drawn timestamps.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use eschaton_ots::{Attestation, Op, Operand, Timestamp, Unknown};
use proptest::prelude::*;
use serde_json::Value;

pub fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/vectors.json")).expect("JSON")
}

pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array().expect(key);
    assert!(!list.is_empty(), "no {key}");
    list
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect(key)
}

pub fn bytes(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(text(value, key)).expect(key)
}

fn operand() -> impl Strategy<Value = Operand> {
    prop::collection::vec(any::<u8>(), 1..40).prop_map(|bytes| Operand::new(bytes).expect("short"))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Sha256),
        1 => Just(Op::Sha1),
        1 => Just(Op::Ripemd160),
        1 => Just(Op::Keccak256),
        1 => Just(Op::Reverse),
        1 => Just(Op::Hexlify),
        4 => operand().prop_map(Op::Append),
        4 => operand().prop_map(Op::Prepend),
    ]
}

fn attestation() -> impl Strategy<Value = Attestation> {
    prop_oneof![
        any::<u64>().prop_map(Attestation::bitcoin),
        any::<u64>().prop_map(Attestation::litecoin),
        "[a-zA-Z0-9._/:-]{0,60}".prop_map(|uri| Attestation::pending(&uri).expect("allowed")),
        (any::<[u8; 8]>(), prop::collection::vec(any::<u8>(), 0..60))
            .prop_filter_map("a known tag", |(tag, payload)| Unknown::new(tag, payload)
                .ok()
                .map(Attestation::Unknown)),
    ]
}

/// Timestamps with forks, every branch of which ends in an attestation.
pub fn timestamp() -> impl Strategy<Value = Timestamp> {
    let leaf = prop::collection::vec(attestation(), 1..3).prop_map(merged_attestations);
    leaf.prop_recursive(6, 40, 3, |next| {
        let branches = prop::collection::vec((op(), next), 1..3);
        (prop::collection::vec(attestation(), 0..2), branches).prop_map(|(attestations, branches)| {
            let mut node = merged_attestations(attestations);
            for (op, next) in branches {
                node.merge(&Timestamp::path(vec![op], next).expect("small")).expect("small");
            }
            node
        })
    })
}

fn merged_attestations(attestations: Vec<Attestation>) -> Timestamp {
    let mut node = Timestamp::new();
    for attestation in attestations {
        node.merge(&Timestamp::attested(attestation)).expect("small");
    }
    node
}
