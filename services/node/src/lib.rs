//! All services in one process on the embedded adapters. [`wiring`] is the only file that names them.

mod config;
mod faucet;
mod identity;
mod query;
mod server;
mod wiring;

pub use config::NodeConfig;
pub use wiring::Node;
