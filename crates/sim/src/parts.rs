//! The parts of a node, as production makes them.

use std::pin::Pin;
use std::sync::Arc;

use conflict_resolver::{GROUP, LedgerHost, ShardGauges};
use eschaton_core::{Family, Topic, TopicPartition};
use eschaton_driver::{Limits, PlantedBug, Worker, WorkerError, WorkerSpec};
use merkle_prover::ProverConfig;
use merkle_prover::worker::{ProverSpec, ProverWorker};

use crate::ambient::{SimClock, SimSigner};
use crate::bug::Bug;
use crate::log::SimLog;
use crate::store::SimStore;
use crate::trees::ORIGIN;
use crate::world::Sim;

/// One worker's duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// A shard's resolver.
    Shard(u32),
    /// The prover.
    Prover,
}

/// Opens the part and works until the world stops.
pub(crate) fn work(sim: &Sim, part: Part) -> Pin<Box<dyn Future<Output = Result<(), WorkerError>>>> {
    let sim = sim.clone();
    match part {
        Part::Shard(shard) => Box::pin(async move {
            let bug = sim.world().bug.and_then(Bug::in_driver);
            let mut worker = open_shard(&sim, shard, bug).await?;
            worker.run(Box::pin(sim.until(|world| world.stopping))).await
        }),
        Part::Prover => Box::pin(async move {
            let mut worker = open_prover(&sim).await?;
            // Its other end stays open, or the worker would take its questions to be over.
            let (_asker, mut requests) = merkle_prover::request_channel(1);
            worker.run(&mut requests, Box::pin(sim.until(|world| world.stopping))).await
        }),
    }
}

pub(crate) async fn open_shard(
    sim: &Sim,
    shard: u32,
    bug: Option<PlantedBug>,
) -> Result<Worker<LedgerHost>, WorkerError> {
    let profile = sim.world().profile.clone();
    let gauges: Arc<[ShardGauges]> = (0..profile.shards).map(|_| ShardGauges::default()).collect();
    {
        let mut world = sim.world();
        let of_shard = world.gauges.entry(shard).or_default();
        of_shard.retain(|gauges| Arc::strong_count(gauges) > 1);
        of_shard.push(gauges.clone());
    }
    let spec = WorkerSpec {
        group: GROUP.to_owned(),
        input: TopicPartition { topic: Topic::Ledger, partition: shard },
        family: Family::Ledger,
        changes: Topic::Changes,
        host: LedgerHost::new(profile.ledger(shard), gauges),
        log: Arc::new(SimLog(sim.clone())),
        store: Arc::new(SimStore(sim.clone())),
        clock: Arc::new(SimClock::new(sim.clone())),
        limits: Limits {
            batch_records: profile.batch_records,
            changes_bytes: profile.changes_bytes,
            retry_ms: 5,
            cache_bytes: profile.cache_bytes,
            turn_ms: profile.turn_ms,
            write_ms: profile.write_ms,
            // Batches are small here.
            turn_small: 2,
            write_small: 2,
            ..Limits::default()
        },
        observer: None,
    };
    Worker::open_planted(spec, bug).await
}

pub(crate) async fn open_prover(sim: &Sim) -> Result<ProverWorker, WorkerError> {
    let profile = sim.world().profile.clone();
    let shown = sim.clone();
    ProverWorker::open(ProverSpec {
        config: ProverConfig {
            interval_ms: profile.checkpoint_ms,
            decisions_max: profile.checkpoint_decisions,
            ..ProverConfig::new(profile.shards, ORIGIN.to_owned())
        },
        log: Arc::new(SimLog(sim.clone())),
        store: Arc::new(SimStore(sim.clone())),
        clock: Arc::new(SimClock::new(sim.clone())),
        signer: Arc::new(SimSigner::new(sim.clone())),
        publish: Box::new(move |checkpoint| {
            let mut world = shown.world();
            let verdict = world.audit.trees.signed(&checkpoint);
            world.check(verdict);
        }),
    })
    .await
}
