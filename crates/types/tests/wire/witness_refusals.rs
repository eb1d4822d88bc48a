//! What is refused of witnesses, each with its exact error.

use bytes::Bytes;
use eschaton_types::pb::types as pb;
use eschaton_types::{
    Aggregate, Body, INPUTS_MAX, Key, KeySet, OUTPUTS_MAX, OwnerProof, Transaction, TxError, Witness, encode,
    musig_sign,
};
use prost::Message;

use crate::fixtures::{body, input, judge, judge_parts, key, owners, pay, simple_body, two_of_three, txid};

fn refusal(body: &Body, witness: &Witness) -> TxError {
    judge_parts(body, witness).expect_err("it must be refused")
}

/// The simple payment with its witness message changed.
fn refusal_of_message(change: impl FnOnce(&mut pb::Witness)) -> TxError {
    let body = simple_body();
    let valid = Transaction::assemble(&body, &owners(&body, &[key(1)])).expect("valid");
    let mut message = pb::Transaction::decode(valid.bytes).expect("canonical");
    change(message.witness.as_mut().expect("it has a witness"));
    judge(encode(&message)).expect_err("it must be refused")
}

fn owner_count(found: usize, needed: usize) -> TxError {
    TxError::ProofCount { what: "owner", found, needed }
}

/// An input of a set of keys, and the proof by `signers`.
fn of_set(set: &KeySet, signers: &[Key]) -> (Body, OwnerProof) {
    let body = body(vec![input(1, 0, set.address())], vec![pay(key(2).address(), 1)]);
    let mut signatures: Vec<_> = signers
        .iter()
        .map(|signer| {
            let position =
                set.keys().iter().position(|key| *key == signer.x_only()).expect("a key of the set");
            (u8::try_from(position).expect("at most 16"), signer.sign(&txid(&body).0))
        })
        .collect();
    signatures.sort_unstable();
    (body, OwnerProof { keys: set.clone(), signatures })
}

fn with_owner(proof: OwnerProof) -> Witness {
    Witness { owners: vec![proof], ..Witness::default() }
}

#[test]
fn wrong_signature() {
    let body = simple_body();
    let bad = TxError::BadSignature { what: "owner", position: 0 };
    let mut witness = owners(&body, &[key(1)]);
    witness.owners[0].signatures[0].1 = [0; 64];
    assert_eq!(refusal(&body, &witness), bad);
    witness.owners[0].signatures[0].1 = [0xff; 64];
    assert_eq!(refusal(&body, &witness), bad);
    witness.owners[0].signatures[0].1 = key(1).sign(&[9; 32]);
    assert_eq!(refusal(&body, &witness), bad);
    assert!(bad.to_string().contains("; "), "says what to do");
}

#[test]
fn wrong_key_for_the_output() {
    let body = simple_body();
    let refusal = refusal(&body, &owners(&body, &[key(2)]));
    assert_eq!(refusal, TxError::WrongKey { what: "owner", position: 0 });
    assert_eq!(refusal.to_string(), "owner proof 0 is for another address: wrong key for the output");
    // Proofs go with inputs by order, not by what fits.
    let two = crate::fixtures::body(
        vec![input(1, 0, key(1).address()), input(2, 0, key(2).address())],
        vec![pay(key(3).address(), 1)],
    );
    assert!(judge_parts(&two, &owners(&two, &[key(1), key(2)])).is_ok());
    let swapped = self::refusal(&two, &owners(&two, &[key(2), key(1)]));
    assert_eq!(swapped, TxError::WrongKey { what: "owner", position: 0 });
}

#[test]
fn missing_and_extra_proofs() {
    let body = simple_body();
    assert_eq!(refusal(&body, &Witness::default()), owner_count(0, 1));
    assert_eq!(refusal(&body, &owners(&body, &[key(1), key(1)])), owner_count(2, 1));
    assert_eq!(owner_count(0, 1).to_string(), "witness has 0 owner proofs, the transaction needs 1");
    let mut confirmed = simple_body();
    confirmed.outputs[0].confirmation_required = true;
    let count = |found, needed| TxError::ProofCount { what: "confirmation", found, needed };
    let mut witness = owners(&confirmed, &[key(1)]);
    assert_eq!(refusal(&confirmed, &witness), count(0, 1));
    witness.confirmations = vec![key(2).prove(&txid(&confirmed))];
    assert!(judge_parts(&confirmed, &witness).is_ok());
    witness.confirmations = vec![key(1).prove(&txid(&confirmed))];
    assert_eq!(refusal(&confirmed, &witness), TxError::WrongKey { what: "confirmation", position: 0 });
    witness.confirmations = vec![key(2).prove(&txid(&body))];
    assert_eq!(refusal(&confirmed, &witness), TxError::BadSignature { what: "confirmation", position: 0 });
    let mut unasked = owners(&body, &[key(1)]);
    unasked.confirmations = vec![key(2).prove(&txid(&body))];
    assert_eq!(refusal(&body, &unasked), count(1, 0));
}

#[test]
fn too_many_proofs() {
    let proof = |message: &pb::Witness| message.owners[0].clone();
    let refusal = refusal_of_message(|message| message.owners = vec![proof(message); 257]);
    assert_eq!(refusal, TxError::TooMany { what: "owner proofs", max: INPUTS_MAX });
    let refusal = refusal_of_message(|message| message.confirmations = vec![proof(message); 257]);
    assert_eq!(refusal, TxError::TooMany { what: "confirmations", max: OUTPUTS_MAX });
    let refusal = refusal_of_message(|message| {
        message.owners.clear();
        let keys = vec![Bytes::from(vec![2; 33]); 257];
        message.aggregate = Some(pb::AggregateProof { keys, signature: Bytes::from(vec![1; 64]) });
    });
    assert_eq!(refusal, TxError::TooMany { what: "aggregate keys", max: INPUTS_MAX });
}

#[test]
fn key_set_rules() {
    type Change = fn(&mut pb::OwnerProof);
    let changes: [Change; 8] = [
        |proof| proof.keys.clear(),
        |proof| proof.threshold = 0,
        |proof| proof.threshold = 2,
        |proof| proof.threshold = 257,
        |proof| proof.keys.push(proof.keys[0].clone()),
        |proof| proof.keys.push(Bytes::from(vec![0; 32])),
        |proof| proof.keys = (0..17).map(|n| Bytes::from(vec![n; 32])).collect(),
        |proof| proof.signatures = vec![proof.signatures[0].clone(); 17],
    ];
    for change in changes {
        assert_eq!(refusal_of_message(|message| change(&mut message.owners[0])), TxError::KeySet);
    }
    let refusal = refusal_of_message(|message| message.owners[0].signatures[0].key = 256);
    assert_eq!(refusal, TxError::KeySet);
    assert!(refusal.to_string().ends_with("a threshold from 1 to their number"));
    // A stranger cannot sign for the set.
    let (_, set) = two_of_three();
    assert_eq!(OwnerProof::sign(&set, &[key(1), key(5)], &txid(&simple_body())), Err(TxError::KeySet));
}

#[test]
fn another_threshold_is_another_address() {
    let (keys, set) = two_of_three();
    let lower = KeySet::new(set.keys().to_vec(), 1).expect("valid");
    let (body, _) = of_set(&set, &keys[..2]);
    let signature = (0, [1; 64]);
    let witness = with_owner(OwnerProof { keys: lower, signatures: vec![signature] });
    assert_eq!(refusal(&body, &witness), TxError::WrongKey { what: "owner", position: 0 });
}

#[test]
fn signature_count_and_order() {
    let (keys, set) = two_of_three();
    let count = TxError::SignatureCount { what: "owner", position: 0 };
    let (body, proof) = of_set(&set, &keys[..2]);
    assert!(judge_parts(&body, &with_owner(proof.clone())).is_ok());
    for signers in [&keys[..0], &keys[..1], &keys[..3]] {
        assert_eq!(refusal(&body, &with_owner(of_set(&set, signers).1)), count);
        assert_eq!(OwnerProof::sign(&set, signers, &txid(&body)), Err(count.clone()));
    }
    let mut swapped = proof.clone();
    swapped.signatures.reverse();
    assert_eq!(refusal(&body, &with_owner(swapped)), count);
    // One signer twice is one signer.
    let mut twice = proof.clone();
    twice.signatures[1] = twice.signatures[0];
    assert_eq!(refusal(&body, &with_owner(twice)), count);
    // A position past the last key.
    let mut beyond = proof.clone();
    beyond.signatures[1].0 = 3;
    assert_eq!(refusal(&body, &with_owner(beyond)), count);
    // A signature under another key's position.
    let mut moved = proof;
    moved.signatures = vec![(0, moved.signatures[1].1), (1, moved.signatures[0].1)];
    assert_eq!(refusal(&body, &with_owner(moved)), TxError::BadSignature { what: "owner", position: 0 });
    assert!(count.to_string().ends_with("exactly its threshold of signatures, ascending by key"));
}

#[test]
fn keys_that_are_no_points() {
    // 2^256 - 1 is above the field, and the address may commit to it all the same.
    let set = KeySet::single([0xff; 32]);
    let body = body(vec![input(1, 0, set.address())], vec![pay(key(2).address(), 1)]);
    let bad = TxError::BadKey { proof: 0, key: 0 };
    assert_eq!(refusal(&body, &with_owner(OwnerProof { keys: set, signatures: vec![(0, [1; 64])] })), bad);
    let aggregate = Aggregate { keys: vec![[0xff; 33]], signature: [1; 64] };
    assert_eq!(refusal(&body, &Witness { aggregate: Some(aggregate), ..Witness::default() }), bad);
}

#[test]
fn proof_fields_of_wrong_length() {
    type Change = fn(&mut pb::OwnerProof, Bytes);
    let changes: [(&str, usize, Change); 2] = [
        ("public key (32 bytes)", 32, |proof, bytes| proof.keys[0] = bytes),
        ("signature (64 bytes)", 64, |proof, bytes| proof.signatures[0].signature = bytes),
    ];
    for (field, right, change) in changes {
        for wrong in [0, right - 1, right + 1] {
            let bytes = Bytes::from(vec![1; wrong]);
            let refusal = refusal_of_message(|message| change(&mut message.owners[0], bytes));
            assert_eq!(refusal, TxError::Length { field });
        }
    }
    for (field, key, signature) in
        [("aggregate key (33 bytes)", 32, 64), ("aggregate signature (64 bytes)", 33, 63)]
    {
        let refusal = refusal_of_message(|message| {
            message.owners.clear();
            let keys = vec![Bytes::from(vec![2; key])];
            message.aggregate = Some(pb::AggregateProof { keys, signature: Bytes::from(vec![1; signature]) });
        });
        assert_eq!(refusal, TxError::Length { field });
    }
}

fn aggregate_of(body: &Body, keys: &[Key]) -> Aggregate {
    let seeds: Vec<_> = (1..=9).map(|seed| [seed; 32]).take(keys.len()).collect();
    musig_sign(keys, &seeds, &txid(body)).expect("a seed for each key")
}

#[test]
fn mixed_proofs() {
    let body = simple_body();
    let aggregate = aggregate_of(&body, &[key(1)]);
    let alone = Witness { aggregate: Some(aggregate.clone()), ..Witness::default() };
    assert!(judge_parts(&body, &alone).is_ok());
    let both = Witness { aggregate: Some(aggregate), ..owners(&body, &[key(1)]) };
    assert_eq!(refusal(&body, &both), TxError::MixedProofs);
    assert!(TxError::MixedProofs.to_string().ends_with("use one"));
}

#[test]
fn aggregates_that_do_not_fit_the_inputs() {
    let inputs = vec![input(1, 0, key(1).address()), input(2, 0, key(2).address())];
    let body = body(inputs, vec![pay(key(3).address(), 1)]);
    let of = |keys: &[Key]| Witness { aggregate: Some(aggregate_of(&body, keys)), ..Witness::default() };
    assert!(judge_parts(&body, &of(&[key(1), key(2)])).is_ok());
    let count = |found| TxError::ProofCount { what: "aggregate", found, needed: 2 };
    assert_eq!(refusal(&body, &of(&[key(1)])), count(1));
    assert_eq!(refusal(&body, &of(&[key(1), key(2), key(2)])), count(3));
    let wrong = |position| TxError::WrongKey { what: "aggregate", position };
    assert_eq!(refusal(&body, &of(&[key(2), key(1)])), wrong(0));
    assert_eq!(refusal(&body, &of(&[key(1), key(3)])), wrong(1));
    let bad = TxError::BadSignature { what: "aggregate", position: 0 };
    let mut changed = of(&[key(1), key(2)]);
    changed.aggregate.as_mut().expect("set").signature[63] ^= 1;
    assert_eq!(refusal(&body, &changed), bad);
    // The other point with the same x is the same address and another aggregate key.
    let mut negated = of(&[key(1), key(2)]);
    negated.aggregate.as_mut().expect("set").keys[0][0] ^= 1;
    assert_eq!(refusal(&body, &negated), bad);
}

#[test]
fn an_aggregate_of_no_keys() {
    let refusal = refusal_of_message(|message| {
        message.owners.clear();
        message.aggregate = Some(pb::AggregateProof { keys: vec![], signature: Bytes::from(vec![1; 64]) });
    });
    assert_eq!(refusal, TxError::Length { field: "aggregate key list (one for each consumed input)" });
}

#[test]
fn an_aggregate_cannot_spend_a_set_of_keys() {
    let (keys, set) = two_of_three();
    let (body, _) = of_set(&set, &keys[..2]);
    let witness = Witness { aggregate: Some(aggregate_of(&body, &keys[..1])), ..Witness::default() };
    assert_eq!(refusal(&body, &witness), TxError::WrongKey { what: "aggregate", position: 0 });
}
