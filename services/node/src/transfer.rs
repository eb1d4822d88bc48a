//! `eschaton export` and `eschaton import`: a ledger's records as files, from any engines and into any others.
//!
//! Only the log travels. The target's rows are made from it as an opening worker makes them, and compared with what the
//! source's rows were.

#[cfg(feature = "cluster")]
mod cluster;
mod engines;
mod export;
mod import;
mod keys;
mod state;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use conflict_resolver::{GROUP as RESOLVERS, ResolverConfig};
use eschaton_driver::Worker;
use eschaton_kit::Ports;
use eschaton_ports::{Clock, Log, Signer, Topic, TopicPartition};
use eschaton_proof::VerifierKey;
use eschaton_transfer::{Ledger, TransferError};
use merkle_prover::worker::{GROUP as PROVERS, ProverWorker};
use timestamp_aggregator::{ANCHORERS, STAMPERS};

use crate::check;
use crate::config::NodeConfig;
use crate::services::Service;

pub use export::export;
pub use import::import;

/// Between two looks at who is at work.
const LOOK_EVERY_MS: u64 = 500;
/// Some seconds more than Kafka's session.
const LOOKS_MAX: u64 = 30;

/// How far an export or an import is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is being done, in words.
    pub what: &'static str,
    /// How much of it.
    pub done: u64,
    /// Of how much; 0: not known.
    pub all: u64,
}

/// Sees every step, and may end the work by an error.
pub type Watch<'a> = &'a mut (dyn FnMut(Step) -> Result<(), TransferError> + Send);

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferReport {
    /// Records of all partitions.
    pub records: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Rows that were made from them.
    pub rows: u64,
    /// BLAKE3 over all rows, hexadecimal: as `CheckReport::store_hash`, the same at the source and at the target.
    pub state_hash: String,
    /// The key that verifies the ledger's checkpoints.
    pub verifier_key: String,
    /// Whether keys are part of the export.
    pub keys: bool,
}

/// The claims that workers make, as they make them.
fn claims(shards: u32) -> Vec<(&'static str, Vec<TopicPartition>)> {
    let one = |topic, partition| TopicPartition { topic, partition };
    let mut claims: Vec<_> = (0..shards).map(|shard| (RESOLVERS, vec![one(Topic::Ledger, shard)])).collect();
    claims.push((PROVERS, (0..shards).map(|shard| one(Topic::Decisions, shard)).collect()));
    claims.extend((0..shards).map(|shard| (STAMPERS, vec![one(Topic::Stamps, shard)])));
    claims.push((ANCHORERS, vec![one(Topic::Anchors, 0)]));
    claims
}

/// Refuses a log on which processes are at work. One that has just ended may be a member of its group for some seconds
/// more: until its leaving is known, or until it is given up for dead.
pub(crate) async fn nobody_works(log: &dyn Log, clock: &dyn Clock, watch: Watch<'_>) -> anyhow::Result<()> {
    for group in [RESOLVERS, PROVERS, STAMPERS, ANCHORERS, Service::GossipIngress.name()] {
        let mut looks = 0;
        loop {
            let owners = log.owners(group).await?;
            if owners.is_empty() {
                break;
            }
            looks += 1;
            if looks > LOOKS_MAX {
                let names: Vec<String> = owners.into_iter().map(|owner| owner.name).collect();
                bail!(
                    "{} still at work as {group}; stop every process of the cluster, then repeat the command",
                    names.join(", ")
                );
            }
            watch(Step { what: "waiting for workers to end", done: looks, all: LOOKS_MAX })?;
            clock.sleep_ms(LOOK_EVERY_MS).await;
        }
    }
    Ok(())
}

/// What a configuration calls this ledger.
fn ledger(config: &NodeConfig, ports: &Ports) -> anyhow::Result<Ledger> {
    let verifier = VerifierKey::from_public(&config.origin, &signer(ports)?.public_key())?;
    Ok(Ledger {
        network: config.network.name().to_owned(),
        shards: config.shards,
        origin: config.origin.clone(),
        verifier_key: verifier.to_string(),
    })
}

/// Opens every worker once: whatever the store lacks is made from the log, and every checkpoint's roots are compared
/// with those that were committed (P1). Nothing is consumed.
async fn rebuild(config: &NodeConfig, ports: &Ports, watch: Watch<'_>) -> anyhow::Result<()> {
    let workers = u64::from(config.shards) + 1;
    let resolver = ResolverConfig::new(config.shards, config.window_ms);
    for (shard, done) in (0..config.shards).zip(0..) {
        watch(Step { what: "making rows", done, all: workers })?;
        Worker::open(check::spec(&resolver, shard, ports)).await?;
    }
    check::open_stamping(config.shards, ports).await?;
    watch(Step { what: "making trees", done: workers - 1, all: workers })?;
    ProverWorker::open(check::prover_spec(config, ports, signer(ports)?)).await?;
    watch(Step { what: "making trees", done: workers, all: workers })?;
    Ok(ports.store.flush().await?)
}

/// The ledger's key, which a transfer opens.
fn signer(ports: &Ports) -> anyhow::Result<Arc<dyn Signer>> {
    ports.signer.clone().context("the ledger's key is not open")
}

/// A directory for this user alone: there may be keys in it.
fn make_private(dir: &Path) -> Result<(), TransferError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| TransferError::Io { path: dir.to_owned(), what: "make directory", source })
}
