//! Buckets: the entries of the output map that stand together in one row.
//!
//! Row value: the 32-byte hash of the subtree, then the entries in ascending order of key. An entry
//! is the key without the whole bytes that the bucket's path implies, and the leaf's canonical value.

use std::ops::Range;

use bytes::Bytes;
use eschaton_proof::{Hash, LeafValue, map};
use eschaton_types::TxId;

use crate::{
    MerkleError,
    rows::{bucket_key, corrupt},
};

/// A bucket of several entries splits when they take more bytes than this.
const ENTRIES_BYTES_MAX: usize = 512;

/// One leaf; its value's bytes stand in a [`Batch`].
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: TxId,
    pub(crate) value: Range<usize>,
    pub(crate) hash: Hash,
}

/// Entries of all buckets that a batch reads, back to back, so that none needs its own allocation.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

impl Batch {
    /// Appends an entry with a new value.
    pub(crate) fn push(&mut self, key: TxId, value: &LeafValue) {
        let start = self.bytes.len();
        value.write(&mut self.bytes);
        self.push_written(key, start);
    }

    /// Appends an entry whose value's bytes were just written from `start`.
    fn push_written(&mut self, key: TxId, start: usize) {
        let hash = map::leaf_hash(&key, &self.bytes[start..]);
        self.entries.push(Entry { key, value: start..self.bytes.len(), hash });
    }

    /// Appends an entry as it stood in its row.
    pub(crate) fn copy(&mut self, key: TxId, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.push_written(key, start);
    }

    /// Does a bucket of these entries fit one row at `depth`?
    pub(crate) fn fits(&self, entries: &[Entry], depth: u16) -> bool {
        entries.len() <= 1 || self.entries_bytes(entries, depth) <= ENTRIES_BYTES_MAX
    }

    fn entries_bytes(&self, entries: &[Entry], depth: u16) -> usize {
        let suffix = 32 - usize::from(depth / 8);
        entries.iter().map(|entry| suffix + entry.value.len()).sum()
    }

    /// The row value of a bucket.
    pub(crate) fn row(&self, hash: &Hash, entries: &[Entry], depth: u16) -> Bytes {
        let mut row = Vec::with_capacity(32 + self.entries_bytes(entries, depth));
        row.extend_from_slice(hash);
        for entry in entries {
            row.extend_from_slice(&entry.key.0[usize::from(depth / 8)..]);
            row.extend_from_slice(&self.bytes[entry.value.clone()]);
        }
        row.into()
    }
}

/// Reads a bucket's entries in order.
pub(crate) struct Reader<'r> {
    /// Some key under the bucket's path.
    path: TxId,
    depth: u16,
    rest: &'r [u8],
    last: Option<TxId>,
}

impl<'r> Reader<'r> {
    /// Over the bucket `depth` bits down `path`.
    pub(crate) fn new(path: TxId, depth: u16, row: &'r [u8]) -> Self {
        Self { path, depth, rest: row.get(32..).unwrap_or_default(), last: None }
    }

    /// The next key and its value's bytes.
    pub(crate) fn next(&mut self) -> Result<Option<(TxId, &'r [u8])>, MerkleError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.entry().map(Some).ok_or_else(|| corrupt(&bucket_key(&self.path, self.depth)))
    }

    fn entry(&mut self) -> Option<(TxId, &'r [u8])> {
        let implied = usize::from(self.depth / 8);
        let (suffix, mut rest) = self.rest.split_at_checked(32 - implied)?;
        let mut key = self.path;
        key.0[implied..].copy_from_slice(suffix);
        let start = rest;
        LeafValue::skip(&mut rest).ok()?;
        self.rest = rest;
        let ascends = self.last.is_none_or(|last| last < key) && shares(&key, &self.path, self.depth);
        self.last = Some(key);
        ascends.then(|| (key, &start[..start.len() - rest.len()]))
    }
}

/// Do two keys begin with the same `depth` bits?
pub(crate) fn shares(a: &TxId, b: &TxId, depth: u16) -> bool {
    let (bytes, bits) = (usize::from(depth / 8), depth % 8);
    a.0[..bytes] == b.0[..bytes] && (bits == 0 || (a.0[bytes] ^ b.0[bytes]) >> (8 - bits) == 0)
}

/// Hash of the subtree at `depth` with exactly these leaves, in ascending order of key.
pub(crate) fn subtree_hash(entries: &[Entry], depth: usize) -> Hash {
    match entries {
        [] => map::EMPTY,
        [entry] => entry.hash,
        _ => {
            let (left, right) = halves(entries, depth);
            map::node_hash(&subtree_hash(left, depth + 1), &subtree_hash(right, depth + 1))
        }
    }
}

/// Entries whose key has a 0 at `depth`, and those with a 1.
pub(crate) fn halves(entries: &[Entry], depth: usize) -> (&[Entry], &[Entry]) {
    entries.split_at(entries.partition_point(|entry| !map::bit(&entry.key.0, depth)))
}
