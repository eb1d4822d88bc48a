//! The prover's pure core: the log tree and the output map over rows that the caller keeps, and the
//! assembly of proofs from them (spec proofs.md).
//!
//! Everything is sans-IO: a structure says which rows it needs, is given them, and returns the rows
//! that changed. In memory stay the log's right edge and the map's skeleton, about 80 bytes for each
//! bucket of some eight transactions.
//!
//! Rows:
//!
//! | key | value |
//! |---|---|
//! | `H` | version (1), size (8), log root (32), map root (32) |
//! | `T` level (1) number (8) | C2SP tlog-tiles hash tile: up to 256 hashes |
//! | `S` number (8) | up to 256 transaction ids, those of sequences 256 × number on |
//! | `M` depth (2) path bits (padded with zeros to bytes) | bucket of the map, see [`OutputMap`] |
//!
//! Numbers are big-endian.

mod branch;
mod bucket;
mod change;
mod error;
mod load;
mod log;
mod log_proof;
mod map;
mod map_load;
mod proof;
mod prover;
mod rows;

pub use change::{Change, LeafUpdate};
pub use error::MerkleError;
pub use load::Loader;
pub use log::LogTree;
pub use log_proof::{consistency_proof, inclusion_proof, tiles_for_consistency, tiles_for_inclusion};
pub use map::OutputMap;
pub use map_load::MapLoader;
pub use proof::{ProofTask, Query, Step};
pub use prover::{Entry, Prover, Roots};
pub use rows::{MAP_PREFIX, META_KEY, RowChange, RowKey, Rows};
