use std::net::SocketAddr;
use std::path::PathBuf;

use eschaton_types::{Address, Network};

/// What a node is set to.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Everything it keeps is under this directory.
    pub data_dir: PathBuf,
    /// gRPC; port 0 picks a free one.
    pub grpc: SocketAddr,
    /// Fixed at first start.
    pub network: Network,
    /// Shards of the ledger; fixed at first start.
    pub shards: u32,
    /// Conflict window, ms.
    pub window_ms: u64,
    /// Who may issue the native coin. On `dev` the node makes a key of its own when none is named.
    pub native_issuer: Option<Address>,
    /// Origin of its checkpoints; fixed at first start.
    pub origin: String,
    /// Most transactions taken and not decided.
    pub undecided_max: usize,
    /// Every n-th submission is traced; 0: none.
    pub trace_one_in: u64,
    /// Shortest time between two checkpoints, ms.
    pub checkpoint_ms: u64,
}

impl NodeConfig {
    /// Sound values for a development node.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            grpc: SocketAddr::from(([127, 0, 0, 1], 7373)),
            network: Network::Dev,
            shards: 4,
            window_ms: 0,
            native_issuer: None,
            origin: "eschaton.local/dev".to_owned(),
            undecided_max: 16_384,
            trace_one_in: 0,
            checkpoint_ms: 100,
        }
    }
}
