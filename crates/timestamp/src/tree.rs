use bytes::{Bytes, BytesMut};
use eschaton_ots::tree::{self, Hash, Side};

use crate::TimestampError;
use crate::rows::{RowChange, RowKey, Rows, TreeId, corrupt, fetch};

/// Nodes of a row.
pub(crate) const WIDTH: usize = 256;
/// Levels of rows: three hold 2^24 leaves.
const LEVELS: u8 = 3;
/// Most leaves of a tree.
pub const LEAVES_MAX: u32 = 1 << 22;

/// A tree that grows leaf by leaf. In memory is only its right edge: the last row of each level, at most three
/// of 256 nodes, whatever the number of leaves. Its shape is that of OpenTimestamps' trees, in which a row of 256
/// aligned neighbours is a subtree of its own, the last row too.
#[derive(Clone, Debug)]
pub(crate) struct TreeBuilder {
    id: TreeId,
    count: u32,
    /// Bytes of the unfinished row of leaves.
    leaves: BytesMut,
    /// Hashes of the unfinished row of each level, leaves first.
    edge: Vec<Vec<Hash>>,
    /// Rows that became full since the last look.
    full: Vec<RowChange>,
    /// Leaves came since the last look.
    dirty: bool,
}

impl TreeBuilder {
    pub(crate) fn new(id: TreeId) -> Self {
        let edge = vec![Vec::with_capacity(WIDTH)];
        Self { id, count: 0, leaves: BytesMut::new(), edge, full: Vec::new(), dirty: false }
    }

    /// The rows that [`Self::load`] reads.
    pub(crate) fn rows_for_load(id: TreeId, count: u32) -> Vec<RowKey> {
        (0..LEVELS)
            .filter_map(|level| partial(count, level).map(|(tile, _)| id.tile_key(level, tile)))
            .collect()
    }

    /// The tree of `count` leaves as its rows hold it.
    pub(crate) fn load(id: TreeId, count: u32, rows: Rows<'_>) -> Result<Self, TimestampError> {
        let mut builder = Self { count, ..Self::new(id) };
        builder.edge.clear();
        for level in 0..LEVELS {
            let mut hashes = Vec::with_capacity(WIDTH);
            if let Some((tile, width)) = partial(count, level) {
                let key = id.tile_key(level, tile);
                let row = fetch(rows, &key)?;
                let size = if level == 0 { id.leaf_bytes() } else { 32 };
                // The row may have had its later nodes written already, by a step that is repeated.
                let row = row.get(..width * size).ok_or_else(|| corrupt(&key))?;
                hashes.extend(row.chunks_exact(size).filter_map(|node| node.first_chunk::<32>().copied()));
                if level == 0 {
                    builder.leaves = BytesMut::from(row);
                }
            } else if count >> (8 * u32::from(level)) == 0 && level > 0 {
                break;
            }
            builder.edge.push(hashes);
        }
        Ok(builder)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Adds a leaf; `extra` is kept beside it (an interval's nonces). Gives its index.
    pub(crate) fn push(&mut self, leaf: &Hash, extra: &[u8]) -> Result<u32, TimestampError> {
        let index = self.count;
        if index >= LEAVES_MAX {
            return Err(TimestampError::Full { what: "leaves of a tree" });
        }
        self.leaves.extend_from_slice(leaf);
        self.leaves.extend_from_slice(extra);
        self.count += 1;
        self.dirty = true;
        let mut carry = *leaf;
        let mut number = self.count;
        for level in 0..LEVELS {
            if self.edge.len() <= usize::from(level) {
                self.edge.push(Vec::with_capacity(WIDTH));
            }
            let nodes = &mut self.edge[usize::from(level)];
            nodes.push(carry);
            if nodes.len() < WIDTH {
                break;
            }
            let tile = (number >> 8) - 1;
            number >>= 8;
            let row = if level == 0 { self.leaves.split().freeze() } else { nodes.concat().into() };
            self.full.push((self.id.tile_key(level, tile), row));
            // Full rows have 256 nodes, so there is a root.
            carry = tree::root(std::mem::take(nodes)).unwrap_or_default();
            nodes.reserve(WIDTH);
        }
        Ok(index)
    }

    /// Rows that changed since the last look: full ones once, the unfinished ones of each level.
    pub(crate) fn take_changes(&mut self) -> Vec<RowChange> {
        let mut changes = std::mem::take(&mut self.full);
        if !std::mem::take(&mut self.dirty) {
            return changes;
        }
        // A level above the leaves changes only with a full row below it.
        let higher = !changes.is_empty();
        for (level, nodes) in (0..LEVELS).zip(&self.edge) {
            if nodes.is_empty() || (level > 0 && !higher) {
                continue;
            }
            let tile = self.count >> (8 * (u32::from(level) + 1));
            let row = if level == 0 { Bytes::copy_from_slice(&self.leaves) } else { nodes.concat().into() };
            changes.push((self.id.tile_key(level, tile), row));
        }
        changes
    }

    /// The root, with the rows that closing the tree adds: the roots of unfinished rows go up.
    pub(crate) fn close(mut self) -> Result<(Hash, Vec<RowChange>), TimestampError> {
        let mut changes = self.take_changes();
        let mut carry: Option<Hash> = None;
        for level in 0..LEVELS {
            let Some(mut nodes) = self.edge.get(usize::from(level)).cloned() else { break };
            if let Some(hash) = carry.take() {
                nodes.push(hash);
                // The unfinished row below is the last node of this one.
                let tile = ((self.count - 1) >> (8 * u32::from(level))) >> 8;
                changes.push((self.id.tile_key(level, tile), nodes.concat().into()));
            }
            carry = tree::root(nodes);
        }
        carry.map(|root| (root, changes)).ok_or(TimestampError::Invariant {
            id: "T1",
            detail: "a tree without leaves is closed".to_owned(),
        })
    }
}

/// Tile and width of a level's unfinished row in a tree that is still open; none when there is none.
fn partial(count: u32, level: u8) -> Option<(u32, usize)> {
    let nodes = count >> (8 * u32::from(level));
    let width = usize::try_from(nodes % 256).ok().filter(|width| *width > 0)?;
    Some((nodes >> 8, width))
}

/// Whether a closed tree has nodes above this level's rows.
fn needs_above(count: u32, level: u8) -> bool {
    u64::from(count) > 1 << (8 * (u32::from(level) + 1))
}

/// The rows that hold the branch of a leaf in a closed tree: one for each level, at most three.
pub(crate) fn branch_rows(id: TreeId, count: u32, index: u32) -> Vec<RowKey> {
    let levels = (0..LEVELS).take_while(|level| *level == 0 || needs_above(count, *level - 1));
    levels.map(|level| id.tile_key(level, index >> (8 * (u32::from(level) + 1)))).collect()
}

/// A leaf of a closed tree.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    /// The leaf's row entry: hash, and what was kept beside it.
    pub(crate) leaf: Vec<u8>,
    pub(crate) sides: Vec<Side>,
    pub(crate) root: Hash,
}

/// The branch of a leaf out of the rows of [`branch_rows`].
pub(crate) fn branch(id: TreeId, count: u32, index: u32, rows: Rows<'_>) -> Result<Branch, TimestampError> {
    let mut sides = Vec::new();
    let (mut leaf, mut below): (Vec<u8>, Option<Hash>) = (Vec::new(), None);
    for (level, key) in (0u32..).zip(branch_rows(id, count, index)) {
        let row = fetch(rows, &key)?;
        let size = if level == 0 { id.leaf_bytes() } else { 32 };
        let nodes: Vec<Hash> =
            row.chunks_exact(size).filter_map(|node| node.first_chunk::<32>().copied()).collect();
        // A row has exactly the nodes that the count tells; more or fewer would give another root.
        let in_level = u64::from(count).div_ceil(1 << (8 * level));
        let first = u64::from(index >> (8 * (level + 1))) << 8;
        let width = usize::try_from(in_level.saturating_sub(first).min(256)).map_err(|_| corrupt(&key))?;
        if nodes.len() != width || row.len() != width * size {
            return Err(corrupt(&key));
        }
        let at = usize::try_from((index >> (8 * level)) & 0xff).map_err(|_| corrupt(&key))?;
        if level == 0 {
            leaf = row.get(at * size..(at + 1) * size).ok_or_else(|| corrupt(&key))?.to_vec();
        } else if nodes.get(at).copied() != below {
            return Err(corrupt(&key));
        }
        let (more, root) = tree::branch(nodes, at).map_err(|_| corrupt(&key))?;
        sides.extend(more);
        below = Some(root);
    }
    match below {
        Some(root) => Ok(Branch { leaf, sides, root }),
        None => Err(TimestampError::Open),
    }
}
