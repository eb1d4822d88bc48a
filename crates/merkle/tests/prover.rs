//! Both trees against the definitions, over random histories in random batches.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use eschaton_merkle::{Entry, MerkleError, Prover, Query};
use eschaton_proof::{OutputFact, verify_consistency, verify_inclusion, verify_output};
use eschaton_types::{OutPoint, TxId};
use proptest::prelude::*;

fn assert_is_history(prover: &Prover, entries: &[Entry]) {
    let ids: Vec<_> = entries.iter().map(|entry| entry.txid).collect();
    let leaves: Vec<_> = naive_leaves(entries).into_iter().collect();
    assert_eq!(prover.size(), entries.len() as u64);
    assert_eq!(prover.roots().log, naive_log_root(&ids));
    assert_eq!(prover.roots().map, naive_map_root(&leaves, 0));
}

/// What the history says of an output.
fn expected(entries: &[Entry], outpoint: OutPoint) -> OutputFact {
    let leaf = naive_leaves(entries).remove(&outpoint.txid).unwrap_or_default();
    let created_sequence = leaf.created.map(|created| created.sequence);
    if let Some(sequence) = leaf.spender_of(outpoint.index) {
        let txid = entries[usize::try_from(sequence).unwrap()].txid;
        return OutputFact::SpentBy { txid, sequence, created_sequence, output: None };
    }
    match leaf.created {
        Some(created) if outpoint.index < created.outputs => {
            OutputFact::Unspent { created_sequence: created.sequence, output: None }
        }
        None if !leaf.spends.is_empty() => OutputFact::NotYetCreated,
        _ => OutputFact::NeverExisted,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_grouping_and_reload_gives_the_defined_trees_and_rows(
        entries in histories(400),
        sizes in proptest::collection::vec(1usize..60, 1..6),
    ) {
        let (mut whole, mut whole_store) = (Prover::new(), Store::default());
        whole_store.apply(&mut whole, &entries).unwrap();
        let (mut prover, mut store) = (Prover::new(), Store::default());
        let mut done = 0;
        for batch in batches(&entries, &sizes) {
            store.apply(&mut prover, batch).unwrap();
            done += batch.len();
            prover = store.load().unwrap();
            if done % 5 == 0 {
                assert_is_history(&prover, &entries[..done]);
            }
        }
        assert_is_history(&prover, &entries);
        assert_is_history(&whole, &entries);
        prop_assert!(store.0 == whole_store.0, "rows depend on the history alone");
    }

    #[test]
    fn every_proof_verifies_and_says_what_the_history_says(
        entries in histories(60),
        sizes in proptest::collection::vec(1usize..20, 1..4),
    ) {
        let (mut prover, mut store) = (Prover::new(), Store::default());
        let mut checkpoints = vec![checkpoint(&prover, None)];
        let mut done = 0;
        for batch in batches(&entries, &sizes) {
            store.apply(&mut prover, batch).unwrap();
            done += batch.len();
            let now = checkpoint(&prover, checkpoints.last());
            for n in entries.iter().map(|entry| entry.txid).chain([TxId([0; 32]), TxId([255; 32])]) {
                for index in [0, 1, 5] {
                    let outpoint = OutPoint { txid: n, index };
                    let query = Query::Output { outpoint, transaction: None };
                    let proof = store.prove(&prover, query, &now).unwrap();
                    let verified = verify_output(&proof, &key(), outpoint).unwrap();
                    prop_assert_eq!(&verified.checkpoint, now.body());
                    prop_assert_eq!(verified.fact, expected(&entries[..done], outpoint));
                    let other = OutPoint { index: index + 1, ..outpoint };
                    prop_assert!(verify_output(&proof, &key(), other).is_err());
                }
            }
            checkpoints.push(now);
        }
        for at in &checkpoints {
            for (sequence, entry) in entries.iter().enumerate() {
                let proof = store.prove(&prover, Query::Inclusion(entry.txid), at);
                if sequence as u64 >= at.body().size {
                    prop_assert_eq!(proof.unwrap_err(), MerkleError::NotIncluded { txid: entry.txid });
                    continue;
                }
                let proof = proof.unwrap();
                let verified = verify_inclusion(&proof, &key(), entry.txid).unwrap();
                prop_assert_eq!((verified.fact, &verified.checkpoint), (sequence as u64, at.body()));
                prop_assert!(verify_inclusion(&proof, &key(), TxId([3; 32])).is_err());
            }
            for old in checkpoints.iter().take_while(|old| old.body().number <= at.body().number) {
                let proof = store.prove(&prover, Query::Consistency { old: old.clone() }, at).unwrap();
                let verified = verify_consistency(&proof, &key()).unwrap();
                prop_assert_eq!((&verified.fact, &verified.checkpoint), (old.body(), at.body()));
            }
        }
    }
}

fn entry(n: u8, outputs: u16, spends: &[(u8, u16)]) -> Entry {
    let spends = spends.iter().map(|(n, index)| OutPoint { txid: TxId([*n; 32]), index: *index }).collect();
    Entry { txid: TxId([n; 32]), outputs, spends }
}

#[test]
fn broken_invariants_are_named_and_change_nothing() {
    let (mut prover, mut store) = (Prover::new(), Store::default());
    store.apply(&mut prover, &[entry(1, 2, &[]), entry(2, 1, &[(1, 0)])]).unwrap();
    let before = (prover.roots(), store.0.clone());
    let spent = |n, index| OutPoint { txid: TxId([n; 32]), index };
    for (batch, error) in [
        (
            vec![entry(3, 1, &[]), entry(1, 2, &[])],
            MerkleError::AppliedTwice { txid: TxId([1; 32]), first: 0, again: 3 },
        ),
        (
            vec![entry(3, 1, &[]), entry(3, 1, &[])],
            MerkleError::AppliedTwice { txid: TxId([3; 32]), first: 2, again: 3 },
        ),
        (vec![entry(3, 1, &[(1, 0)])], MerkleError::SpentTwice { outpoint: spent(1, 0), first: 1, again: 2 }),
        (
            vec![entry(3, 1, &[(9, 4)]), entry(4, 1, &[(9, 4)])],
            MerkleError::SpentTwice { outpoint: spent(9, 4), first: 2, again: 3 },
        ),
        (
            vec![entry(3, 1, &[(2, 1)])],
            MerkleError::SpentMissing { outpoint: spent(2, 1), spender: 2, outputs: 1 },
        ),
        (
            vec![entry(3, 1, &[(4, 1)]), entry(4, 1, &[])],
            MerkleError::SpentMissing { outpoint: spent(4, 1), spender: 2, outputs: 1 },
        ),
    ] {
        assert_eq!(store.apply(&mut prover, &batch).unwrap_err(), error);
        assert!(before == (prover.roots(), store.0.clone()), "unchanged after {error}");
    }
    assert!(matches!(prover.apply(&[entry(3, 1, &[])], &|_| None), Err(MerkleError::MissingRow { .. })));
    store.apply(&mut prover, &[entry(3, 1, &[(1, 1)])]).unwrap();
    assert_eq!(prover.apply(&[], &|_| None).unwrap(), []);
}

#[test]
fn stale_and_damaged_rows_are_refused() {
    let (mut prover, mut store) = (Prover::new(), Store::default());
    let all: Vec<_> = (0..200).map(|n| entry(n, 1, &[])).collect();
    store.apply(&mut prover, &all).unwrap();
    let old_store = store.clone();
    let at = checkpoint(&prover, None);
    let outpoint = OutPoint { txid: TxId([7; 32]), index: 0 };
    let task = prover.prove(Query::Output { outpoint, transaction: None }, &at).unwrap();
    store.apply(&mut prover, &[entry(201, 1, &[(7, 0)])]).unwrap();
    assert!(matches!(store.finish(task), Err(MerkleError::StaleRow { .. })), "overwritten meanwhile");
    let again = prover.prove(Query::Output { outpoint, transaction: None }, &at);
    assert!(matches!(again, Err(MerkleError::OldCheckpoint { number: 0 })));
    let late = entry(202, 1, &[(7, 0)]);
    assert!(matches!(prover.apply(&[late], &|key| old_store.get(key)), Err(MerkleError::StaleRow { .. })));

    let buckets: Vec<_> = store.0.keys().filter(|key| key.starts_with(b"M")).cloned().collect();
    assert!(buckets.len() > 10, "{} buckets", buckets.len());
    for key in &buckets {
        let mut missing = store.clone();
        missing.0.remove(key);
        assert!(matches!(missing.load(), Err(MerkleError::WrongRoot { .. })));
        let mut damaged = store.clone();
        let row = damaged.0.get_mut(key).unwrap();
        *row = [&[row[0] ^ 1], &row[1..]].concat().into();
        assert!(matches!(damaged.load(), Err(MerkleError::WrongRoot { .. })));
        let mut short = store.clone();
        short.0.insert(key.clone(), Bytes::from_static(&[1; 31]));
        assert!(matches!(short.load(), Err(MerkleError::CorruptRow { .. })));
    }
    let (first, row) = (&buckets[0], store.0[&buckets[0]].clone());
    let depth = u16::from_be_bytes([first[1], first[2]]);
    let mut deeper = first.to_vec();
    deeper[2] += 1;
    deeper.resize(3 + usize::from(depth + 1).div_ceil(8), 0);
    for overlapping in
        [deeper, b"M\0\0".to_vec(), b"M\x01\x01".to_vec(), b"M\0\x01\xff".to_vec(), b"M".to_vec()]
    {
        let mut store = store.clone();
        store.0.insert(overlapping.into(), row.clone());
        assert!(matches!(store.load(), Err(MerkleError::CorruptRow { .. })));
    }
    let mut no_meta = store.clone();
    no_meta.0.remove(&b"H"[..]);
    assert!(matches!(no_meta.load(), Err(MerkleError::WrongRoot { .. })));
    let mut other_meta = store.clone();
    other_meta.0.insert(Bytes::from_static(b"H"), old_store.0[&b"H"[..]].clone());
    assert!(matches!(other_meta.load(), Err(MerkleError::WrongRoot { .. })));
    store.load().unwrap();
}

#[test]
fn a_leaf_with_many_spends_stands_alone_and_stays_provable() {
    let (mut prover, mut store) = (Prover::new(), Store::default());
    let spends: Vec<_> = (0..256).map(|index| (1, index)).collect();
    store.apply(&mut prover, &[entry(1, 256, &[]), entry(0, 1, &[]), entry(2, 1, &spends)]).unwrap();
    let at = checkpoint(&prover, None);
    let outpoint = OutPoint { txid: TxId([1; 32]), index: 255 };
    let proof = store.prove(&prover, Query::Output { outpoint, transaction: None }, &at).unwrap();
    let fact = verify_output(&proof, &key(), outpoint).unwrap().fact;
    assert!(matches!(fact, OutputFact::SpentBy { sequence: 2, created_sequence: Some(0), .. }));
    store.load().unwrap();
}
