//! Pieces of a proof, each a list of operations, and their assembly: digest → commitment → interval's root →
//! anchor's root → transaction → block.

use bytes::Bytes;
use eschaton_ots::tree::{Hash, Side, branch_ops, fold_level};
use eschaton_ots::{
    ANSWER_BYTES_MAX, Attestation, CalendarUri, Chain, Op, Operand, OtsError, Timestamp, commitment_ops,
};

use crate::TimestampError;
use crate::block::BlockBranch;
use crate::rows::{Place, RootPlace, RowKey, Rows, TreeId, corrupt, fetch, interval_key, root_key};
use crate::stamper::interval_row;
use crate::transaction::Transaction;
use crate::tree::{branch, branch_rows};

/// Most operations of a chain that this node makes: a client adds two of its own to each file, and reads 255.
pub const OPS_MAX: usize = 200;

/// Tags of operations, as the format has them.
const APPEND: u8 = 0xf0;
const PREPEND: u8 = 0xf1;
const SHA256: u8 = 0x08;

/// Digest to the root of its interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalPath {
    /// From the digest.
    pub ops: Vec<Op>,
    /// What they lead to, and what a pending attestation is of.
    pub root: Hash,
}

/// Interval's root to the root of its anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorPath {
    /// From the interval's root.
    pub ops: Vec<Op>,
    /// What they lead to.
    pub root: Hash,
}

/// The rows that [`interval_path`] reads, for prefetching: the interval's row first of all, then, with the count
/// that stands in it, at most three more.
pub fn rows_for_interval_path(shard: u32, place: Place, count: u32) -> Vec<RowKey> {
    let id = TreeId::Interval { shard, interval: place.interval };
    [vec![interval_key(shard, place.interval)], branch_rows(id, count, place.index)].concat()
}

/// The path of a digest whose place is known ([`crate::rows::digest_key`]) to the root of its interval: one read
/// for the place, one for the interval and one for each 256-fold of its digests.
///
/// # Errors
/// [`TimestampError::Open`] before the interval is closed; [`TimestampError::CorruptRow`] when rows contradict
/// each other or the digest.
pub fn interval_path(
    digest: &[u8],
    shard: u32,
    place: Place,
    rows: Rows<'_>,
) -> Result<IntervalPath, TimestampError> {
    let interval = interval_row(shard, place.interval, rows)?;
    let id = TreeId::Interval { shard, interval: place.interval };
    let key = interval_key(shard, place.interval);
    if place.index >= interval.count {
        return Err(corrupt(&key));
    }
    let branch = branch(id, interval.count, place.index, rows)?;
    let (leaf, nonce) = branch.leaf.split_first_chunk::<32>().ok_or_else(|| corrupt(&key))?;
    let nonce = nonce.try_into().map_err(|_| corrupt(&key))?;
    if eschaton_ots::commitment(digest, &nonce) != *leaf || branch.root != *interval.root {
        return Err(corrupt(&key));
    }
    let mut ops = commitment_ops(&nonce).to_vec();
    ops.extend(branch_ops(&branch.sides));
    Ok(IntervalPath { ops, root: branch.root })
}

/// The paths of up to 256 neighbours in a closed interval, which share most of their hashing.
#[derive(Clone, Debug)]
pub struct ChunkPaths {
    chunk: u32,
    leaves: Bytes,
    /// Every level of the chunk's own tree but its root, leaves first.
    levels: Vec<Vec<Hash>>,
    /// From the chunk's root up.
    above: Vec<Side>,
    root: Hash,
}

/// Which chunk a leaf is in.
pub fn chunk_of(index: u32) -> u32 {
    index >> 8
}

/// The rows that [`chunk_paths`] reads.
pub fn rows_for_chunk_paths(shard: u32, interval: u64, count: u32, chunk: u32) -> Vec<RowKey> {
    branch_rows(TreeId::Interval { shard, interval }, count, chunk << 8)
}

/// The paths of a chunk of a closed interval, which has `count` digests and this root.
///
/// # Errors
/// [`TimestampError::MissingRow`], [`TimestampError::CorruptRow`].
pub fn chunk_paths(
    shard: u32,
    interval: u64,
    (count, root): (u32, &[u8]),
    chunk: u32,
    rows: Rows<'_>,
) -> Result<ChunkPaths, TimestampError> {
    let id = TreeId::Interval { shard, interval };
    let key = interval_key(shard, interval);
    let first = chunk << 8;
    if first >= count {
        return Err(corrupt(&key));
    }
    // Checks every row's width, and each against the one above it.
    let branch = branch(id, count, first, rows)?;
    if branch.root != *root {
        return Err(corrupt(&key));
    }
    let leaves = fetch(rows, &id.tile_key(0, chunk))?;
    let mut level: Vec<Hash> =
        leaves.chunks_exact(48).filter_map(|leaf| leaf.first_chunk().copied()).collect();
    let mut levels = Vec::with_capacity(8);
    while level.len() > 1 {
        levels.push(level.clone());
        fold_level(&mut level);
    }
    // The first leaf is a left one at every level of its chunk, so what its branch has beyond them is above.
    let above = branch.sides.get(levels.len()..).ok_or_else(|| corrupt(&key))?.to_vec();
    Ok(ChunkPaths { chunk, leaves, levels, above, root: branch.root })
}

impl ChunkPaths {
    /// The interval's root, where every path ends.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The serialized timestamp of a digest at this leaf: the way to the interval's root, then `end`, the serialized
    /// timestamp of the root. As [`answer`] makes it, without the steps between.
    ///
    /// # Errors
    /// [`TimestampError::CorruptRow`] when the leaf is not this digest's.
    pub fn timestamp(&self, digest: &[u8], index: u32, end: &[u8]) -> Result<Vec<u8>, TimestampError> {
        let damaged = || TimestampError::CorruptRow { key: hex::encode(self.root) };
        let mut at = usize::try_from(index & 0xff).map_err(|_| damaged())?;
        let leaf = self.leaves.get(at * 48..(at + 1) * 48).filter(|_| chunk_of(index) == self.chunk);
        let (leaf, nonce) = leaf.and_then(|leaf| leaf.split_first_chunk::<32>()).ok_or_else(damaged)?;
        let nonce: eschaton_ots::Nonce = nonce.try_into().map_err(|_| damaged())?;
        if eschaton_ots::commitment(digest, &nonce) != *leaf {
            return Err(damaged());
        }
        let mut out = Vec::with_capacity(18 + 1 + 35 * (self.levels.len() + self.above.len()) + end.len());
        out.extend([APPEND, 16]);
        out.extend(nonce);
        out.push(SHA256);
        let mut push = |side: &Side| {
            let (tag, hash) = match side {
                Side::Left(hash) => (PREPEND, hash),
                Side::Right(hash) => (APPEND, hash),
            };
            out.extend([tag, 32]);
            out.extend(hash);
            out.push(SHA256);
        };
        for level in &self.levels {
            if at % 2 == 1 {
                push(&Side::Left(level[at - 1]));
            } else if let Some(right) = level.get(at + 1) {
                push(&Side::Right(*right));
            }
            at /= 2;
        }
        self.above.iter().for_each(push);
        out.extend(end);
        Ok(out)
    }
}

/// Where an interval's root is anchored; none for bytes that are no root.
///
/// # Errors
/// [`TimestampError::CorruptRow`].
pub fn root_place(root: &Hash, rows: Rows<'_>) -> Result<Option<RootPlace>, TimestampError> {
    let key = root_key(root);
    rows(&key).map(|row| RootPlace::from_row(&key, &row)).transpose()
}

/// The path of an interval's root to the root of its anchor, which has `count` intervals.
///
/// # Errors
/// [`TimestampError::CorruptRow`], [`TimestampError::MissingRow`].
pub fn anchor_path(
    root: &Hash,
    place: RootPlace,
    count: u32,
    rows: Rows<'_>,
) -> Result<AnchorPath, TimestampError> {
    let key = root_key(root);
    if place.index >= count {
        return Err(corrupt(&key));
    }
    let branch = branch(TreeId::Anchor(place.anchor), count, place.index, rows)?;
    if branch.leaf != root {
        return Err(corrupt(&key));
    }
    Ok(AnchorPath { ops: branch_ops(&branch.sides), root: branch.root })
}

/// The rows that [`anchor_path`] reads.
pub fn rows_for_anchor_path(place: RootPlace, count: u32) -> Vec<RowKey> {
    branch_rows(TreeId::Anchor(place.anchor), count, place.index)
}

/// The operations from a root to the id of the transaction that carries it.
///
/// # Errors
/// [`crate::TransactionError::NoCommitment`].
pub fn transaction_ops(root: &Hash, transaction: &Transaction) -> Result<Vec<Op>, TimestampError> {
    let (before, after) = transaction.around(root)?;
    // Neither is empty: a version stands before, a lock time after.
    let (before, after) = (Operand::new(before)?, Operand::new(after)?);
    Ok(vec![Op::Prepend(before), Op::Append(after), Op::Sha256, Op::Sha256])
}

/// The timestamp of an anchor's root: through its transaction to the block.
///
/// # Errors
/// [`crate::TransactionError::NoCommitment`]; a timestamp's limits.
pub fn block_timestamp(
    root: &Hash,
    transaction: &Transaction,
    branch: &BlockBranch,
    chain: Chain,
    height: u64,
) -> Result<Timestamp, TimestampError> {
    let mut ops = transaction_ops(root, transaction)?;
    ops.extend(branch.ops());
    Ok(Timestamp::path(ops, Timestamp::attested(Attestation::Block { chain, height }))?)
}

/// What is answered for a digest or a commitment: operations to a message, and side by side at that message all
/// that is known of it (this node's own promise, an upstream calendar's timestamp, a block). Side by side,
/// because a client asks no calendar whose promise stands below another's that it has an answer to.
///
/// # Errors
/// Those of the limits; [`OtsError::TooLarge`] beyond what the stock client reads.
pub fn answer(ops: Vec<Op>, known: &[&Timestamp]) -> Result<Timestamp, TimestampError> {
    let mut end = Timestamp::new();
    for timestamp in known {
        end.merge(timestamp)?;
    }
    let answer = Timestamp::path(ops, end)?;
    if answer.depth() > OPS_MAX {
        return Err(OtsError::Depth { max: OPS_MAX }.into());
    }
    let found = answer.to_bytes()?.len();
    if found > ANSWER_BYTES_MAX {
        return Err(OtsError::TooLarge { what: "calendar's answer", found, max: ANSWER_BYTES_MAX }.into());
    }
    Ok(answer)
}

/// The promise of the calendar at `uri`.
pub fn promise(uri: &CalendarUri) -> Timestamp {
    Timestamp::attested(Attestation::Pending(uri.clone()))
}
