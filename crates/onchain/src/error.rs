use std::path::PathBuf;

use bitcoin::OutPoint;
use eschaton_ports::SignerError;
use eschaton_ports::chain::{BlockRef, ChainError};

/// Why the wallet did not do it, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The disk. The wallet must be opened anew: memory may be ahead of the file.
    #[error("wallet file {path}: {source}; see to the disk, then start again", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else has it open, and two would spend the same coins.
    #[error("wallet {path} is open in another process; stop that one", path = path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Bytes before the end are not what was written.
    #[error(
        "wallet file {path} is damaged at byte {at}: {detail}; restore it, or delete it: keys and chain give it anew",
        path = path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        detail: String,
    },
    /// It is of other keys or another chain.
    #[error(
        "wallet file is of another chain or other keys: {detail}; use the file that belongs to them, or delete it"
    )]
    Foreign {
        /// What differs.
        detail: String,
    },
    /// An earlier write failed.
    #[error("wallet is closed after a failed write; start again")]
    Closed,
    /// Not enough confirmed outputs that nothing else has reserved.
    #[error(
        "wallet has {available_sat} sat to spend and needs {needed_sat}; send some to its address, or wait until what is under way confirms"
    )]
    Funds {
        /// What the transaction needs.
        needed_sat: u64,
        /// What may be spent.
        available_sat: u64,
    },
    /// An output that must be spent is not there.
    #[error("{outpoint} is no confirmed unspent output of this wallet; wait until the chain holds it again")]
    NotThere {
        /// Which.
        outpoint: OutPoint,
    },
    /// It would cost more than is allowed.
    #[error("the transaction would pay {fee_sat} sat, {max_sat} are allowed; raise the cap or wait")]
    FeeAboveCap {
        /// What it takes.
        fee_sat: u64,
        /// What may be paid.
        max_sat: u64,
    },
    /// A block that does not follow on what the wallet knows.
    #[error("block {} at height {} does not follow on what the wallet knows; follow the chain from its locator", at.hash, at.height)]
    Unconnected {
        /// Which.
        at: BlockRef,
    },
    /// BDK refuses.
    #[error("transaction cannot be built: {detail}")]
    Build {
        /// What it said.
        detail: String,
    },
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
}
