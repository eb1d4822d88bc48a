use bytes::Bytes;
use eschaton_proof::{Hash, tlog};
use eschaton_types::TxId;

use crate::{
    MerkleError, RowChange, RowKey, Rows,
    rows::{TILE_WIDTH, corrupt, fetch, sequence_key, tile_key},
};

/// The append-only log of accepted transactions: RFC 6962 over their ids, kept as C2SP tlog-tiles rows
/// of height 8. In memory is only the right edge: the hashes of the partial tile of each level.
#[derive(Clone, Debug, Default)]
pub struct LogTree {
    size: u64,
    /// Ids of the partial sequence row.
    ids: Vec<Hash>,
    /// For each level the hashes of its partial tile, fewer than 256.
    edge: Vec<Vec<Hash>>,
}

impl LogTree {
    /// The log without transactions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of transactions.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// RFC 6962 root.
    pub fn root(&self) -> Hash {
        self.edge
            .iter()
            .fold(None, |right, level| join(perfect_roots(level), right))
            .unwrap_or_else(tlog::empty_root)
    }

    /// Appends in order; the first gets sequence [`Self::size`]. Returns each touched tile and
    /// sequence row once, as it is afterwards.
    ///
    /// # Errors
    /// [`MerkleError::Full`] when sequences would pass 64 bits; the log is then unchanged.
    pub fn append(&mut self, txids: &[TxId]) -> Result<Vec<RowChange>, MerkleError> {
        let added = u64::try_from(txids.len()).map_err(|_| MerkleError::Full)?;
        self.size.checked_add(added).ok_or(MerkleError::Full)?;
        let mut changes = Vec::new();
        for txid in txids {
            self.ids.push(txid.0);
            if full(&self.ids) {
                changes.push((sequence_key(self.size), Some(row(&self.ids))));
                self.ids.clear();
            }
            self.push(tlog::leaf_hash(txid.as_ref()), &mut changes);
            self.size += 1;
        }
        if !txids.is_empty() {
            self.write_edge(added, &mut changes);
        }
        Ok(changes)
    }

    /// Puts a leaf's hash on the edge and carries each tile that becomes full one level up.
    fn push(&mut self, leaf: Hash, changes: &mut Vec<RowChange>) {
        let mut carry = Some(leaf);
        let mut number = self.size;
        for level in 0..u8::MAX {
            let Some(hash) = carry.take() else { return };
            if self.edge.len() <= usize::from(level) {
                self.edge.push(Vec::new());
            }
            let tile = &mut self.edge[usize::from(level)];
            tile.push(hash);
            number /= TILE_WIDTH;
            if full(tile) {
                changes.push((tile_key(level, number), Some(row(tile))));
                carry = perfect_root(tile);
                tile.clear();
            }
        }
    }

    /// Writes the partial rows that the last `added` leaves reached.
    fn write_edge(&self, added: u64, changes: &mut Vec<RowChange>) {
        if !self.ids.is_empty() {
            changes.push((sequence_key(self.size), Some(row(&self.ids))));
        }
        let (mut before, mut after) = (self.size - added, self.size);
        for (level, tile) in (0..u8::MAX).zip(&self.edge) {
            if before == after {
                return;
            }
            if !tile.is_empty() {
                changes.push((tile_key(level, after / TILE_WIDTH), Some(row(tile))));
            }
            (before, after) = (before / TILE_WIDTH, after / TILE_WIDTH);
        }
    }

    /// The rows that [`Self::load`] needs for a log of `size`: at most nine.
    pub fn rows_for_load(size: u64) -> Vec<RowKey> {
        let partial = |count: &u64| !count.is_multiple_of(TILE_WIDTH);
        let ids = Some(size).filter(partial).map(sequence_key);
        let tiles = levels(size).filter(|(_, count)| partial(count));
        ids.into_iter().chain(tiles.map(|(level, count)| tile_key(level, count / TILE_WIDTH))).collect()
    }

    /// The log as its rows describe it.
    ///
    /// # Errors
    /// [`MerkleError::MissingRow`] or [`MerkleError::CorruptRow`] when a row of
    /// [`Self::rows_for_load`] is absent or short. The caller compares the root with the one it
    /// recorded.
    pub fn load(size: u64, rows: Rows<'_>) -> Result<Self, MerkleError> {
        let read = |key: RowKey, count: u64| -> Result<Vec<Hash>, MerkleError> {
            let width = usize::try_from(count % TILE_WIDTH).map_err(|_| MerkleError::Full)?;
            if width == 0 {
                return Ok(Vec::new());
            }
            let row = fetch(rows, &key)?;
            Ok(row.as_chunks::<32>().0.get(..width).ok_or_else(|| corrupt(&key))?.to_vec())
        };
        let ids = read(sequence_key(size), size)?;
        let edge = levels(size).map(|(level, count)| read(tile_key(level, count / TILE_WIDTH), count));
        Ok(Self { size, ids, edge: edge.collect::<Result<_, _>>()? })
    }
}

/// Each level that has hashes, and how many.
fn levels(size: u64) -> impl Iterator<Item = (u8, u64)> {
    (0..8u8).map(move |level| (level, size >> (8 * u32::from(level)))).take_while(|(_, count)| *count > 0)
}

/// Roots of the perfect subtrees that `hashes` of one level fall into, largest and leftmost first.
fn perfect_roots(hashes: &[Hash]) -> impl DoubleEndedIterator<Item = Hash> {
    let sizes = (0..usize::BITS).rev().map(|bit| 1 << bit).filter(|size| hashes.len() & size != 0);
    let starts = sizes.map(|size| (hashes.len() & !(2 * size - 1), size));
    starts.filter_map(|(start, size)| perfect_root(&hashes[start..start + size]))
}

/// Joins perfect subtrees, largest first, and what stands right of them into one RFC 6962 root.
pub(crate) fn join(subtrees: impl DoubleEndedIterator<Item = Hash>, right: Option<Hash>) -> Option<Hash> {
    subtrees.rev().fold(right, |right, left| {
        Some(match right {
            None => left,
            Some(right) => tlog::node_hash(&left, &right),
        })
    })
}

/// Root of a power of two of neighbouring hashes; none of none.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| tlog::node_hash(left, right)).collect();
    }
    level.pop()
}

fn full(row: &[Hash]) -> bool {
    u64::try_from(row.len()).is_ok_and(|count| count >= TILE_WIDTH)
}

fn row(hashes: &[Hash]) -> Bytes {
    hashes.concat().into()
}
