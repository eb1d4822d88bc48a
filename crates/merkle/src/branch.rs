//! Proofs of the map.

use eschaton_proof::{Hash, LeafValue, MapProof, Terminal, map};
use eschaton_types::TxId;

use crate::{
    MerkleError, RowKey, Rows,
    bucket::{Batch, Reader, halves, subtree_hash},
    rows::{bucket_key, corrupt, fetch, hex},
};

/// A key's branch as far as it is in memory; its end is in the bucket's row.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) txid: TxId,
    pub(crate) depth: u16,
    /// Hash of the subtree at the end.
    pub(crate) hash: Hash,
    /// From the root down.
    pub(crate) siblings: Vec<Hash>,
}

impl Branch {
    /// The row that [`Self::prove`] needs.
    pub(crate) fn row(&self) -> Option<RowKey> {
        (self.hash != map::EMPTY).then(|| bucket_key(&self.txid, self.depth))
    }

    pub(crate) fn prove(mut self, rows: Rows<'_>) -> Result<MapProof, MerkleError> {
        let Some(key) = self.row() else {
            return Ok(MapProof { siblings: self.siblings, terminal: Terminal::Empty });
        };
        let row = fetch(rows, &key)?;
        if !row.starts_with(&self.hash) {
            return Err(MerkleError::StaleRow { key: hex(&key) });
        }
        let mut batch = Batch::default();
        let mut reader = Reader::new(self.txid, self.depth, &row);
        while let Some((key, value)) = reader.next()? {
            batch.copy(key, value);
        }
        let mut entries = &batch.entries[..];
        let mut depth = usize::from(self.depth);
        if subtree_hash(entries, depth) != self.hash {
            return Err(corrupt(&key));
        }
        while entries.len() > 1 {
            let (left, right) = halves(entries, depth);
            let (mine, other) = if map::bit(&self.txid.0, depth) { (right, left) } else { (left, right) };
            depth += 1;
            self.siblings.push(subtree_hash(other, depth));
            entries = mine;
        }
        let terminal = match entries.first() {
            None => Terminal::Empty,
            Some(entry) => {
                let value = LeafValue::from_bytes(&batch.bytes[entry.value.clone()])?;
                if entry.key == self.txid {
                    Terminal::Leaf(value)
                } else {
                    Terminal::Other { key: entry.key, value }
                }
            }
        };
        Ok(MapProof { siblings: self.siblings, terminal })
    }
}
