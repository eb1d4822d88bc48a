//! What a light client needs of Bitcoin and Litecoin, without IO: whether headers carry the work that they must,
//! which of two branches has more of it, the transactions of a block's bytes, and a proof that a transaction is in
//! a block.
//!
//! Nothing here is believed: every function takes bytes from a node that may lie.

mod block;
mod chain;
mod difficulty;
mod error;
mod params;
mod pow;
mod proof;
mod run;

pub use block::{BLOCK_BYTES_MAX, decode_block, decode_transaction};
pub use chain::{Added, HeaderChain, REORG_DEPTH_MAX, Tip};
pub use difficulty::{RETARGET_BLOCKS, Span, retarget};
pub use error::{BlockError, HeaderError, ProofError};
pub use params::{Params, ProofOfWork};
pub use pow::{check_proof_of_work, proof_of_work_hash};
pub use proof::{BRANCH_MAX, TxInBlock};
pub use run::HeaderRun;
