//! A store of rows, naive oracles written from the definitions, and random histories.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses its part

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use eschaton_merkle::{Entry, MAP_PREFIX, MerkleError, ProofTask, Prover, Query, RowChange, Step};
use eschaton_proof::{
    CheckpointBody, Created, Hash, LeafValue, NoteSigner, SignedCheckpoint, Spend, VerifierKey, map, tlog,
};
use eschaton_types::{OutPoint, TxId};
use proptest::prelude::*;

/// Rows as a store keeps them.
#[derive(Clone, Default)]
pub struct Store(pub BTreeMap<Bytes, Bytes>);

impl Store {
    pub fn put(&mut self, changes: Vec<RowChange>) {
        let count = changes.len();
        let keys: BTreeSet<_> = changes.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), count, "each row once");
        for (key, value) in changes {
            match value {
                Some(value) => drop(self.0.insert(key, value)),
                None => assert!(self.0.remove(&key).is_some(), "only what exists is deleted"),
            }
        }
    }

    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.0.get(key).cloned()
    }

    pub fn load(&self) -> Result<Prover, MerkleError> {
        let scan = self.0.range(Bytes::from_static(MAP_PREFIX)..Bytes::from_static(b"N"));
        Prover::load(&|key| self.get(key), scan.map(|(key, value)| (key.clone(), value.clone())))
    }

    /// Applies with exactly the rows that the prover asked for.
    pub fn apply(&mut self, prover: &mut Prover, entries: &[Entry]) -> Result<(), MerkleError> {
        let touches = prover.touches(entries);
        assert_eq!(touches.iter().collect::<BTreeSet<_>>().len(), touches.len(), "each row once");
        let fetched: BTreeMap<_, _> =
            touches.into_iter().map(|key| (key.clone(), self.0[&key].clone())).collect();
        let changes = prover.apply(entries, &|key| fetched.get(key).cloned())?;
        self.put(changes);
        Ok(())
    }

    /// Runs a proof to its end with exactly the rows that it asks for.
    pub fn finish(&self, mut task: ProofTask) -> Result<Bytes, MerkleError> {
        for _ in 0..2 {
            let fetched: BTreeMap<_, _> =
                task.rows().iter().map(|key| (key.clone(), self.0[key].clone())).collect();
            match task.advance(&|key| fetched.get(key).cloned())? {
                Step::Rows(next) => task = *next,
                Step::Done(bytes) => return Ok(bytes),
            }
        }
        unreachable!("at most two rounds")
    }

    pub fn prove(&self, prover: &Prover, query: Query, at: &SignedCheckpoint) -> Result<Bytes, MerkleError> {
        self.finish(prover.prove(query, at)?)
    }
}

pub const ORIGIN: &str = "node.example/log";

pub fn signer() -> NoteSigner {
    NoteSigner::new(ORIGIN, &[42; 32]).unwrap()
}

pub fn key() -> VerifierKey {
    signer().verifier().clone()
}

/// A checkpoint of the prover's present state.
pub fn checkpoint(prover: &Prover, previous: Option<&SignedCheckpoint>) -> SignedCheckpoint {
    let number = previous.map_or(0, |previous| previous.body().number + 1);
    let roots = prover.roots();
    let body = CheckpointBody {
        origin: ORIGIN.into(),
        number,
        size: prover.size(),
        log_root: roots.log,
        map_root: roots.map,
        time_ms: 1_700_000_000_000 + number,
        previous: previous.map_or([0; 32], |previous| previous.body().hash()),
    };
    signer().sign(body).unwrap()
}

/// MTH of RFC 6962, section 2.1.
pub fn naive_log_root(leaves: &[TxId]) -> Hash {
    match leaves {
        [] => tlog::empty_root(),
        [leaf] => tlog::leaf_hash(&leaf.0),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            tlog::node_hash(&naive_log_root(left), &naive_log_root(right))
        }
    }
}

/// PATH of RFC 6962, section 2.1.1.
pub fn naive_path(index: usize, leaves: &[TxId]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let half = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(half);
    let (mut path, sibling) =
        if index < half { (naive_path(index, left), right) } else { (naive_path(index - half, right), left) };
    path.push(naive_log_root(sibling));
    path
}

/// SUBPROOF of RFC 6962, section 2.1.2; PROOF is with `known` set.
pub fn naive_consistency(old: usize, leaves: &[TxId], known: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if known { Vec::new() } else { vec![naive_log_root(leaves)] };
    }
    let half = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(half);
    if old <= half {
        let mut path = naive_consistency(old, left, known);
        path.push(naive_log_root(right));
        path
    } else {
        let mut path = naive_consistency(old - half, right, false);
        path.push(naive_log_root(left));
        path
    }
}

/// All leaves that a history leads to.
pub fn naive_leaves(entries: &[Entry]) -> BTreeMap<TxId, LeafValue> {
    let mut leaves: BTreeMap<TxId, LeafValue> = BTreeMap::new();
    for (sequence, entry) in (0..).zip(entries) {
        leaves.entry(entry.txid).or_default().created = Some(Created { sequence, outputs: entry.outputs });
        for outpoint in &entry.spends {
            leaves.entry(outpoint.txid).or_default().spends.push(Spend { index: outpoint.index, sequence });
        }
    }
    leaves.values_mut().for_each(|value| value.spends.sort_by_key(|spend| spend.index));
    leaves
}

/// The compact sparse tree's definition.
pub fn naive_map_root(leaves: &[(TxId, LeafValue)], depth: usize) -> Hash {
    match leaves {
        [] => [0; 32],
        [(key, value)] => map::leaf_hash(key, &value.to_bytes()),
        _ => {
            let (right, left): (Vec<_>, Vec<_>) =
                leaves.iter().cloned().partition(|(key, _)| key.0[depth / 8] >> (7 - depth % 8) & 1 == 1);
            map::node_hash(&naive_map_root(&left, depth + 1), &naive_map_root(&right, depth + 1))
        }
    }
}

/// The n-th id of a history: spread evenly, or in dense clusters that differ in their last bits only.
pub fn txid(n: u16) -> TxId {
    let mut id = TxId::of_body(&(n / 4).to_be_bytes());
    match n % 4 {
        0 => id = TxId::of_body(&n.to_le_bytes()),
        1 => id.0 = [[n.to_be_bytes()[0]; 2], n.to_be_bytes()].concat().repeat(8).try_into().unwrap(),
        low => id.0[31] = id.0[31] & 0xfe | (low == 2) as u8,
    }
    id
}

/// Histories that break no invariant, in which spends may come before what they spend.
pub fn histories(max: usize) -> impl Strategy<Value = Vec<Entry>> {
    let transaction = (any::<u16>(), 1u16..6, proptest::collection::vec((any::<u16>(), 0u16..6), 0..4));
    proptest::collection::vec(transaction, 1..max).prop_map(|transactions| {
        let outputs: BTreeMap<TxId, u16> =
            transactions.iter().rev().map(|(n, outputs, _)| (txid(*n), *outputs)).collect();
        let ids: Vec<_> = outputs.keys().copied().collect();
        let (mut known, mut spent) = (BTreeSet::new(), BTreeSet::new());
        let mut entries = Vec::new();
        for (n, _, wanted) in &transactions {
            let txid = txid(*n);
            if !known.insert(txid) {
                continue;
            }
            let mut spends = Vec::new();
            for (which, index) in wanted {
                let owner = ids[usize::from(*which) % ids.len()];
                let outpoint = OutPoint { txid: owner, index: index % outputs[&owner] };
                if spent.insert(outpoint) {
                    spends.push(outpoint);
                }
            }
            entries.push(Entry { txid, outputs: outputs[&txid], spends });
        }
        entries
    })
}

/// Cuts a history into batches of these sizes, in turn.
pub fn batches<'e>(entries: &'e [Entry], sizes: &[usize]) -> Vec<&'e [Entry]> {
    let mut rest = entries;
    let mut batches = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, after) = rest.split_at((*size).min(rest.len()));
        batches.push(batch);
        rest = after;
    }
    batches
}
