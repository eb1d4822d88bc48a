//! The log tree against RFC 6962 as written and against another implementation.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Store, naive_consistency, naive_log_root, naive_path};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use eschaton_merkle::{
    LogTree, MerkleError, consistency_proof, inclusion_proof, tiles_for_consistency, tiles_for_inclusion,
};
use eschaton_proof::tlog;
use eschaton_types::TxId;
use sha2::Sha256;

fn ids(count: u32) -> Vec<TxId> {
    (0..count).map(|n| TxId::of_body(&n.to_be_bytes())).collect()
}

fn grown(ids: &[TxId], step: usize) -> (LogTree, Store) {
    let (mut log, mut store) = (LogTree::new(), Store::default());
    for batch in ids.chunks(step) {
        store.put(log.append(batch).unwrap());
    }
    (log, store)
}

#[test]
fn small_logs_are_as_the_rfc_defines() {
    let all = ids(70);
    for size in 0..=all.len() {
        let (log, store) = grown(&all[..size], 7);
        let rows = |key: &[u8]| store.get(key);
        let n = size as u64;
        let root = naive_log_root(&all[..size]);
        assert_eq!(log.root(), root);
        for (index, txid) in all[..size].iter().enumerate() {
            let path = inclusion_proof(index as u64, n, &rows).unwrap();
            assert_eq!(path, naive_path(index, &all[..size]));
            tlog::verify_inclusion(txid, index as u64, n, &path, &root).unwrap();
            for other in (0..n + 1).filter(|other| *other != index as u64) {
                assert!(tlog::verify_inclusion(txid, other, n, &path, &root).is_err());
            }
            for at in 0..path.len() {
                let mut wrong = path.clone();
                wrong[at][9] ^= 1;
                assert!(tlog::verify_inclusion(txid, index as u64, n, &wrong, &root).is_err());
                wrong.truncate(at);
                assert!(tlog::verify_inclusion(txid, index as u64, n, &wrong, &root).is_err());
            }
            let longer = [&path[..], &[[1; 32]]].concat();
            assert!(tlog::verify_inclusion(txid, index as u64, n, &longer, &root).is_err());
        }
        for old in 0..=size {
            let old_root = naive_log_root(&all[..old]);
            let path = consistency_proof(old as u64, n, &rows).unwrap();
            if old > 0 {
                assert_eq!(path, naive_consistency(old, &all[..size], true));
            }
            let verify =
                |old_root: &_, path: &[_]| tlog::verify_consistency(old as u64, old_root, n, &root, path);
            verify(&old_root, &path).unwrap();
            assert!(verify(&[9; 32], &path).is_err());
            assert!(verify(&old_root, &[&path[..], &[[1; 32]]].concat()).is_err());
            if let Some((_, shorter)) = path.split_last() {
                assert!(verify(&old_root, shorter).is_err());
            }
        }
    }
}

#[test]
fn large_logs_agree_with_ct_merkle_at_every_growth() {
    let all = ids(70_000); // more than 256 × 256: three levels of tiles
    let (log, store) = grown(&all, 997);
    let rows = |key: &[u8]| store.get(key);
    let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for (count, txid) in (1usize..).zip(&all) {
        other.push(txid.0.to_vec());
        if ![1, 255, 256, 257, 65_535, 65_536, 65_537, 65_792, 70_000].contains(&count) {
            continue;
        }
        let (size, root) = (count as u64, *other.root().as_bytes());
        for index in [0, 1, count / 3, count / 2, count - 1].map(|index| index.min(count - 1)) {
            let path = inclusion_proof(index as u64, size, &rows).unwrap();
            assert_eq!(path.concat(), other.prove_inclusion(index).as_bytes());
            tlog::verify_inclusion(&all[index], index as u64, size, &path, &root.into()).unwrap();
        }
        for old in [1, 200, 256, 1000, 65_536].into_iter().filter(|old| *old < count) {
            let path = consistency_proof(old as u64, size, &rows).unwrap();
            assert_eq!(path.concat(), other.prove_consistency(count - old).as_bytes());
        }
        if count == all.len() {
            assert_eq!(log.root()[..], root[..]);
        }
    }
}

#[test]
fn groupings_and_reloads_change_nothing() {
    let all = ids(66_000);
    let (whole, whole_store) = grown(&all, all.len());
    let (mut log, mut store) = grown(&all[..300], 1);
    for batch in all[300..].chunks(4096) {
        log = LogTree::load(log.size(), &|key| store.get(key)).unwrap();
        assert!(LogTree::rows_for_load(log.size()).len() <= 9);
        store.put(log.append(batch).unwrap());
    }
    assert_eq!((log.root(), log.size()), (whole.root(), whole.size()));
    assert_eq!(store.0, whole_store.0);
}

#[test]
fn proofs_need_the_named_tiles_only_and_refuse_the_impossible() {
    let all = ids(70_000);
    let (log, store) = grown(&all, 5000);
    for index in [0, 255, 256, 40_000, 69_999] {
        let keys = tiles_for_inclusion(index, log.size()).unwrap();
        assert!(keys.len() <= 8);
        let rows = |key: &[u8]| keys.iter().any(|known| known == key).then(|| store.get(key)).flatten();
        inclusion_proof(index, log.size(), &rows).unwrap();
        let none = |_: &[u8]| None;
        assert!(matches!(inclusion_proof(index, log.size(), &none), Err(MerkleError::MissingRow { .. })));
        let keys = tiles_for_consistency(index + 1, log.size()).unwrap();
        let rows = |key: &[u8]| keys.iter().any(|known| known == key).then(|| store.get(key)).flatten();
        consistency_proof(index + 1, log.size(), &rows).unwrap();
    }
    assert!(matches!(tiles_for_inclusion(7, 7), Err(MerkleError::BeyondLog { position: 7, size: 7 })));
    assert!(matches!(tiles_for_consistency(8, 7), Err(MerkleError::BeyondLog { .. })));
    tiles_for_inclusion(u64::MAX - 1, u64::MAX).unwrap();
    tiles_for_consistency(u64::MAX - 1, u64::MAX).unwrap();
}
