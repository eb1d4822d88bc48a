//! Proofs of the log at any size up to the present one, from tile rows alone.

use eschaton_proof::Hash;

use crate::{
    MerkleError, RowKey, Rows,
    log::{join, perfect_root},
    rows::{TILE_WIDTH, corrupt, element, fetch, tile_key},
};

/// The tile rows that [`inclusion_proof`] needs.
///
/// # Errors
/// [`MerkleError::BeyondLog`] when `index` is not below `size`.
pub fn tiles_for_inclusion(index: u64, size: u64) -> Result<Vec<RowKey>, MerkleError> {
    Ok(tiles(&inclusion_ranges(index, size)?))
}

/// RFC 6962 audit path (section 2.1.1) of leaf `index` in the log's first `size` leaves, the leaf's
/// sibling first.
///
/// # Errors
/// [`MerkleError::BeyondLog`] when `index` is not below `size`; [`MerkleError::MissingRow`] or
/// [`MerkleError::CorruptRow`] when a tile is absent or short.
pub fn inclusion_proof(index: u64, size: u64, rows: Rows<'_>) -> Result<Vec<Hash>, MerkleError> {
    inclusion_ranges(index, size)?.into_iter().map(|range| range_hash(range, rows)).collect()
}

/// The tile rows that [`consistency_proof`] needs.
///
/// # Errors
/// [`MerkleError::BeyondLog`] when `old` is above `new`.
pub fn tiles_for_consistency(old: u64, new: u64) -> Result<Vec<RowKey>, MerkleError> {
    Ok(tiles(&consistency_ranges(old, new)?))
}

/// RFC 6962 consistency proof (section 2.1.2) between the log's first `old` and first `new` leaves;
/// empty when `old` is 0 or equals `new`.
///
/// # Errors
/// [`MerkleError::BeyondLog`] when `old` is above `new`; [`MerkleError::MissingRow`] or
/// [`MerkleError::CorruptRow`] when a tile is absent or short.
pub fn consistency_proof(old: u64, new: u64, rows: Rows<'_>) -> Result<Vec<Hash>, MerkleError> {
    consistency_ranges(old, new)?.into_iter().map(|range| range_hash(range, rows)).collect()
}

/// Leaves from `start` up to `end`, a subtree of RFC 6962.
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    end: u64,
}

/// The perfect subtree over leaves `index` × 2^`height` on.
#[derive(Clone, Copy)]
struct Perfect {
    height: u32,
    index: u64,
}

fn inclusion_ranges(index: u64, size: u64) -> Result<Vec<Range>, MerkleError> {
    if index >= size {
        return Err(MerkleError::BeyondLog { position: index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(Range { start: middle, end });
            end = middle;
        } else {
            path.push(Range { start, end: middle });
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

fn consistency_ranges(old: u64, new: u64) -> Result<Vec<Range>, MerkleError> {
    if old > new {
        return Err(MerkleError::BeyondLog { position: old, size: new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(Range { start: middle, end });
            end = middle;
        } else {
            path.push(Range { start, end: middle });
            start = middle;
        }
    }
    if start > 0 {
        path.push(Range { start, end }); // the verifier has the old root only when it is this subtree
    }
    path.reverse();
    Ok(path)
}

/// The largest power of two below `count`, which is above 1.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The perfect subtrees of a range, largest first.
fn perfect(range: Range) -> impl DoubleEndedIterator<Item = Perfect> {
    let count = range.end - range.start;
    let heights = (0..u64::BITS).rev().filter(move |height| count >> height & 1 == 1);
    heights.map(move |height| {
        let before = count.checked_shr(height + 1).unwrap_or(0).checked_shl(height + 1).unwrap_or(0);
        Perfect { height, index: (range.start + before) >> height }
    })
}

impl Perfect {
    /// The tile that holds the subtree's hashes, the first of them and their number.
    fn place(self) -> (RowKey, u64, u64) {
        let (level, width) = (self.height / 8, 1 << (self.height % 8));
        let first = self.index * width;
        let level = level.to_le_bytes()[0]; // below 8
        (tile_key(level, first / TILE_WIDTH), first % TILE_WIDTH, width)
    }

    fn hash(self, rows: Rows<'_>) -> Result<Hash, MerkleError> {
        let (key, first, width) = self.place();
        let tile = fetch(rows, &key)?;
        let hashes: Option<Vec<_>> = (first..first + width).map(|index| element(&tile, index)).collect();
        hashes.and_then(|hashes| perfect_root(&hashes)).ok_or_else(|| corrupt(&key))
    }
}

fn range_hash(range: Range, rows: Rows<'_>) -> Result<Hash, MerkleError> {
    let hashes = perfect(range).map(|subtree| subtree.hash(rows)).collect::<Result<Vec<_>, _>>()?;
    join(hashes.into_iter(), None).ok_or(MerkleError::BeyondLog { position: range.start, size: range.end })
}

fn tiles(ranges: &[Range]) -> Vec<RowKey> {
    let mut keys: Vec<_> =
        ranges.iter().flat_map(|range| perfect(*range)).map(|subtree| subtree.place().0).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
