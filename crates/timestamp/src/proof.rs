//! Pieces of a proof, each a list of operations, and their assembly: digest → commitment → interval's root →
//! anchor's root → transaction → block.

use eschaton_ots::tree::{Hash, branch_ops};
use eschaton_ots::{
    ANSWER_BYTES_MAX, Attestation, CalendarUri, Chain, Op, Operand, OtsError, Timestamp, commitment_ops,
};

use crate::TimestampError;
use crate::block::BlockBranch;
use crate::rows::{Place, RootPlace, RowKey, Rows, TreeId, corrupt, interval_key, root_key};
use crate::stamper::interval_row;
use crate::transaction::Transaction;
use crate::tree::{branch, branch_rows};

/// Most operations of a chain that this node makes: a client adds two of its own to each file, and reads 255.
pub const OPS_MAX: usize = 200;

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
