use std::path::PathBuf;

/// Why a chain could not be opened or grown, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RegtestError {
    /// The disk.
    #[error("chain file {path}: {source}; see to the disk, then start again", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else has it open.
    #[error("chain in {path} is open in another process; stop that one, or use another directory", path = path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Bytes before the end are not what was written.
    #[error("chain file {path} is damaged at byte {at}: {detail}; restore it, or delete it to start a new chain", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        detail: String,
    },
    /// A block that breaks a rule.
    #[error("block is refused: {detail}")]
    Block {
        /// Which rule.
        detail: String,
    },
    /// The chain has the size that it may have.
    #[error("chain has reached its bound of {bytes_max} bytes; raise it, or start a new chain")]
    Full {
        /// The bound.
        bytes_max: u64,
    },
    /// An earlier write failed: memory and disk differ.
    #[error("chain is closed after a failed write; start again")]
    Closed,
    /// Bitcoin Core's code did not start.
    #[error("the consensus engine does not start: {detail}; see to {path}", path = path.display())]
    Kernel {
        /// Its directory.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
}
