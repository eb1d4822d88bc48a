use async_trait::async_trait;
use bytes::Bytes;

pub use eschaton_core::{Family, RowChange, Table};

/// The most rows of one [`Store::scan`] page.
pub const SCAN_ROWS_MAX: usize = 10_000;

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// How far a worker's rows are in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watermark {
    /// Place in the worker's own order (its changes topic's, or its checkpoints'): higher is newer.
    pub sequence: u64,
    /// The worker's next input at that place, or whatever else it needs to go on from there.
    pub input_next: u64,
}

/// Rows that one worker changed together.
#[derive(Clone, Debug)]
pub struct StoreBatch {
    /// The worker. Only one worker ever writes a given row.
    pub worker: String,
    /// Of the tables that the worker writes, always the same; a row of another is refused.
    pub family: Family,
    /// The worker's watermark once these rows are in. A batch at or below the stored watermark is late
    /// or repeated; no row that a newer batch wrote may change by it.
    pub watermark: Watermark,
    /// The changes; the last of several to one key counts.
    pub rows: Vec<RowChange>,
}

impl StoreBatch {
    /// Refuses a row outside the batch's family: a defect of the worker.
    pub fn check_family(&self) -> Result<(), StoreError> {
        match self.rows.iter().find(|row| row.table.family() != self.family) {
            None => Ok(()),
            Some(row) => Err(StoreError::Fatal {
                detail: format!(
                    "{} writes tables of family {} and brings a row of {}; report this defect",
                    self.worker,
                    self.family.name(),
                    row.table.name()
                ),
            }),
        }
    }
}

/// One page of a scan.
#[derive(Clone, Debug, Default)]
pub struct ScanPage {
    /// In ascending key order.
    pub rows: Vec<Row>,
    /// Pass as `after` for the next page; `None` at the end.
    pub next: Option<Bytes>,
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Passing trouble. A write may or may not have happened: repeat it, it is idempotent.
    #[error("store is not available: {detail}; retry")]
    Unavailable {
        /// What the engine said.
        detail: String,
    },
    /// The engine cannot go on.
    #[error("store failed: {detail}; stop the node; its rows can be rebuilt from the log")]
    Fatal {
        /// What the engine said.
        detail: String,
    },
}

/// State by key: a view of the log, never the truth.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Values of these keys, in their order.
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// Writes a batch and its watermark. Idempotent; see [`StoreBatch::watermark`]. Not necessarily
    /// durable on return, but a batch is never durable before those that its worker wrote earlier.
    ///
    /// Not necessarily atomic: readers may see any of its rows before its watermark, never the watermark before a
    /// row. An operation that fails or is dropped may leave any of them, and may yet write more of them later;
    /// a row that a newer batch wrote stays as it is even then. Whoever builds on rows first
    /// writes again what the log has above the watermark; for [`Family::Trees`] see [`Store::watermark`].
    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError>;

    /// A worker's watermark, if it ever wrote.
    ///
    /// For a worker of [`Family::Trees`], which must read rows before it can write the next: when two answers
    /// are equal, rows read in between are as the batches up to that watermark left them. So an engine that is
    /// not atomic completes here the batch that a writer left half-written, or keeps it out of sight.
    async fn watermark(&self, worker: &str) -> Result<Option<Watermark>, StoreError>;

    /// Rows whose keys begin with `prefix`, after key `after` if given, at most `limit` (≥ 1, at most
    /// [`SCAN_ROWS_MAX`]).
    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, StoreError>;

    /// Makes everything applied so far durable.
    async fn flush(&self) -> Result<(), StoreError>;
}
