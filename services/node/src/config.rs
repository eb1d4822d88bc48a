use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use eschaton_types::{Address, Network};

use crate::anchoring::{AnchorConfig, ChainSource};
use crate::services::{Service, Services};

/// A shard's memory of live outputs beside an embedded store, which has a cache of its own. Reading that may wait
/// while its engine puts a flushed buffer in place: a payment of what was lately received should not.
pub(crate) const EMBEDDED_SHARD_CACHE_MIB: u32 = 16;
/// The same in a cluster, where each read is a request to the database.
#[cfg(feature = "cluster")]
pub(crate) const CLUSTER_SHARD_CACHE_MIB: u32 = 64;
/// Of a shard's turns in a cluster. A Kafka transaction costs about the same with ten records as with a thousand.
#[cfg(feature = "cluster")]
pub(crate) const CLUSTER_SHARD_TURN_MS: u64 = 150;
/// Of a shard's writes of rows in a cluster. A statement costs the database more than one row more in it; nobody who submits
/// waits for rows.
#[cfg(feature = "cluster")]
pub(crate) const CLUSTER_SHARD_WRITE_MS: u64 = 1_000;

/// In bytes.
pub(crate) fn mebibytes(count: u32) -> usize {
    usize::try_from(u64::from(count) << 20).unwrap_or(usize::MAX)
}

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
    /// Where the node's key is; in a cluster only some services need it, see [`NodeConfig::needs_keys`].
    pub keys_dir: Option<PathBuf>,
    /// gRPC; port 0 picks a free one.
    pub grpc: SocketAddr,
    /// HTTP calendar; port 0 picks a free one. None: port 7375 of this machine, or a free one where that is taken.
    pub calendar: Option<SocketAddr>,
    /// The calendar's address as clients know it; pending attestations carry it. Where it listens unless given.
    pub calendar_url: Option<String>,
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
    /// How long engines that are away are waited for at the start, seconds.
    pub engines_wait_s: u64,
    /// Live outputs that each shard's resolver remembers, bytes.
    pub shard_cache_bytes: usize,
    /// Least time from one turn of a shard to the next, ms; 0: none.
    pub shard_turn_ms: u64,
    /// Least time from one write of a shard's rows to the next, ms; 0: none.
    pub shard_write_ms: u64,
    /// The chain under the timestamps.
    pub anchor: AnchorConfig,
}

impl NodeConfig {
    /// Sound values for a development node on the embedded engines.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            services: Services::default(),
            keys_dir: Some(data_dir.clone()),
            engines: Engines::Embedded { data_dir },
            grpc: SocketAddr::from(([127, 0, 0, 1], 7373)),
            calendar: None,
            calendar_url: None,
            advertise: None,
            network: Network::Dev,
            shards: 4,
            window_ms: 0,
            native_issuer: None,
            origin: "eschaton.local/dev".to_owned(),
            undecided_max: 16_384,
            trace_one_in: 0,
            checkpoint_ms: 100,
            engines_wait_s: 600,
            shard_cache_bytes: mebibytes(EMBEDDED_SHARD_CACHE_MIB),
            shard_turn_ms: 0,
            shard_write_ms: 0,
            anchor: AnchorConfig::default(),
        }
    }

    /// The directory of the keys, for what cannot do without.
    pub fn keys(&self) -> anyhow::Result<&Path> {
        self.keys_dir.as_deref().context("no directory for the node's key is given; set keys_dir or data_dir")
    }

    /// Why a process that runs these services needs the directory of the keys; none when it does not.
    pub fn needs_keys(&self) -> Option<&'static str> {
        if matches!(self.engines, Engines::Embedded { .. }) {
            return Some("a node on embedded engines keeps its key and its identity there");
        }
        if self.services.has(Service::MerkleProver) {
            return Some("service merkle-prover signs checkpoints with node.key");
        }
        if self.services.has(Service::TimestampAggregator) && !matches!(self.anchor.chain, ChainSource::None)
        {
            return Some(
                "service timestamp-aggregator pays for anchors with wallet.key when bitcoin_rpc is set",
            );
        }
        let issues = self.network == Network::Dev && self.native_issuer.is_none();
        (issues && self.services.has(Service::GossipIngress))
            .then_some("service gossip-ingress issues coins on network dev with dev-issuer.key, unless native_issuer is set")
    }

    /// Takes shards and origin from a directory that a node has used.
    pub fn follow_recorded(&mut self) -> anyhow::Result<()> {
        (self.shards, self.origin) = crate::identity::recorded(self.keys()?)?;
        Ok(())
    }
}
