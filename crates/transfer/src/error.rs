use std::io;
use std::path::{Path, PathBuf};

use eschaton_ports::{LogError, StoreError};

/// Why an export or an import cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The file system said no.
    #[error("cannot {what} {}: {source}; what was done stays done, repeat the command to go on", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the export is not as it was written.
    #[error("{} is damaged: {detail}; bring it over again, or export again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// This cannot be done with this source, this directory or this target.
    #[error("{0}")]
    Refused(String),
    /// The log failed.
    #[error("{0}; what was done stays done, repeat the command to go on")]
    Log(#[from] LogError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller ended it.
    #[error("stopped; repeat the command to go on")]
    Stopped,
}

impl TransferError {
    pub(crate) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), what, source }
    }

    pub(crate) fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.into() }
    }
}
