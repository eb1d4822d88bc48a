//! Changes of leaves, and the invariants that each must keep.

use eschaton_proof::{Created, LeafValue, Spend};
use eschaton_types::{OutPoint, TxId};

use crate::{
    MerkleError,
    bucket::{Batch, Reader},
};

/// What happens to one transaction's leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is accepted.
    Created(Created),
    /// One of its outputs is spent.
    Spent(Spend),
}

/// A change and the leaf that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafUpdate {
    /// The leaf's key.
    pub txid: TxId,
    /// What happens.
    pub change: Change,
}

/// Writes a bucket's entries with the updates of its leaves into the batch, in order of key.
pub(crate) fn merge(
    batch: &mut Batch,
    mut old: Reader<'_>,
    mut updates: &[LeafUpdate],
) -> Result<(), MerkleError> {
    let mut standing = old.next()?;
    loop {
        let next = updates.first().map(|update| update.txid);
        if let Some((key, value)) = standing.filter(|(key, _)| next.is_none_or(|next| *key < next)) {
            batch.copy(key, value);
            standing = old.next()?;
            continue;
        }
        let Some(txid) = next else { return Ok(()) };
        let mut value = LeafValue::default();
        if let Some((_, bytes)) = standing.filter(|(key, _)| *key == txid) {
            value = LeafValue::from_bytes(bytes)?;
            standing = old.next()?;
        }
        let count = updates.iter().take_while(|update| update.txid == txid).count();
        let (here, after) = updates.split_at(count);
        here.iter().try_for_each(|update| change(&mut value, update))?;
        spends_exist(&value, txid)?;
        batch.push(txid, &value);
        updates = after;
    }
}

/// Invariants P2 and L2 for one change.
fn change(value: &mut LeafValue, update: &LeafUpdate) -> Result<(), MerkleError> {
    let txid = update.txid;
    match update.change {
        Change::Created(created) => match value.created.replace(created) {
            None => Ok(()),
            Some(first) => {
                let (first, again) = ordered(first.sequence, created.sequence);
                Err(MerkleError::AppliedTwice { txid, first, again })
            }
        },
        Change::Spent(spend) => match value.spends.binary_search_by_key(&spend.index, |spend| spend.index) {
            Err(place) => {
                value.spends.insert(place, spend);
                Ok(())
            }
            Ok(place) => {
                let (first, again) = ordered(value.spends[place].sequence, spend.sequence);
                let outpoint = OutPoint { txid, index: spend.index };
                Err(MerkleError::SpentTwice { outpoint, first, again })
            }
        },
    }
}

/// Invariant L1 for one leaf.
fn spends_exist(value: &LeafValue, txid: TxId) -> Result<(), MerkleError> {
    match (value.created, value.spends.last()) {
        (Some(Created { outputs, .. }), Some(last)) if last.index >= outputs => {
            Err(MerkleError::SpentMissing {
                outpoint: OutPoint { txid, index: last.index },
                spender: last.sequence,
                outputs,
            })
        }
        _ => Ok(()),
    }
}

fn ordered(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}
