//! What an operator does with a cluster besides running it: make its topics and tables, look at it whole.

use anyhow::{Context, bail};
use conflict_resolver::GROUP as RESOLVERS;
use eschaton_cql::CqlStore;
use eschaton_embedded::OsRng;
use eschaton_kafka::KafkaLog;
use eschaton_ports::{Log, Owner, Store, Topic, TopicPartition};
use eschaton_types::Network;
use merkle_prover::worker::GROUP as PROVERS;
use serde::Serialize;

use crate::caught_up::consumed;
use crate::config::{Engines, NodeConfig};
use crate::identity;
use crate::wiring::fix_identity;

/// A shard that has more undone is told of as a problem.
const LAG_MAX: u64 = 10_000;

/// What was found and done, a line each.
pub async fn migrate(config: &NodeConfig) -> anyhow::Result<Vec<String>> {
    let Engines::Cluster { kafka, cql } = &config.engines else { bail!(NOT_A_CLUSTER) };
    let rng = OsRng::new().context("the system gives no randomness")?;
    fix_identity(config, &rng)?;
    if config.network == Network::Dev && config.native_issuer.is_none() {
        identity::dev_issuer(&config.keys_dir, config.network, &rng)?;
    }
    let topics = eschaton_kafka::migrate(kafka, kafka.replication).await?;
    let schema = eschaton_cql::migrate(cql).await?;
    let mut lines = vec![format!("keys are in {}; give it to every process", config.keys_dir.display())];
    lines.extend(topics.to_string().lines().map(str::to_owned));
    lines.push(schema.to_string());
    Ok(lines)
}

const NOT_A_CLUSTER: &str =
    "this configuration has embedded engines, which need no such thing; set [kafka] and [cql]";

/// One shard of the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct ShardState {
    /// Which.
    pub shard: u32,
    /// The process that works on it, `host:port`.
    pub owner: Option<String>,
    /// The next record to consume, as the store knows it.
    pub consumed: u64,
    /// The ledger's end.
    pub end: u64,
    /// Age of the oldest record that is not consumed, in seconds; 0 when all are.
    pub behind_s: u64,
    /// Offset in `changes` up to which rows are in the store.
    pub rows_up_to: u64,
}

/// A cluster at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterState {
    /// Processes that resolve conflicts and their shards.
    pub resolvers: Vec<Member>,
    /// Processes that keep the trees; one of them has partition 0.
    pub provers: Vec<Member>,
    /// Every shard.
    pub shards: Vec<ShardState>,
    /// Number and size of the newest checkpoint.
    pub checkpoint: Option<(u64, u64)>,
    /// What is wrong, in words; nothing when all is well.
    pub problems: Vec<String>,
}

/// A process of a group.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// `host:port` of its gRPC.
    pub name: String,
    /// What it has.
    pub partitions: Vec<u32>,
}

impl From<Owner> for Member {
    fn from(Owner { name, partitions }: Owner) -> Self {
        Self { name, partitions }
    }
}

/// Looks at everything that engines know of a cluster. Joins nothing and claims nothing.
pub async fn cluster_state(config: &NodeConfig) -> anyhow::Result<ClusterState> {
    let Engines::Cluster { kafka, cql } = &config.engines else { bail!(NOT_A_CLUSTER) };
    let log = KafkaLog::open((**kafka).clone()).await?;
    let store = CqlStore::open(cql).await?;
    let now_ms = eschaton_ports::Clock::now_ms(&eschaton_embedded::SystemClock);
    let resolvers = log.owners(RESOLVERS).await?;
    let provers = log.owners(PROVERS).await?;
    let mut problems = Vec::new();
    let mut shards = Vec::new();
    for shard in 0..config.shards {
        let at = TopicPartition { topic: Topic::Ledger, partition: shard };
        let mark = store.watermark(&format!("{RESOLVERS}/{shard}")).await?.unwrap_or_default();
        let end = log.end(at).await?;
        let all = consumed(&log, at, mark.input_next, end).await?;
        let oldest = match all {
            true => None,
            false => log.read(at, mark.input_next, 1, 1).await?.first().map(|record| record.at_ms),
        };
        let owner = resolvers.iter().find(|owner| owner.partitions.contains(&shard));
        let owner = owner.map(|owner| owner.name.clone());
        let consumed = if all { end } else { mark.input_next };
        let behind_s = oldest.map_or(0, |at_ms| now_ms.saturating_sub(at_ms) / 1_000);
        let lag = end.saturating_sub(consumed);
        if owner.is_none() {
            problems.push(format!("shard {shard}: no process works on it; start service conflict-resolver"));
        } else if lag > LAG_MAX || behind_s > 10 {
            problems.push(format!(
                "shard {shard}: {lag} records, the oldest {behind_s} s old, are not consumed; see its owner's log, or \
                 add replicas"
            ));
        }
        shards.push(ShardState { shard, owner, consumed, end, behind_s, rows_up_to: mark.sequence });
    }
    if !provers.iter().any(|owner| owner.partitions.contains(&0)) {
        problems.push("no prover is at work; start service merkle-prover".to_owned());
    }
    let checkpoint = merkle_prover::newest_checkpoint(&store).await?;
    Ok(ClusterState {
        resolvers: resolvers.into_iter().map(Member::from).collect(),
        provers: provers.into_iter().map(Member::from).collect(),
        shards,
        checkpoint: checkpoint.map(|checkpoint| (checkpoint.number, checkpoint.size)),
        problems,
    })
}
