use eschaton_core::CoreError;
use eschaton_ports::{LogError, StoreError};

/// Why a worker ended. After any of these its core is void: open a new worker, or stop.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WorkerError {
    /// See [`LogError`]: `Fenced` means that another owner took over; `Unavailable` that opening the
    /// worker again may help.
    #[error(transparent)]
    Log(#[from] LogError),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect or damage.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The store knows of commits that the log lacks: it belongs to another log, or the log was rolled
    /// back. Going on would drop rows as late, and spend outputs twice (L2).
    #[error(
        "the store is ahead of the log ({detail}); put the newest log back, or delete the store to have it rebuilt from this log"
    )]
    StoreAhead {
        /// Which worker, and by how much.
        detail: String,
    },
    /// Rows on the log that this version does not know.
    #[error(
        "changes record at {offset} does not decode: {detail}; a newer version wrote it, or the log is damaged"
    )]
    Changes {
        /// Offset in topic `changes`.
        offset: u64,
        /// What the decoder met.
        detail: String,
    },
}

impl WorkerError {
    /// True when opening the worker again may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Log(LogError::Unavailable { .. }) | Self::Store(StoreError::Unavailable { .. }))
    }
}
