//! Compares a store with what its log says: every row is made anew on an empty store, every decision and every
//! checkpoint's roots.

mod published;
mod recorder;
mod rows;
mod verify;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use conflict_resolver::{GROUP, LedgerHost, ResolverConfig, ShardGauges};
use eschaton_driver::{Limits, Worker, WorkerError, WorkerSpec};
use eschaton_embedded::{EmbeddedStore, FileSigner, OsRng, StoreOptions, SystemClock};
use eschaton_kit::Ports;
use eschaton_ports::{Family, Log, Signer, Store, StoreBatch, Topic, TopicPartition};
use eschaton_transfer::GroupPosition;
use futures::lock::Mutex;
use merkle_prover::ProverConfig;
use merkle_prover::worker::ProverSpec;
use timestamp_aggregator::{
    ANCHORERS, AggregatorConfig, AnchorerHost, STAMPERS, StamperHost, anchorer_spec, stamper_spec,
};

use self::recorder::Recorder;
use self::view::LogView;
use crate::config::NodeConfig;
use crate::transfer::Watch;
use crate::{identity, wiring};

pub use rows::Difference;
pub(crate) use rows::{Rows, add_row};
pub use verify::{How, StateReport};

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Records of topic `ledger` that were decided anew.
    pub records: u64,
    /// Published decisions that were compared with those made anew.
    pub decisions: u64,
    /// Rows compared.
    pub rows: u64,
    /// BLAKE3 over all rows of the store, in hexadecimal.
    pub store_hash: String,
    /// The same of the store that was made anew.
    pub replay_hash: String,
    /// Where they first differ, in words.
    pub first_difference: Option<String>,
}

/// Compares the store of `data_dir` with its log, all of which is decided anew on an empty store in
/// `scratch`. The node must be stopped.
pub async fn check(
    data_dir: &Path,
    scratch: &Path,
    window_ms: u64,
    progress: impl FnMut(u64, u64) + Send,
) -> anyhow::Result<CheckReport> {
    let (shards, origin) = identity::recorded(data_dir)?;
    let config = NodeConfig { shards, origin, window_ms, ..NodeConfig::new(data_dir.to_owned()) };
    check_engines(&config, scratch, progress).await
}

/// As [`check`], on whatever engines the configuration names; see [`verify_state`].
pub async fn check_engines(
    config: &NodeConfig,
    scratch: &Path,
    mut progress: impl FnMut(u64, u64) + Send,
) -> anyhow::Result<CheckReport> {
    let report = verify_state(config, scratch, How::Decide, &mut |step| {
        if step.what == verify::DECIDING {
            progress(step.done, step.all);
        }
        Ok(())
    })
    .await?;
    Ok(CheckReport {
        records: report.records,
        decisions: report.decisions,
        rows: report.rows,
        store_hash: report.store_hash,
        replay_hash: report.log_hash,
        first_difference: report.difference.map(|difference| difference.to_string()),
    })
}

/// Compares the store of a stopped or quiet ledger with its log, row by row, and the roots of every checkpoint with
/// what its decisions give. `scratch` is a directory that is not there; it is made and removed.
///
/// Where nobody is at work, what the store lacks above its watermarks is written first, as the next start would.
/// Beside processes that are at work nothing is written, claimed or published; they must have nothing to do.
pub async fn verify_state(
    config: &NodeConfig,
    scratch: &Path,
    how: How,
    watch: Watch<'_>,
) -> anyhow::Result<StateReport> {
    ensure!(!scratch.exists(), "{} exists; name a directory that does not", scratch.display());
    let rng = OsRng::new().context("the system gives no randomness")?;
    let (log, store) = wiring::open_engines(config, "verify").await?;
    let scratch = Scratch::make(scratch)?;
    // Roots are compared, signatures are thrown away: the ledger's own key is not needed.
    let signer = FileSigner::open(&scratch.0.join(identity::NODE_KEY), &rng)?;
    let (fresh, _) = EmbeddedStore::open(&scratch.0.join("store"), &StoreOptions::default())?;
    let ports = Ports { log, store, clock: Arc::new(SystemClock), rng: Arc::new(rng), signer: None };
    let signer: Arc<dyn Signer> = Arc::new(signer);
    verify::verify(config, &ports, &signer, Arc::new(fresh), how, watch).await
}

/// What the prover wrote to the store for the checkpoints from offset `from` of their topic to before `to`, batch for
/// batch: the trees are made anew from the log, and every checkpoint's roots compared. `scratch` is a directory that is
/// not there; it is made and removed. Nothing is claimed or published.
pub async fn tree_batches(
    config: &NodeConfig,
    log: Arc<dyn Log>,
    scratch: &Path,
    (from, to): (u64, u64),
) -> anyhow::Result<Vec<StoreBatch>> {
    let rng = OsRng::new().context("the system gives no randomness")?;
    let scratch = Scratch::make(scratch)?;
    let signer = FileSigner::open(&scratch.0.join(identity::NODE_KEY), &rng)?;
    let (store, _) = EmbeddedStore::open(&scratch.0.join("store"), &StoreOptions::default())?;
    // A batch's place is the one after its checkpoint's record.
    let recorder = Arc::new(Recorder { store: Arc::new(store), from, to, batches: Mutex::default() });
    let store: Arc<dyn Store> = recorder.clone();
    let ports = Ports { log, store, clock: Arc::new(SystemClock), rng: Arc::new(rng), signer: None };
    verify::rebuild(config, &ports, Arc::new(signer)).await?;
    let batches = std::mem::take(&mut *recorder.batches.lock().await);
    Ok(batches)
}

/// A directory for this user alone; removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
            format!("the scratch directory {} cannot be made; choose another", path.display())
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the scratch directory stays; remove it");
        }
    }
}

/// A prover that shows its checkpoints to nobody.
pub(crate) fn prover_spec(node: &NodeConfig, ports: &Ports, signer: Arc<dyn Signer>) -> ProverSpec {
    ProverSpec {
        config: ProverConfig::new(node.shards, node.origin.clone()),
        log: ports.log.clone(),
        store: ports.store.clone(),
        clock: ports.clock.clone(),
        signer,
        publish: Box::new(|_| {}),
    }
}

/// A shard's worker.
pub(crate) fn spec(config: &ResolverConfig, shard: u32, ports: &Ports) -> WorkerSpec<LedgerHost> {
    WorkerSpec {
        group: GROUP.to_owned(),
        input: TopicPartition { topic: Topic::Ledger, partition: shard },
        family: Family::Ledger,
        changes: Topic::Changes,
        host: LedgerHost::new(config.ledger(shard), gauges(config.shards)),
        log: ports.log.clone(),
        store: ports.store.clone(),
        clock: ports.clock.clone(),
        limits: Limits::default(),
        observer: None,
    }
}

/// The watermarks of timestamps' workers, and the topics that tell how far they should be.
pub(crate) fn stamping(shards: u32) -> Vec<(String, TopicPartition)> {
    let of = |topic, partition| TopicPartition { topic, partition };
    let stampers = (0..shards).map(|shard| (format!("{STAMPERS}/{shard}"), of(Topic::StampChanges, shard)));
    stampers.chain([(format!("{ANCHORERS}/0"), of(Topic::AnchorChanges, 0))]).collect()
}

/// Opens every worker of timestamps once: it writes what the store lacks of what they committed. Nothing is consumed.
pub(crate) async fn open_stamping(shards: u32, ports: &Ports) -> Result<(), WorkerError> {
    let config = AggregatorConfig::new(shards);
    for shard in 0..shards {
        Worker::<StamperHost>::open(stamper_spec(&config, shard, ports, Arc::default())).await?;
    }
    let (show, _) = tokio::sync::watch::channel(None);
    Worker::<AnchorerHost>::open(anchorer_spec(config.anchorer, ports, Arc::default(), show)).await?;
    Ok(())
}

fn gauges(shards: u32) -> Arc<[ShardGauges]> {
    (0..shards).map(|_| ShardGauges::default()).collect()
}

/// The same ports over a log that only looks like one: workers of these positions open over it and change nothing but
/// the store.
pub(crate) fn looking_on(ports: &Ports, positions: &[GroupPosition]) -> Ports {
    let positions = positions.iter().filter_map(|position| Some((position.at()?, position.next)));
    let view = LogView::new(ports.log.clone(), positions.collect(), BTreeMap::new(), Topic::Changes);
    beside(ports, Arc::new(view), ports.store.clone())
}

/// The same ports over another log and another store.
fn beside(ports: &Ports, log: Arc<dyn eschaton_ports::Log>, store: Arc<dyn Store>) -> Ports {
    Ports { log, store, ..ports.clone() }
}
