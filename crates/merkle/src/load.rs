use bytes::Bytes;
use eschaton_proof::{map, tlog};

use crate::{
    LogTree, MapLoader, MerkleError, Prover, Roots, RowKey, Rows,
    rows::{META_KEY, corrupt},
};

/// Version of the rows' form.
const VERSION: u8 = 1;

/// What row [`META_KEY`] holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    size: u64,
    roots: Roots,
}

impl Meta {
    pub(crate) fn of(prover: &Prover) -> Self {
        Self { size: prover.size(), roots: prover.roots() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        [&[VERSION][..], &self.size.to_be_bytes(), &self.roots.log, &self.roots.map].concat().into()
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let (size, rest) = row.strip_prefix(&[VERSION])?.split_first_chunk()?;
        let (log, rest) = rest.split_first_chunk()?;
        let roots = Roots { log: *log, map: rest.try_into().ok()? };
        Some(Self { size: u64::from_be_bytes(*size), roots })
    }
}

/// Rebuilds a [`Prover`] from its rows:
///
/// 1. give [`Loader::new`] the value of row [`META_KEY`];
/// 2. scan the prefix [`crate::MAP_PREFIX`] and [`Loader::add`] each row, page by page if need be;
/// 3. fetch [`Loader::keys`], at most nine rows, and give them to [`Loader::finish`].
///
/// Tiles are never scanned. A bucket row takes about a microsecond.
#[derive(Debug)]
pub struct Loader {
    meta: Meta,
    map: MapLoader,
}

impl Loader {
    /// Begins with the value of row [`META_KEY`]; none for a new installation.
    ///
    /// # Errors
    /// [`MerkleError::CorruptRow`] when the row has another form or version.
    pub fn new(meta: Option<&[u8]>) -> Result<Self, MerkleError> {
        let empty = Meta { size: 0, roots: Roots { log: tlog::empty_root(), map: map::EMPTY } };
        let meta = match meta {
            None => empty,
            Some(row) => Meta::decode(row).ok_or_else(|| corrupt(META_KEY))?,
        };
        Ok(Self { meta, map: MapLoader::new() })
    }

    /// The rows that [`Self::finish`] needs.
    pub fn keys(&self) -> Vec<RowKey> {
        LogTree::rows_for_load(self.meta.size)
    }

    /// Takes one row of the map, in any order.
    ///
    /// # Errors
    /// As [`MapLoader::add`]; the loader is then of no more use.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), MerkleError> {
        self.map.add(key, value)
    }

    /// The prover as it was when its last batch was written.
    ///
    /// # Errors
    /// [`MerkleError::MissingRow`] or [`MerkleError::CorruptRow`] for the log's rows;
    /// [`MerkleError::WrongRoot`] when a tree's root is not the recorded one, because rows are
    /// missing or of different batches.
    pub fn finish(self, rows: Rows<'_>) -> Result<Prover, MerkleError> {
        let log = LogTree::load(self.meta.size, rows)?;
        if log.root() != self.meta.roots.log {
            return Err(MerkleError::WrongRoot { tree: "log" });
        }
        Ok(Prover { log, map: self.map.finish(&self.meta.roots.map)? })
    }
}

impl Prover {
    /// [`Loader`] in one call, for callers that have every row at hand; `scan` gives the rows under
    /// [`crate::MAP_PREFIX`].
    ///
    /// # Errors
    /// As [`Loader`].
    pub fn load(
        rows: Rows<'_>,
        scan: impl IntoIterator<Item = (RowKey, Bytes)>,
    ) -> Result<Self, MerkleError> {
        let mut loader = Loader::new(rows(META_KEY).as_deref())?;
        for (key, value) in scan {
            loader.add(&key, &value)?;
        }
        loader.finish(rows)
    }
}
