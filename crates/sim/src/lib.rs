//! The whole ledger from one seed: production cores, driver and prover over simulated log, store, clock
//! and signer, in an executor that crashes, duplicates, tears, delays and takes over as the dice say;
//! and checkers of the named invariants after every commit and, fully, whenever nothing moves.
//!
//! A run is a function of its seed: the same seed gives the same trace hash, so every violation can be
//! seen again with `eschaton-sim --seed S --trace`.

mod ambient;
mod audit;
mod bug;
mod clients;
mod cluster;
mod dice;
mod event;
mod log;
mod parts;
mod profile;
mod quiet;
mod run;
mod store;
mod trees;
mod workload;
mod world;

pub use audit::Coverage;
pub use bug::Bug;
pub use run::{Outcome, run, run_twice};
pub use world::Violation;
