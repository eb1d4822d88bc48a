use std::fmt::Write;

use bytes::Bytes;
use eschaton_proof::{Hash, map};
use eschaton_types::TxId;

use crate::MerkleError;

/// Key of a row, see the crate's table.
pub type RowKey = Bytes;

/// A row as it is to be; absent: to be deleted.
pub type RowChange = (RowKey, Option<Bytes>);

/// The caller's prefetched rows: key to value.
pub type Rows<'a> = &'a dyn Fn(&[u8]) -> Option<Bytes>;

/// The row that holds size and roots.
pub const META_KEY: &[u8] = b"H";

/// Begins the key of every bucket row of the map.
pub const MAP_PREFIX: &[u8] = b"M";

/// Hashes in a full tile, and ids in a full sequence row.
pub(crate) const TILE_WIDTH: u64 = 256;

pub(crate) fn tile_key(level: u8, number: u64) -> RowKey {
    [&[b'T', level][..], &number.to_be_bytes()].concat().into()
}

/// The row that names the transaction at `sequence`.
pub(crate) fn sequence_key(sequence: u64) -> RowKey {
    [&b"S"[..], &(sequence / TILE_WIDTH).to_be_bytes()].concat().into()
}

/// The row of the bucket `depth` bits down the path of `key`.
pub(crate) fn bucket_key(key: &TxId, depth: u16) -> RowKey {
    let bits = usize::from(depth);
    let mut row = Vec::with_capacity(3 + bits.div_ceil(8));
    row.extend_from_slice(MAP_PREFIX);
    row.extend_from_slice(&depth.to_be_bytes());
    row.extend_from_slice(&key.0[..bits.div_ceil(8)]);
    if bits % 8 != 0 {
        row[2 + bits.div_ceil(8)] &= !(0xff >> (bits % 8));
    }
    row.into()
}

/// Depth and path of a bucket's row key; none for bytes that [`bucket_key`] never gives.
pub(crate) fn parse_bucket_key(row: &[u8]) -> Option<(u16, TxId)> {
    let (depth, path) = row.strip_prefix(MAP_PREFIX)?.split_first_chunk()?;
    let depth = u16::from_be_bytes(*depth);
    let mut key = TxId::default();
    key.0.get_mut(..path.len())?.copy_from_slice(path);
    (usize::from(depth) <= map::DEPTH_MAX && bucket_key(&key, depth) == row).then_some((depth, key))
}

pub(crate) fn fetch(rows: Rows<'_>, key: &[u8]) -> Result<Bytes, MerkleError> {
    rows(key).ok_or_else(|| MerkleError::MissingRow { key: hex(key) })
}

/// The 32-byte element at `index` of a row.
pub(crate) fn element(row: &[u8], index: u64) -> Option<Hash> {
    row.as_chunks::<32>().0.get(usize::try_from(index).ok()?).copied()
}

pub(crate) fn corrupt(key: &[u8]) -> MerkleError {
    MerkleError::CorruptRow { key: hex(key) }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a string does not fail
        text
    })
}
