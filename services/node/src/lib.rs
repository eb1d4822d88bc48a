//! A node's process: its settings, its services on the adapters that the settings name, its gRPC server.
//! `wiring`, `anchoring`, `block_headers`, the offline `check` and `transfer/engines` are the only files that open adapters.

mod anchoring;
mod block_headers;
mod caught_up;
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod config;
mod engines;
mod faucet;
mod identity;
mod presence;
mod proofs;
mod query;
mod server;
mod services;
mod settings;
mod stamps;
mod transfer;
mod wiring;

pub use anchoring::{AnchorConfig, ChainSource};
pub use block_headers::{BlockHeaders, HeaderSource, block_headers};
pub use check::{
    CheckReport, Difference, How, StateReport, check, check_engines, tree_batches, verify_state,
};
#[cfg(feature = "cluster")]
pub use cluster::{CheckpointState, ClusterState, Member, ShardState, cluster_state, migrate};
pub use config::{Engines, NodeConfig};
pub use services::{Service, Services};
pub use settings::{Layers, SettingError, Settings, Shown, Source};
pub use timestamp_aggregator::upstream::CalendarClient;
pub use transfer::{Step, TransferReport, Watch, export, import};
pub use wiring::{Node, open_engines};
