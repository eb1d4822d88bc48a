//! What an operator does with a cluster besides running it: make its topics and tables, look at it whole.

mod look;

use anyhow::{Context, bail};
use eschaton_cql::{CqlStore, OpenError};
use eschaton_embedded::{FileSigner, OsRng, SystemClock};
use eschaton_kafka::KafkaLog;
use eschaton_ports::{Log, Signer, Store};
use eschaton_proof::VerifierKey;
use eschaton_types::Network;

use crate::config::{Engines, NodeConfig};
use crate::identity;
use crate::transfer::nobody_works;
use crate::wiring::fix_identity;

pub use look::{CheckpointState, ClusterState, Member, ShardState};

/// The first schema whose programs number what shards tell one another. One of an older schema that went on would send
/// without numbers, and lose count of what it is sent.
const MESSAGES_NUMBERED: u32 = 3;

/// What was found and done, a line each.
pub async fn migrate(config: &NodeConfig) -> anyhow::Result<Vec<String>> {
    let Engines::Cluster { kafka, cql } = &config.engines else { bail!(NOT_A_CLUSTER) };
    let rng = OsRng::new().context("the system gives no randomness")?;
    let keys_dir = config.keys()?;
    fix_identity(config, &rng)?;
    if config.network == Network::Dev && config.native_issuer.is_none() {
        identity::dev_issuer(keys_dir, config.network, &rng)?;
    }
    let signer = FileSigner::open(&keys_dir.join(identity::NODE_KEY), &rng)?;
    let verifier = VerifierKey::from_public(&config.origin, &signer.public_key())?;
    let ledger = serde_json::to_string(&identity::ledger(config, &verifier))?;
    let topics = eschaton_kafka::migrate(kafka, kafka.replication).await?;
    if let Err(OpenError::SchemaOld { found, .. }) = CqlStore::open(cql).await
        && found < MESSAGES_NUMBERED
    {
        let log = KafkaLog::open((**kafka).clone()).await?;
        let older = format!("the keyspace has schema {found}, whose programs cannot work beside newer ones");
        nobody_works(&log, &SystemClock, &mut |_| Ok(())).await.context(older)?;
    }
    let schema = eschaton_cql::migrate_for(cql, Some(&ledger)).await?;
    let mut lines = vec![format!(
        "keys are in {}; give them to merkle-prover, and on network dev to gossip-ingress",
        keys_dir.display()
    )];
    lines.extend(topics.to_string().lines().map(str::to_owned));
    lines.push(schema.to_string());
    Ok(lines)
}

const NOT_A_CLUSTER: &str =
    "this configuration has embedded engines, which need no such thing; set [kafka] and [cql]";

/// Looks at everything that engines know of a cluster, and asks its processes whether they are ready. Joins nothing and
/// claims nothing. An engine that does not answer is a problem among others, and what it knows is left out.
pub async fn cluster_state(config: &NodeConfig) -> anyhow::Result<ClusterState> {
    let Engines::Cluster { kafka, cql } = &config.engines else { bail!(NOT_A_CLUSTER) };
    let (log, store) = tokio::join!(KafkaLog::open((**kafka).clone()), CqlStore::open(cql));
    let mut problems = Vec::new();
    let log = log.map_err(|error| problems.push(format!("the log cannot be looked at: {error}"))).ok();
    let store = store.map_err(|error| problems.push(format!("the store cannot be looked at: {error}"))).ok();
    let engines = look::Engines {
        log: log.as_ref().map(|log| log as &dyn Log),
        store: store.as_ref().map(|store| store as &dyn Store),
        clock: &SystemClock,
    };
    Ok(look::cluster(config.shards, engines, problems).await)
}
