//! Conflict resolver: one worker for each shard that it owns, each on its own thread, running the
//! ledger core over the shard's partition of topic `ledger`; and a ticker that tells log time to shards
//! that wait for it.

mod config;
mod metrics;
mod ticker;
mod worker;

use eschaton_driver::{Limits, Worker, WorkerSpec};
use eschaton_kit::{Health, Ports, StepSpans, Urgency, WorkerThread, supervise};
use eschaton_ports::{Topic, TopicPartition};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub use config::ResolverConfig;
pub use worker::{GROUP, LedgerHost, ShardGauges};

/// A running resolver.
pub struct Resolver {
    threads: Vec<WorkerThread>,
    ticker: tokio::task::JoinHandle<()>,
    gauges: Arc<[ShardGauges]>,
}

impl Resolver {
    /// Starts a worker for each shard. Returns once all threads run; shards catch up by themselves.
    pub fn start(
        config: &ResolverConfig,
        ports: &Ports,
        health: &Health,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        metrics::describe();
        let gauges: Arc<[ShardGauges]> = (0..config.shards).map(|_| ShardGauges::default()).collect();
        let mut threads = Vec::new();
        for shard in 0..config.shards {
            let part = format!("resolver-{shard}");
            let (ports, health, stop) = (ports.clone(), health.clone(), stop.clone());
            let (ledger, gauges) = (config.ledger(shard), gauges.clone());
            let body = {
                let part = part.clone();
                async move || {
                    supervise(&part, &health, &stop, || async {
                        let spec = WorkerSpec {
                            group: GROUP.to_owned(),
                            input: TopicPartition { topic: Topic::Ledger, partition: shard },
                            changes: Topic::Changes,
                            host: LedgerHost::new(ledger, gauges.clone()),
                            log: ports.log.clone(),
                            store: ports.store.clone(),
                            clock: ports.clock.clone(),
                            limits: Limits::default(),
                            observer: Some(Arc::new(StepSpans("conflict-resolver.step"))),
                        };
                        let mut worker = Worker::open(spec).await?;
                        health.well(&part);
                        worker.run(Box::pin(stop.cancelled())).await
                    })
                    .await;
                }
            };
            threads.push(WorkerThread::spawn(&part, Urgency::Answering, body)?);
        }
        let ticker = tokio::spawn(ticker::run(ports.clone(), gauges.clone(), config.tick_ms, stop.clone()));
        Ok(Self { threads, ticker, gauges })
    }

    /// What each shard has pending.
    pub fn gauges(&self) -> Arc<[ShardGauges]> {
        self.gauges.clone()
    }

    /// Waits until all workers have finished their batch and written their rows. Cancel `stop` first.
    pub async fn join(self) {
        for thread in self.threads {
            thread.join().await;
        }
        if let Err(error) = self.ticker.await {
            tracing::error!(%error, "ticker failed");
        }
    }
}
