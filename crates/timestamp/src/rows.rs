//! Keys and rows. Numbers in keys are big-endian.
//!
//! | key | value |
//! |---|---|
//! | `L` digest (32), or `M` hash of a digest of another length | place: interval (8), index (4) |
//! | `C` shard (4) interval (8) chunk (4) | up to 256 × (commitment (32), nonce (16)) |
//! | `U` shard (4) interval (8) level (1) tile (4) | up to 256 roots of the level below |
//! | `I` shard (4) interval (8) | `IntervalRow`, once it is closed |
//! | `S` shard (4) | `StamperRow` |
//! | `R` interval's root (32) | place: anchor (8), index (4), shard (4), interval (8) |
//! | `D` anchor (8) chunk (4) | up to 256 interval roots |
//! | `V` anchor (8) level (1) tile (4) | up to 256 roots of the level below |
//! | `A` anchor (8) | `AnchorRow`, once it is planned |
//! | `H` | `AnchorerRow` |
//!
//! A digest costs its `L` row (33 + 12), 48 bytes of a chunk and 1/256 of what stands above: 93.3 bytes.

use bytes::{BufMut, Bytes, BytesMut};
use eschaton_core::Table;
use eschaton_ots::tree::Hash;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::TimestampError;

/// Key of a row.
pub type RowKey = Bytes;

/// A row as it is to be.
pub type RowChange = (RowKey, Bytes);

/// The caller's rows: key to value. They must show what earlier steps changed.
pub type Rows<'a> = &'a dyn Fn(&[u8]) -> Option<Bytes>;

/// Most bytes of a digest, as the calendar protocol has it.
pub const DIGEST_MAX: usize = 64;

/// Where a digest's commitment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its interval, of its shard.
    pub interval: u64,
    /// Its leaf there.
    pub index: u32,
}

impl Place {
    pub(crate) fn to_row(self) -> Bytes {
        [&self.interval.to_be_bytes()[..], &self.index.to_be_bytes()].concat().into()
    }

    /// From the row of [`digest_key`].
    ///
    /// # Errors
    /// [`TimestampError::CorruptRow`].
    pub fn from_row(key: &[u8], row: &[u8]) -> Result<Self, TimestampError> {
        let (interval, index) = row.split_first_chunk().ok_or_else(|| corrupt(key))?;
        let index = index.try_into().map_err(|_| corrupt(key))?;
        Ok(Self { interval: u64::from_be_bytes(*interval), index: u32::from_be_bytes(index) })
    }
}

/// Where an interval's root stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootPlace {
    /// Its anchor.
    pub anchor: u64,
    /// Its leaf there.
    pub index: u32,
    /// Shard of the interval.
    pub shard: u32,
    /// The interval.
    pub interval: u64,
}

impl RootPlace {
    pub(crate) fn to_row(self) -> Bytes {
        let mut row = BytesMut::with_capacity(24);
        row.put_u64(self.anchor);
        row.put_u32(self.index);
        row.put_u32(self.shard);
        row.put_u64(self.interval);
        row.freeze()
    }

    /// From the row of [`root_key`].
    ///
    /// # Errors
    /// [`TimestampError::CorruptRow`].
    pub fn from_row(key: &[u8], row: &[u8]) -> Result<Self, TimestampError> {
        let field = |at: usize, len: usize| row.get(at..at + len).ok_or_else(|| corrupt(key));
        let wide = |at| -> Result<u64, TimestampError> {
            Ok(u64::from_be_bytes(field(at, 8)?.try_into().map_err(|_| corrupt(key))?))
        };
        let narrow = |at| -> Result<u32, TimestampError> {
            Ok(u32::from_be_bytes(field(at, 4)?.try_into().map_err(|_| corrupt(key))?))
        };
        if row.len() != 24 {
            return Err(corrupt(key));
        }
        Ok(Self { anchor: wide(0)?, index: narrow(8)?, shard: narrow(12)?, interval: wide(16)? })
    }
}

/// The table of a row.
pub fn table(key: &[u8]) -> Table {
    match key.first() {
        Some(b'L' | b'M') => Table::Digests,
        Some(b'R' | b'D' | b'V' | b'A' | b'H') => Table::Anchors,
        _ => Table::Intervals,
    }
}

/// Key of a digest's place.
///
/// # Errors
/// [`TimestampError::Digest`] for no bytes or too many.
pub fn digest_key(digest: &[u8]) -> Result<RowKey, TimestampError> {
    if digest.is_empty() || digest.len() > DIGEST_MAX {
        return Err(TimestampError::Digest { found: digest.len(), max: DIGEST_MAX });
    }
    if digest.len() == 32 {
        return Ok([&b"L"[..], digest].concat().into());
    }
    // Under a letter of its own: else somebody could stamp the hash of another's digest and hide it.
    Ok([&b"M"[..], &Sha256::digest(digest)].concat().into())
}

/// The shard of a digest, by its [`digest_key`]: all submissions of one digest must meet at one stamper. The first
/// eight bytes after the letter, big-endian, modulo the number of shards.
pub fn shard_of(digest_key: &[u8], shards: u32) -> u32 {
    let first = digest_key.get(1..9).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or_default();
    u32::try_from(u64::from_be_bytes(first) % u64::from(shards.max(1))).unwrap_or(0)
}

/// Key of an interval's root in the anchorer's rows.
pub fn root_key(root: &Hash) -> RowKey {
    [&b"R"[..], root].concat().into()
}

/// Key of a stamper's head.
pub fn stamper_key(shard: u32) -> RowKey {
    [&b"S"[..], &shard.to_be_bytes()].concat().into()
}

/// Key of a closed interval.
pub fn interval_key(shard: u32, interval: u64) -> RowKey {
    [&b"I"[..], &shard.to_be_bytes(), &interval.to_be_bytes()].concat().into()
}

/// Key of an anchor.
pub fn anchor_key(anchor: u64) -> RowKey {
    [&b"A"[..], &anchor.to_be_bytes()].concat().into()
}

/// Key of the anchorer's head.
pub fn anchorer_key() -> RowKey {
    RowKey::from_static(b"H")
}

/// A tree whose rows are kept: an interval's or an anchor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeId {
    /// Of digests' commitments.
    Interval {
        /// The stamper's.
        shard: u32,
        /// Which.
        interval: u64,
    },
    /// Of intervals' roots.
    Anchor(u64),
}

impl TreeId {
    /// Bytes of a leaf in its chunk: its hash, and of an interval the nonce too.
    pub(crate) fn leaf_bytes(self) -> usize {
        match self {
            Self::Interval { .. } => 48,
            Self::Anchor(_) => 32,
        }
    }

    fn prefix(self, of_interval: u8, of_anchor: u8) -> BytesMut {
        let mut key = BytesMut::with_capacity(18);
        match self {
            Self::Interval { shard, interval } => {
                key.put_u8(of_interval);
                key.put_u32(shard);
                key.put_u64(interval);
            }
            Self::Anchor(anchor) => {
                key.put_u8(of_anchor);
                key.put_u64(anchor);
            }
        }
        key
    }

    /// Row of 256 nodes of a level; level 0 are the leaves.
    pub(crate) fn tile_key(self, level: u8, tile: u32) -> RowKey {
        let mut key = if level == 0 { self.prefix(b'C', b'D') } else { self.prefix(b'U', b'V') };
        if level > 0 {
            key.put_u8(level);
        }
        key.put_u32(tile);
        key.freeze()
    }
}

pub(crate) fn fetch(rows: Rows<'_>, key: &[u8]) -> Result<Bytes, TimestampError> {
    rows(key).ok_or_else(|| TimestampError::MissingRow { key: hex::encode(key) })
}

pub(crate) fn corrupt(key: &[u8]) -> TimestampError {
    TimestampError::CorruptRow { key: hex::encode(key) }
}

/// Decodes a row.
pub(crate) fn decode<M: Message + Default>(key: &[u8], row: &Bytes) -> Result<M, TimestampError> {
    M::decode(row.clone()).map_err(|_| corrupt(key))
}

pub(crate) fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
