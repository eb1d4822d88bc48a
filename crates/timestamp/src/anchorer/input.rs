use bytes::Bytes;
use eschaton_ots::Header;
use eschaton_ots::tree::Hash;
use eschaton_types::pb::log::{self as pb, anchor_input::Kind};
use prost::Message;

use crate::TimestampError;
use crate::block::{BRANCH_MAX, BlockBranch};
use crate::rows::encode;

/// What an anchorer consumes, decoded. Ids and roots are in internal byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchorInput {
    /// A stamper closed an interval.
    Closed {
        /// Whose.
        shard: u32,
        /// Which.
        interval: u64,
        /// Its root.
        root: Hash,
        /// When.
        closed_ms: u64,
    },
    /// Time passes.
    Tick,
    /// What a transaction costs, satoshi for 1,000 virtual bytes.
    Fee(u64),
    /// A transaction for an anchor. Only now may it be broadcast.
    Signed {
        /// For which.
        anchor: u64,
        /// Whole.
        raw: Bytes,
        /// What it pays.
        fee_sat: u64,
        /// Size that fees count by.
        vbytes: u32,
    },
    /// Whether the node's mempool holds a transaction.
    Mempool {
        /// Which.
        txid: Hash,
        /// It does.
        present: bool,
    },
    /// Height of the best chain.
    Tip(u64),
    /// A transaction is in a block.
    Confirmed {
        /// Which.
        txid: Hash,
        /// The block's height.
        height: u64,
        /// The block's header.
        header: Header,
        /// The way to its Merkle root.
        branch: BlockBranch,
    },
    /// Blocks at this height and above are gone.
    Disconnected(u64),
    /// An input is spent by another transaction in a block.
    Conflicted {
        /// Whose input.
        txid: Hash,
        /// The other.
        by: Hash,
        /// The block's height.
        height: u64,
    },
    /// An upstream calendar's timestamp of an anchor's root.
    Upstream {
        /// Of which.
        anchor: u64,
        /// As the calendar serialized it.
        timestamp: Bytes,
    },
    /// An operator wants a higher fee.
    Bump {
        /// For which.
        anchor: u64,
        /// At least this.
        sat_per_kvb: u64,
    },
}

fn damaged(detail: &str) -> TimestampError {
    TimestampError::Record { detail: detail.to_owned() }
}

fn array<const N: usize>(bytes: &Bytes, what: &str) -> Result<[u8; N], TimestampError> {
    bytes[..].try_into().map_err(|_| damaged(what))
}

impl AnchorInput {
    /// From a record's payload.
    ///
    /// # Errors
    /// [`TimestampError::Record`].
    pub fn decode(payload: &Bytes) -> Result<Self, TimestampError> {
        let message =
            pb::AnchorInput::decode(payload.clone()).map_err(|error| damaged(&error.to_string()))?;
        Ok(match message.kind.ok_or_else(|| damaged("anchor input of an unknown kind"))? {
            Kind::Closed(pb::IntervalClosed { shard, interval, root, closed_ms, .. }) => {
                Self::Closed { shard, interval, root: array(&root, "interval's root")?, closed_ms }
            }
            Kind::Tick(pb::Tick {}) => Self::Tick,
            Kind::Fee(fee) => Self::Fee(fee.sat_per_kvb),
            Kind::Signed(pb::Signed { anchor, transaction, fee_sat, vbytes }) => {
                Self::Signed { anchor, raw: transaction, fee_sat, vbytes }
            }
            Kind::Mempool(pb::Mempool { txid, present }) => {
                Self::Mempool { txid: array(&txid, "transaction's id")?, present }
            }
            Kind::Tip(tip) => Self::Tip(tip.height),
            Kind::Confirmed(confirmed) if confirmed.branch.len() > BRANCH_MAX => {
                return Err(damaged("branch of more than 20 hashes"));
            }
            Kind::Confirmed(pb::Confirmed { txid, height, header, position, branch }) => Self::Confirmed {
                txid: array(&txid, "transaction's id")?,
                height,
                header: array(&header, "block's header")?,
                branch: BlockBranch {
                    position,
                    hashes: branch.iter().map(|hash| array(hash, "branch")).collect::<Result<_, _>>()?,
                },
            },
            Kind::Disconnected(from) => Self::Disconnected(from.height),
            Kind::Conflicted(pb::Conflicted { txid, by, height }) => Self::Conflicted {
                txid: array(&txid, "transaction's id")?,
                by: array(&by, "transaction's id")?,
                height,
            },
            Kind::Upstream(pb::UpstreamAnswer { anchor, timestamp }) => Self::Upstream { anchor, timestamp },
            Kind::Bump(pb::BumpRequest { anchor, sat_per_kvb }) => Self::Bump { anchor, sat_per_kvb },
        })
    }

    /// The record's payload.
    pub fn encode(&self) -> Bytes {
        let hash = |hash: &Hash| Bytes::copy_from_slice(hash);
        let kind = match self.clone() {
            Self::Closed { shard, interval, root, closed_ms } => {
                Kind::Closed(pb::IntervalClosed { shard, interval, root: hash(&root), count: 0, closed_ms })
            }
            Self::Tick => Kind::Tick(pb::Tick {}),
            Self::Fee(sat_per_kvb) => Kind::Fee(pb::FeeEstimate { sat_per_kvb }),
            Self::Signed { anchor, raw, fee_sat, vbytes } => {
                Kind::Signed(pb::Signed { anchor, transaction: raw, fee_sat, vbytes })
            }
            Self::Mempool { txid, present } => Kind::Mempool(pb::Mempool { txid: hash(&txid), present }),
            Self::Tip(height) => Kind::Tip(pb::Tip { height }),
            Self::Confirmed { txid, height, header, branch } => Kind::Confirmed(pb::Confirmed {
                txid: hash(&txid),
                height,
                header: Bytes::copy_from_slice(&header),
                position: branch.position,
                branch: branch.hashes.iter().map(hash).collect(),
            }),
            Self::Disconnected(height) => Kind::Disconnected(pb::Disconnected { height }),
            Self::Conflicted { txid, by, height } => {
                Kind::Conflicted(pb::Conflicted { txid: hash(&txid), by: hash(&by), height })
            }
            Self::Upstream { anchor, timestamp } => Kind::Upstream(pb::UpstreamAnswer { anchor, timestamp }),
            Self::Bump { anchor, sat_per_kvb } => Kind::Bump(pb::BumpRequest { anchor, sat_per_kvb }),
        };
        encode(&pb::AnchorInput { kind: Some(kind) })
    }
}
