//! Conflict resolver: one worker for each shard that falls to this process, each on its own thread, running the
//! ledger core over the shard's partition of topic `ledger`; and a ticker that tells log time to shards
//! that wait for it.

mod config;
mod metrics;
mod ticker;
mod worker;

use eschaton_driver::{Limits, Worker, WorkerSpec};
use eschaton_kit::{Duty, Health, Ports, StepSpans, Urgency, WorkerThread, staff, supervise};
use eschaton_ports::{Family, Topic, TopicPartition};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub use config::ResolverConfig;
pub use worker::{GROUP, LedgerHost, ShardGauges};

/// A running resolver.
pub struct Resolver {
    shards: tokio::task::JoinHandle<()>,
    ticker: tokio::task::JoinHandle<()>,
    gauges: Arc<[ShardGauges]>,
}

impl Resolver {
    /// Joins the resolvers and keeps a worker on each shard that falls to this process. Returns at once;
    /// shards catch up by themselves.
    pub fn start(config: &ResolverConfig, ports: &Ports, health: &Health, stop: &CancellationToken) -> Self {
        metrics::describe();
        let gauges: Arc<[ShardGauges]> = (0..config.shards).map(|_| ShardGauges::default()).collect();
        let duty = Duty { group: GROUP, topic: Topic::Ledger, partitions: config.shards };
        let start = {
            let (config, ports, health, gauges) = (*config, ports.clone(), health.clone(), gauges.clone());
            move |shard, stop| work(shard, config, &ports, &health, &gauges, stop)
        };
        let (log, clock) = (ports.log.clone(), ports.clock.clone());
        let shards = tokio::spawn(staff(duty, log, clock, health.clone(), stop.clone(), start));
        let ticker = tokio::spawn(ticker::run(ports.clone(), gauges.clone(), config.tick_ms, stop.clone()));
        Self { shards, ticker, gauges }
    }

    /// What each shard has pending.
    pub fn gauges(&self) -> Arc<[ShardGauges]> {
        self.gauges.clone()
    }

    /// Waits until all workers have finished their batch and written their rows. Cancel `stop` first.
    pub async fn join(self) {
        for (what, task) in [("shards", self.shards), ("ticker", self.ticker)] {
            if let Err(error) = task.await {
                tracing::error!(what, %error, "a task of the resolver failed");
            }
        }
    }
}

/// One shard's worker, on a thread of its own.
fn work(
    shard: u32,
    config: ResolverConfig,
    ports: &Ports,
    health: &Health,
    gauges: &Arc<[ShardGauges]>,
    stop: CancellationToken,
) -> std::io::Result<WorkerThread> {
    let part = format!("resolver-{shard}");
    let (name, ports, health, gauges) = (part.clone(), ports.clone(), health.clone(), gauges.clone());
    WorkerThread::spawn(&name, Urgency::Answering, async move || {
        supervise(&part, &health, &stop, || async {
            let spec = WorkerSpec {
                group: GROUP.to_owned(),
                input: TopicPartition { topic: Topic::Ledger, partition: shard },
                family: Family::Ledger,
                changes: Topic::Changes,
                host: LedgerHost::new(config.ledger(shard), gauges.clone()),
                log: ports.log.clone(),
                store: ports.store.clone(),
                clock: ports.clock.clone(),
                limits: Limits {
                    cache_bytes: config.cache_bytes,
                    turn_ms: config.turn_ms,
                    write_ms: config.write_ms,
                    ..Limits::default()
                },
                observer: Some(Arc::new(StepSpans("conflict-resolver.step"))),
            };
            // Who waits for this partition must not wait for an engine that is slow to open it here.
            let mut worker = tokio::select! {
                opened = Worker::open(spec) => opened?,
                () = stop.cancelled() => return Ok(()),
            };
            health.well(&part);
            worker.run(Box::pin(stop.cancelled())).await
        })
        .await;
    })
}
