//! Gossip ingress: everything from outside is bounded before it is parsed, parsed before it is
//! believed, and checked before it costs a log write; then it waits for its decision.
//!
//! One transaction's way: admission (room, fair shares) → canonical decode and stateless checks → the
//! duplicate filter → signatures, spread over all cores → one append to topic `ledger` → the tail of
//! topic `decisions` answers. A reply is only ever made from a committed decision.

mod answer;
mod config;
mod grpc;
mod intake;
mod metrics;
mod screening;
mod submit;
mod tail;
mod waiting;

pub use answer::{Answer, Unavailable};
pub use config::IngressConfig;
pub use grpc::IngressService;
pub use submit::{Client, Submitter};

use std::sync::Arc;

use eschaton_kit::{Health, Ports, Tracing};
use eschaton_ports::{Topic, TopicPartition};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A decision as watchers see it.
pub type Decision = eschaton_types::pb::log::Decision;

/// A running ingress.
pub struct Ingress {
    submitter: Submitter,
    tails: Vec<JoinHandle<()>>,
}

impl Ingress {
    /// Starts following decisions, then takes transactions.
    pub async fn start(
        config: IngressConfig,
        ports: &Ports,
        health: &Health,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        metrics::describe();
        let tracing = Tracing::new(config.trace_one_in);
        let submitter = Submitter::new(config, ports.clone(), tracing)?;
        let mut tails = Vec::new();
        for partition in 0..submitter.shards() {
            let at = TopicPartition { topic: Topic::Decisions, partition };
            // From the present end: whoever waits here submits later than now.
            let from = ports.log.end(at).await?;
            tails.push(tokio::spawn(tail::run(
                at,
                from,
                ports.clone(),
                submitter.waiting(),
                health.clone(),
                stop.clone(),
            )));
        }
        Ok(Self { submitter, tails })
    }

    /// Takes transactions, from this process too.
    pub fn submitter(&self) -> Submitter {
        self.submitter.clone()
    }

    /// Serves them.
    pub fn service(&self) -> IngressService {
        IngressService::new(self.submitter.clone())
    }

    /// Decisions as they are made, from now on; a receiver that falls behind loses its place.
    pub fn decisions(&self) -> tokio::sync::broadcast::Receiver<Arc<Decision>> {
        self.submitter.waiting().watch()
    }

    /// A source of receivers as [`Ingress::decisions`] gives.
    pub fn watcher(&self) -> tokio::sync::broadcast::Sender<Arc<Decision>> {
        self.submitter.waiting().watcher()
    }

    /// Waits until the tails have ended. Cancel `stop` first, once no call is served any more.
    pub async fn join(self) {
        for tail in self.tails {
            if let Err(error) = tail.await {
                tracing::error!(%error, "decision tail failed");
            }
        }
    }
}
