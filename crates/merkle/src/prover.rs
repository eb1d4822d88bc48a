use bytes::Bytes;
use eschaton_proof::{Created, Hash, Spend};
use eschaton_types::{OutPoint, TxId};

use crate::{
    Change, LeafUpdate, LogTree, MerkleError, OutputMap, RowChange, RowKey, Rows, load::Meta, rows::META_KEY,
};

/// An accepted transaction as the trees take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub txid: TxId,
    /// How many outputs it created.
    pub outputs: u16,
    /// The outputs that it consumed.
    pub spends: Vec<OutPoint>,
}

/// What a checkpoint commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// RFC 6962 root of the log.
    pub log: Hash,
    /// Root of the output map.
    pub map: Hash,
}

/// Both trees, in step: every entry gets the next sequence in the log, its own leaf in the map, and
/// its mark in the leaf of each transaction that it spends from.
#[derive(Clone, Debug, Default)]
pub struct Prover {
    pub(crate) log: LogTree,
    pub(crate) map: OutputMap,
}

impl Prover {
    /// Trees without transactions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of transactions in the log.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// The present roots.
    pub fn roots(&self) -> Roots {
        Roots { log: self.log.root(), map: self.map.root() }
    }

    /// The rows that [`Self::apply`] needs for these entries, each once.
    pub fn touches(&self, entries: &[Entry]) -> Vec<RowKey> {
        let spent = entries.iter().flat_map(|entry| entry.spends.iter().map(|outpoint| outpoint.txid));
        let keys: Vec<_> = entries.iter().map(|entry| entry.txid).chain(spent).collect();
        self.map.rows_for(&keys)
    }

    /// Takes entries in their order in the log; a spend may come before the transaction that it
    /// spends from. Returns every changed row once, to be written in one atomic batch.
    ///
    /// # Errors
    /// [`MerkleError::AppliedTwice`] (P2), [`MerkleError::SpentTwice`] (L2),
    /// [`MerkleError::SpentMissing`] (L1); [`MerkleError::MissingRow`], [`MerkleError::StaleRow`] or
    /// [`MerkleError::CorruptRow`] when `rows` does not hold [`Self::touches`] as last returned;
    /// [`MerkleError::Full`]. After any error the trees are unchanged.
    pub fn apply(&mut self, entries: &[Entry], rows: Rows<'_>) -> Result<Vec<RowChange>, MerkleError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let spends: usize = entries.iter().map(|entry| entry.spends.len()).sum();
        let mut updates = Vec::with_capacity(entries.len() + spends);
        let mut sequence = self.log.size();
        for entry in entries {
            let created = Change::Created(Created { sequence, outputs: entry.outputs });
            updates.push(LeafUpdate { txid: entry.txid, change: created });
            updates.extend(entry.spends.iter().map(|outpoint| LeafUpdate {
                txid: outpoint.txid,
                change: Change::Spent(Spend { index: outpoint.index, sequence }),
            }));
            sequence = sequence.checked_add(1).ok_or(MerkleError::Full)?;
        }
        let plan = self.map.plan(updates, rows)?;
        let txids: Vec<_> = entries.iter().map(|entry| entry.txid).collect();
        let mut changes = self.log.append(&txids)?;
        changes.extend(self.map.commit(&plan));
        changes.push((Bytes::from_static(META_KEY), Some(Meta::of(self).encode())));
        Ok(changes)
    }
}
