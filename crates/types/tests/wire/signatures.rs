//! BIP 340 and BIP 327 against an independent implementation: crate `musig2` over the pure Rust curve
//! of crate `k256`, while ours is libsecp256k1.

use eschaton_types::{Aggregate, Key, KeySet, OwnerProof, TxError, TxId, Witness, musig_sign};
use musig2::secp::{Point, Scalar};
use musig2::{CompactSignature, KeyAggContext, NonceSeed};
use proptest::prelude::*;

use crate::fixtures::{body, input, judge_parts, key, owners, pay, txid};

fn independent_sign(key: &Key, message: &[u8; 32], aux: [u8; 32]) -> [u8; 64] {
    let secret = Scalar::from_slice(&key.secret_bytes()).expect("a secret that our key took");
    let signature: CompactSignature = musig2::sign_solo(secret, message, NonceSeed(aux));
    signature.serialize()
}

fn independent_verify(x_only: &[u8; 32], message: &[u8; 32], signature: &[u8; 64]) -> bool {
    let point = Point::lift_x(*x_only).expect("a public key is on the curve");
    musig2::verify_single(point, signature.as_slice(), message).is_ok()
}

#[test]
fn the_first_vector_of_bip_340() {
    let mut secret = [0; 32];
    secret[31] = 3;
    let key = Key::from_secret(secret).expect("three");
    assert_eq!(hex::encode(key.x_only()), "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9");
    assert_eq!(
        hex::encode(key.sign(&[0; 32])),
        "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215\
         25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0"
    );
}

proptest! {
    #[test]
    fn our_signature_is_the_independent_one(secret in any::<[u8; 32]>(), message in any::<[u8; 32]>()) {
        let Ok(key) = Key::from_secret(secret) else { return Ok(()) };
        let signature = key.sign(&message);
        prop_assert!(independent_verify(&key.x_only(), &message, &signature));
        prop_assert_eq!(signature, independent_sign(&key, &message, [0; 32]));
    }

    #[test]
    fn an_independent_signature_is_accepted_until_a_bit_changes(
        secret in any::<[u8; 32]>(), aux in any::<[u8; 32]>(), bit in 0_usize..512,
    ) {
        let Ok(key) = Key::from_secret(secret) else { return Ok(()) };
        let body = body(vec![input(1, 0, key.address())], vec![pay(key.address(), 1)]);
        let mut signature = independent_sign(&key, &txid(&body).0, aux);
        let witness = |signature| Witness {
            owners: vec![OwnerProof { keys: KeySet::single(key.x_only()), signatures: vec![(0, signature)] }],
            ..Witness::default()
        };
        prop_assert!(judge_parts(&body, &witness(signature)).is_ok());
        signature[bit / 8] ^= 1 << (bit % 8);
        let refusal = judge_parts(&body, &witness(signature)).err();
        prop_assert_eq!(refusal, Some(TxError::BadSignature { what: "owner", position: 0 }));
    }

    #[test]
    fn a_musig_signature_verifies_under_the_independently_aggregated_key(
        // Few secrets, so that keys repeat often.
        secrets in prop::collection::vec(1_u8..5, 1..9),
        seeds in prop::collection::vec(any::<[u8; 32]>(), 9),
        message in any::<[u8; 32]>(),
    ) {
        let keys: Vec<_> = secrets.iter().map(|secret| key(*secret)).collect();
        let aggregate = musig_sign(&keys, &seeds[..keys.len()], &TxId(message)).expect("a seed for each key");
        prop_assert!(musig2::verify_single(independent_aggregate(&aggregate), aggregate.signature.as_slice(), message).is_ok());
    }
}

/// BIP 327 KeyAgg of the witness's own keys, in its order.
fn independent_aggregate(aggregate: &Aggregate) -> Point {
    let points = aggregate.keys.iter().map(|key| Point::from_slice(key).expect("on the curve"));
    KeyAggContext::new(points).expect("keys aggregate").aggregated_pubkey()
}

/// Inputs of these keys, in order, one output.
fn spend_of(keys: &[Key]) -> eschaton_types::Body {
    let inputs = (0_u8..).zip(keys).map(|(tag, key)| input(tag, 0, key.address())).collect();
    body(inputs, vec![pay(key(1).address(), 1)])
}

#[test]
fn an_aggregate_spends_inputs_of_repeated_keys() {
    for secrets in [vec![1], vec![1, 1], vec![1, 1, 2], vec![2, 1, 1], vec![1, 2, 1], vec![3, 2, 1]] {
        let keys: Vec<_> = secrets.iter().map(|secret| key(*secret)).collect();
        let body = spend_of(&keys);
        let seeds: Vec<_> = (1..=3).map(|seed| [seed; 32]).take(keys.len()).collect();
        let aggregate = musig_sign(&keys, &seeds, &txid(&body)).expect("a seed for each key");
        let witness = Witness { aggregate: Some(aggregate), ..Witness::default() };
        judge_parts(&body, &witness).unwrap_or_else(|error| panic!("{secrets:?}: {error}"));
    }
}

#[test]
fn an_aggregate_by_another_wallet_is_accepted() {
    let keys = [key(4), key(5)];
    let body = spend_of(&keys);
    let scalars = keys.map(|key| Scalar::from_slice(&key.secret_bytes()).expect("valid"));
    let context = KeyAggContext::new(scalars.map(|scalar| scalar.base_point_mul())).expect("keys aggregate");
    // The sum of the tweaked secrets signs for the aggregate key, as one signer who holds all may.
    let secret: Scalar = context.aggregated_seckey(scalars).expect("every key's secret");
    let signature: CompactSignature = musig2::sign_solo(secret, txid(&body).0, NonceSeed([9; 32]));
    let aggregate = Aggregate {
        keys: scalars.map(|scalar| scalar.base_point_mul().serialize()).to_vec(),
        signature: signature.serialize(),
    };
    assert!(judge_parts(&body, &Witness { aggregate: Some(aggregate), ..Witness::default() }).is_ok());
}

#[test]
fn musig_needs_one_seed_for_each_key() {
    let refusal = |found, needed| Some(TxError::ProofCount { what: "aggregate", found, needed });
    let id = TxId([1; 32]);
    assert_eq!(musig_sign(&[], &[], &id).err(), refusal(0, 0));
    assert_eq!(musig_sign(&[key(1), key(2)], &[[1; 32]], &id).err(), refusal(1, 2));
    assert_eq!(musig_sign(&[key(1)], &[[1; 32], [2; 32]], &id).err(), refusal(2, 1));
}

#[test]
fn signing_is_deterministic_and_bound_to_the_message() {
    let body = spend_of(&[key(1)]);
    assert_eq!(owners(&body, &[key(1)]), owners(&body, &[key(1)]));
    let other = spend_of(&[key(1), key(1)]);
    let refusal = judge_parts(&body, &owners(&other, &[key(1)])).err();
    assert_eq!(refusal, Some(TxError::BadSignature { what: "owner", position: 0 }));
}
