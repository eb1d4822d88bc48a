use std::net::SocketAddr;
use std::path::PathBuf;

use eschaton_types::{Address, Network};

use crate::services::Services;

/// On what a node runs.
#[derive(Clone, Debug)]
pub enum Engines {
    /// Log and store under one directory, for one process.
    Embedded {
        /// The directory.
        data_dir: PathBuf,
    },
    /// Engines that many processes share.
    #[cfg(feature = "cluster")]
    Cluster {
        /// The log.
        kafka: Box<eschaton_kafka::KafkaConfig>,
        /// The store.
        cql: Box<eschaton_cql::CqlConfig>,
    },
}

/// What a node is set to. [`Settings`](crate::Settings) makes one from files, environment and options.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What this process runs.
    pub services: Services,
    /// On what.
    pub engines: Engines,
    /// Where the node's key is.
    pub keys_dir: PathBuf,
    /// gRPC; port 0 picks a free one.
    pub grpc: SocketAddr,
    /// `host:port` at which other processes reach this one's gRPC; where it listens unless given.
    pub advertise: Option<String>,
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
    /// Sound values for a development node on the embedded engines.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            services: Services::default(),
            keys_dir: data_dir.clone(),
            engines: Engines::Embedded { data_dir },
            grpc: SocketAddr::from(([127, 0, 0, 1], 7373)),
            advertise: None,
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

    /// Takes shards and origin from a directory that a node has used.
    pub fn follow_recorded(&mut self) -> anyhow::Result<()> {
        (self.shards, self.origin) = crate::identity::recorded(&self.keys_dir)?;
        Ok(())
    }
}
