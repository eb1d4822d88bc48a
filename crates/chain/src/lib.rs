//! The Chain port over the JSON-RPC of a node. What the kinds of nodes do differently is in [`dialect`]; the rest is
//! the same for all.
//!
//! A node is not believed more than it must be: each block's and header's hash, proof of work and Merkle root are
//! checked, and the genesis block again after each time that the node was away.

mod broadcast;
mod cache;
mod call;
mod chain;
mod config;
mod credentials;
mod dialect;
mod fees;
mod identity;
mod reject;
mod status;

pub use chain::RpcChain;
pub use config::{ConfigError, RpcConfig};
pub use credentials::Credentials;
pub use identity::{ChainKind, identity, params};
