use bytes::Bytes;
use eschaton_ots::Header;
use eschaton_ots::tree::Hash;
use eschaton_types::pb::state as pb;

use crate::TimestampError;
use crate::block::BlockBranch;
use crate::rows::{anchor_key, corrupt, decode};
use crate::transaction::{Outpoint, Transaction};

/// Most transactions of one anchor, replaced ones included.
pub const ATTEMPTS_MAX: usize = 16;

/// A signed transaction of an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// As the chain's nodes read it.
    pub raw: Bytes,
    /// Parsed.
    pub transaction: Transaction,
    /// What it pays.
    pub fee_sat: u64,
    /// Size that fees count by.
    pub vbytes: u32,
    /// Height of the chain when it was signed.
    pub signed_tip: u64,
    /// The node's mempool holds it.
    pub seen: bool,
    /// Block of the best chain in which another transaction spends an input.
    pub conflict_height: Option<u64>,
}

impl Attempt {
    /// What it pays for 1,000 virtual bytes, rounded down.
    pub fn sat_per_kvb(&self) -> u64 {
        self.fee_sat.saturating_mul(1_000) / u64::from(self.vbytes.max(1))
    }

    /// Both spend one output, so that at most one of them can be in a chain.
    pub fn conflicts_with(&self, other: &Transaction) -> bool {
        self.transaction.inputs().iter().any(|input| other.inputs().contains(input))
    }

    /// It spends an output of that transaction.
    pub fn spends_from(&self, txid: &Hash) -> bool {
        self.transaction.inputs().iter().any(|Outpoint { txid: from, .. }| from == txid)
    }
}

/// The block that holds an anchor's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which of the anchor's transactions.
    pub txid: Hash,
    /// Its height.
    pub height: u64,
    /// Its header.
    pub header: Header,
    /// The transaction's way to its Merkle root.
    pub branch: BlockBranch,
}

/// A closed tree of intervals' roots on its way into a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its number.
    pub number: u64,
    /// Intervals in it.
    pub count: u32,
    /// What its transaction carries.
    pub root: Hash,
    /// When its tree was closed.
    pub planned_ms: u64,
    /// Its transactions, in order of signing.
    pub attempts: Vec<Attempt>,
    /// Where one of them is.
    pub block: Option<Block>,
    /// It was under enough blocks once.
    pub is_final: bool,
    /// Merged timestamp of upstream calendars, serialized.
    pub upstream: Bytes,
    /// An operator wants at least this fee; 0 for no wish.
    pub wished_sat_per_kvb: u64,
}

impl Anchor {
    /// The transaction that its block holds.
    pub fn confirmed(&self) -> Option<&Attempt> {
        let txid = self.block.as_ref()?.txid;
        self.attempts.iter().find(|attempt| attempt.transaction.txid() == txid)
    }

    /// Its transaction as others should see it: the one that its block holds, else the newest.
    pub fn counting(&self) -> Option<&Attempt> {
        self.confirmed().or(self.attempts.last())
    }

    pub(crate) fn to_row(&self) -> pb::AnchorRow {
        let hash = |hash: &Hash| Bytes::copy_from_slice(hash);
        pb::AnchorRow {
            count: self.count,
            root: hash(&self.root),
            planned_ms: self.planned_ms,
            attempts: self
                .attempts
                .iter()
                .map(|attempt| pb::AttemptRow {
                    transaction: attempt.raw.clone(),
                    fee_sat: attempt.fee_sat,
                    vbytes: attempt.vbytes,
                    signed_tip: attempt.signed_tip,
                    seen: attempt.seen,
                    conflict_height: attempt.conflict_height.unwrap_or(0),
                })
                .collect(),
            block: self.block.as_ref().map(|block| pb::AnchorBlock {
                txid: hash(&block.txid),
                height: block.height,
                header: Bytes::copy_from_slice(&block.header),
                position: block.branch.position,
                branch: block.branch.hashes.iter().map(hash).collect(),
            }),
            r#final: self.is_final,
            upstream: self.upstream.clone(),
            bump_sat_per_kvb: self.wished_sat_per_kvb,
        }
    }

    /// From the row of [`anchor_key`].
    ///
    /// # Errors
    /// [`TimestampError::CorruptRow`].
    pub fn from_row(number: u64, row: &Bytes) -> Result<Self, TimestampError> {
        let key = anchor_key(number);
        let row: pb::AnchorRow = decode(&key, row)?;
        let hash = |bytes: &Bytes| -> Result<Hash, TimestampError> {
            bytes[..].try_into().map_err(|_| corrupt(&key))
        };
        let attempt = |row: pb::AttemptRow| -> Result<Attempt, TimestampError> {
            Ok(Attempt {
                transaction: Transaction::parse(&row.transaction).map_err(|_| corrupt(&key))?,
                raw: row.transaction,
                fee_sat: row.fee_sat,
                vbytes: row.vbytes,
                signed_tip: row.signed_tip,
                seen: row.seen,
                conflict_height: Some(row.conflict_height).filter(|height| *height > 0),
            })
        };
        let block = |row: pb::AnchorBlock| -> Result<Block, TimestampError> {
            Ok(Block {
                txid: hash(&row.txid)?,
                height: row.height,
                header: row.header[..].try_into().map_err(|_| corrupt(&key))?,
                branch: BlockBranch {
                    position: row.position,
                    hashes: row.branch.iter().map(hash).collect::<Result<_, _>>()?,
                },
            })
        };
        Ok(Self {
            number,
            count: row.count,
            root: hash(&row.root)?,
            planned_ms: row.planned_ms,
            attempts: row.attempts.into_iter().map(attempt).collect::<Result<_, _>>()?,
            block: row.block.map(block).transpose()?,
            is_final: row.r#final,
            upstream: row.upstream,
            wished_sat_per_kvb: row.bump_sat_per_kvb,
        })
    }
}
