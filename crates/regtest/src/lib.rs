//! A private Bitcoin chain in process that keeps the promises of the chain port: blocks are durable before they are shown, a
//! reorganisation is a longer branch, a mempool replaces by fee.
//!
//! Of scripts only spends of plain keys are checked ([`CHECKS`]), and every other spend is refused: contracts need a real
//! node. Of the rules of blocks the bound on signature operations is missing, so a block that was handed in may hold more
//! of them than Bitcoin allows.

mod chain;
mod error;
mod file;
mod ledger;
mod mempool;
mod mine;
mod rpc;
mod rules;
mod scripts;
mod standard;

pub use chain::RegtestChain;
pub use error::RegtestError;
pub use rpc::{RpcOptions, RpcServer};
pub use scripts::CHECKS;

use std::path::PathBuf;

/// Where a chain is kept and how large it may grow.
#[derive(Clone, Debug)]
pub struct RegtestConfig {
    /// Its directory. One process at a time.
    pub dir: PathBuf,
    /// The most bytes of blocks. All are kept in memory.
    pub bytes_max: u64,
}

impl RegtestConfig {
    /// A chain of at most 256 MiB in this directory: about 700,000 empty blocks.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), bytes_max: 256 << 20 }
    }
}
