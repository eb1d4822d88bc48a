//! The timestamp aggregator's pure core. No clock, no randomness, no IO: records with log time go in, rows and
//! records come out, and what should be done in the world is told as values.
//!
//! - A [`Stamper`] (one for each shard) hides each digest behind a nonce, gathers an interval's commitments in one
//!   Merkle tree, and closes it at its tick.
//! - The [`Anchorer`] (one) gathers intervals' roots in the tree of the next anchor and follows each anchor's
//!   transaction into the chain, however often it is replaced, dropped or reorganised.
//! - [`proof`] joins the pieces: digest → interval → anchor → transaction → block.
//!
//! Both are cores of the log (`eschaton_core::Core`): stampers read topic `stamps` and publish on `stamped`, the
//! anchorer reads `anchors` and publishes on `anchor-events`.
//!
//! Rows are described in [`rows`]. Invariant T1: an acknowledged digest is in exactly one anchored interval, and its
//! proof completes.

pub mod anchorer;
pub mod block;
mod cores;
mod error;
mod planted;
pub mod proof;
pub mod rows;
pub mod stamper;
pub mod transaction;
mod tree;

pub use anchorer::{Anchor, AnchorInput, Anchored, Anchorer, AnchorerConfig};
pub use error::{TimestampError, TransactionError};
#[cfg(feature = "planted-bugs")]
pub use planted::PlantedBug;
pub use stamper::{Item, Placed, StampInput, Stamped, Stamper, StamperConfig};
pub use tree::LEAVES_MAX;
