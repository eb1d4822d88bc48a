//! All services in one process on the embedded adapters. `wiring` and the offline
//! `check` are the only files that name them.

mod caught_up;
mod check;
mod config;
mod faucet;
mod identity;
mod query;
mod server;
mod wiring;

pub use check::{CheckReport, check};
pub use config::NodeConfig;
pub use wiring::Node;
