//! A proof with any bit changed, cut or continued is refused, for every kind of proof and fact.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Store, checkpoint, key};
use eschaton_merkle::{Entry, MerkleError, Prover, Query};
use eschaton_proof::{
    NoteSigner, OutputFact, PROOF_BYTES_MAX, ProofError, SignedCheckpoint, verify_consistency,
    verify_inclusion, verify_output,
};
use eschaton_types::{OutPoint, TxId, encode, pb};

fn refuse_changes(proof: &Bytes, verify: impl Fn(&Bytes) -> bool) {
    assert!(verify(proof));
    for at in 0..proof.len() {
        for bit in 0..8 {
            let mut changed = proof.to_vec();
            changed[at] ^= 1 << bit;
            assert!(!verify(&changed.into()), "byte {at} of {}, bit {bit}", proof.len());
        }
        assert!(!verify(&proof.slice(..at)), "cut to {at}");
    }
    for more in [&[0][..], &[0x98, 6, 1], &[0x4a, 0]] {
        assert!(!verify(&[proof, more].concat().into()), "continued");
    }
}

fn body(n: u8) -> pb::types::TransactionBody {
    let output = |amount| pb::types::Output { owner: vec![n; 32].into(), amount, ..Default::default() };
    pb::types::TransactionBody {
        version: 1,
        network: 3,
        outputs: vec![output(5), output(6)],
        ..Default::default()
    }
}

/// 40 transactions of two outputs; the last spends two outputs of which one's transaction is unknown.
fn world() -> (Prover, Store, Vec<Bytes>, SignedCheckpoint, SignedCheckpoint) {
    let (mut prover, mut store) = (Prover::new(), Store::default());
    let bodies: Vec<_> = (0..40).map(|n| encode(&body(n))).collect();
    let mut entries: Vec<_> = bodies
        .iter()
        .map(|body| Entry { txid: TxId::of_body(body), outputs: 2, spends: Vec::new() })
        .collect();
    entries[39].spends = vec![OutPoint { txid: entries[4].txid, index: 1 }, unknown()];
    store.apply(&mut prover, &entries[..21]).unwrap();
    let old = checkpoint(&prover, None);
    store.apply(&mut prover, &entries[21..]).unwrap();
    let new = checkpoint(&prover, Some(&old));
    (prover, store, bodies, old, new)
}

fn unknown() -> OutPoint {
    OutPoint { txid: TxId([0xaa; 32]), index: 3 }
}

#[test]
fn inclusion() {
    let (prover, store, bodies, _, at) = world();
    let txid = TxId::of_body(&bodies[17]);
    let proof = store.prove(&prover, Query::Inclusion(txid), &at).unwrap();
    refuse_changes(&proof, |proof| verify_inclusion(proof, &key(), txid).is_ok());
    let absent = store.prove(&prover, Query::Inclusion(unknown().txid), &at);
    assert!(matches!(absent, Err(MerkleError::NotIncluded { .. })));
}

#[test]
fn consistency() {
    let (prover, store, _, old, new) = world();
    let proof = store.prove(&prover, Query::Consistency { old }, &new).unwrap();
    refuse_changes(&proof, |proof| verify_consistency(proof, &key()).is_ok());
}

#[test]
fn unspent_with_and_without_transaction() {
    let (prover, store, bodies, _, at) = world();
    let outpoint = OutPoint { txid: TxId::of_body(&bodies[4]), index: 0 };
    for transaction in [None, Some(bodies[4].clone())] {
        let carried = transaction.is_some();
        let proof = store.prove(&prover, Query::Output { outpoint, transaction }, &at).unwrap();
        let fact = verify_output(&proof, &key(), outpoint).unwrap().fact;
        // Without its transaction it is still a proof, but of less.
        refuse_changes(&proof, |proof| {
            verify_output(proof, &key(), outpoint).is_ok_and(|proven| proven.fact == fact)
        });
        let OutputFact::Unspent { created_sequence: 4, output } = fact else { unreachable!("unspent") };
        assert_eq!(output, carried.then(|| body(4).outputs[0].clone()));
    }
    let transaction = Some(bodies[5].clone());
    let wrong = prover.prove(Query::Output { outpoint, transaction }, &at);
    assert!(matches!(wrong, Err(MerkleError::Proof(ProofError::WrongSubject { .. }))));
}

#[test]
fn spent() {
    let (prover, store, bodies, _, at) = world();
    let outpoint = OutPoint { txid: TxId::of_body(&bodies[4]), index: 1 };
    let query = Query::Output { outpoint, transaction: Some(bodies[4].clone()) };
    let proof = store.prove(&prover, query, &at).unwrap();
    refuse_changes(&proof, |proof| verify_output(proof, &key(), outpoint).is_ok());
    let fact = verify_output(&proof, &key(), outpoint).unwrap().fact;
    let output = Some(body(4).outputs[1].clone());
    let txid = TxId::of_body(&bodies[39]);
    assert_eq!(fact, OutputFact::SpentBy { txid, sequence: 39, created_sequence: Some(4), output });
}

#[test]
fn spent_before_created() {
    let (prover, store, bodies, _, at) = world();
    let proof = store.prove(&prover, Query::Output { outpoint: unknown(), transaction: None }, &at).unwrap();
    refuse_changes(&proof, |proof| verify_output(proof, &key(), unknown()).is_ok());
    let fact = verify_output(&proof, &key(), unknown()).unwrap().fact;
    let txid = TxId::of_body(&bodies[39]);
    assert_eq!(fact, OutputFact::SpentBy { txid, sequence: 39, created_sequence: None, output: None });
}

#[test]
fn absent_in_every_way() {
    let (prover, store, bodies, _, at) = world();
    let mut ends = std::collections::BTreeSet::new();
    let strangers = (0..30).map(|n| OutPoint { txid: TxId::of_body(&[n]), index: 0 });
    let too_high = OutPoint { txid: TxId::of_body(&bodies[4]), index: 2 };
    let unclear = OutPoint { index: 0, ..unknown() };
    for outpoint in strangers.chain([too_high, unclear]) {
        let proof = store.prove(&prover, Query::Output { outpoint, transaction: None }, &at).unwrap();
        let fact = verify_output(&proof, &key(), outpoint).unwrap().fact;
        let unclear = outpoint == unclear;
        assert_eq!(fact, if unclear { OutputFact::NotYetCreated } else { OutputFact::NeverExisted });
        let message: pb::proof::OutputProof = eschaton_types::decode_canonical(&proof, "proof").unwrap();
        let map = message.map.unwrap();
        if ends.insert((map.value.is_empty(), map.other_key.is_empty(), unclear)) {
            refuse_changes(&proof, |proof| verify_output(proof, &key(), outpoint).is_ok());
        }
    }
    assert_eq!(
        ends.len(),
        4,
        "empty subtree, another leaf, own leaf created, own leaf not created: {ends:?}"
    );
}

#[test]
fn needless_fields_and_excess_are_refused() {
    let (prover, store, bodies, _, at) = world();
    let outpoint = OutPoint { txid: TxId::of_body(&bodies[4]), index: 0 };
    let proof = store.prove(&prover, Query::Output { outpoint, transaction: None }, &at).unwrap();
    let message: pb::proof::OutputProof = eschaton_types::decode_canonical(&proof, "proof").unwrap();
    let with = |change: &dyn Fn(&mut pb::proof::OutputProof)| {
        let mut message = message.clone();
        change(&mut message);
        verify_output(&encode(&message), &key(), outpoint)
    };
    let field = |field| Err(ProofError::Field { field, rule: "must be empty here" });
    assert_eq!(with(&|proof| proof.spender = vec![1; 32].into()), field("spender"));
    assert_eq!(with(&|proof| proof.spender_path = vec![1; 32].into()), field("spender_path"));
    assert!(with(&|proof| proof.transaction = bodies[5].clone()).is_err());
    assert!(with(&|proof| proof.map = None).is_err());
    assert!(with(&|proof| proof.index = 65_536).is_err());
    let large = vec![0; PROOF_BYTES_MAX + 1].into();
    assert!(matches!(verify_output(&large, &key(), outpoint), Err(ProofError::TooLarge { .. })));
    let stranger = NoteSigner::new(common::ORIGIN, &[1; 32]).unwrap();
    assert!(matches!(verify_output(&proof, stranger.verifier(), outpoint), Err(ProofError::Unsigned { .. })));
}

#[test]
fn forks_are_evidence() {
    let (prover, store, _, old, new) = world();
    let mut other = new.body().clone();
    other.log_root = [9; 32];
    let fork = common::signer().sign(other.clone()).unwrap();
    other.number += 1;
    other.previous = new.body().hash();
    let later = common::signer().sign(other).unwrap();
    let mut shrunk = new.body().clone();
    shrunk.size = 3;
    let shrunk = common::signer().sign(shrunk).unwrap();
    let unlinked = checkpoint(&prover, Some(&fork));
    for (old, new) in [(&new, &fork), (&new, &later), (&old, &shrunk), (&new, &unlinked)] {
        let message = pb::proof::ConsistencyProof {
            old_note: old.note().clone(),
            new_note: new.note().clone(),
            ..Default::default()
        };
        assert!(matches!(verify_consistency(&encode(&message), &key()), Err(ProofError::Fork { .. })));
    }
    let backward = pb::proof::ConsistencyProof {
        old_note: new.note().clone(),
        new_note: old.note().clone(),
        ..Default::default()
    };
    assert!(matches!(verify_consistency(&encode(&backward), &key()), Err(ProofError::Order { .. })));
    assert!(store.prove(&prover, Query::Consistency { old: new }, &old).is_err());
}

proptest::proptest! {
    #[test]
    fn noise_and_spliced_proofs_never_panic_nor_pass(
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..300),
        at in 0usize..2000,
        field in 1u8..8,
    ) {
        static PROOFS: std::sync::LazyLock<[Bytes; 3]> = std::sync::LazyLock::new(|| {
            let (prover, store, bodies, old, at) = world();
            let txid = TxId::of_body(&bodies[4]);
            let outpoint = OutPoint { txid, index: 1 };
            [Query::Inclusion(txid), Query::Consistency { old }, Query::Output { outpoint, transaction: None }]
                .map(|query| store.prove(&prover, query, &at).unwrap())
        });
        let txid = TxId::of_body(&encode(&body(4)));
        let outpoint = OutPoint { txid, index: 1 };
        let passes = |bytes: &Bytes| {
            verify_inclusion(bytes, &key(), txid).is_ok()
                || verify_consistency(bytes, &key()).is_ok()
                || verify_output(bytes, &key(), outpoint).is_ok()
        };
        let as_field = [&[field << 3 | 2, noise.len().to_le_bytes()[0] & 0x7f][..], &noise].concat();
        for proof in &*PROOFS {
            let at = at % proof.len();
            let spliced = [&proof[..at], &noise, &proof[at..]].concat();
            proptest::prop_assert!(!passes(&spliced.into()));
        }
        proptest::prop_assert!(!passes(&as_field.into()) && !passes(&noise.into()));
    }
}
