//! Merkle prover: reads the decisions of all shards, appends accepted transactions to the log tree,
//! keeps the output map, commits a checkpoint of both, signs it once it is durable, and proves from it.
//!
//! A checkpoint record names the next offset of every decisions partition. Between two checkpoints the
//! order is by partition, then offset: so any node rebuilds the same trees from the log alone, and
//! opening a prover does so for the checkpoints that its rows lack, comparing every root.

mod config;
mod grpc;
mod metrics;
mod record;
mod requests;
pub mod worker;

pub use config::ProverConfig;
pub use grpc::ProofsService;
pub use requests::{Asked, ProofError, ProofHandle, Requests, channel as request_channel};

use anyhow::Context;
use eschaton_kit::{Duty, Health, Ports, Urgency, WorkerThread, staff, supervise};
use eschaton_ports::{Signer, Topic};
use eschaton_proof::{SignedCheckpoint, VerifierKey};
use futures::lock::Mutex;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use crate::worker::newest_checkpoint;
use crate::worker::{ProverSpec, ProverWorker};

/// A running prover.
pub struct Prover {
    handle: ProofHandle,
    latest: watch::Receiver<Option<SignedCheckpoint>>,
    verifier: VerifierKey,
    at_work: watch::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Prover {
    /// Joins the provers, of which one is at work at a time. Proofs are served where it is, once it has caught
    /// up.
    pub fn start(
        config: &ProverConfig,
        ports: &Ports,
        health: &Health,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        metrics::describe();
        let signer = ports.signer.clone().context("the prover has no key to sign with; give it keys_dir")?;
        let verifier = VerifierKey::from_public(&config.origin, &signer.public_key())?;
        let (handle, requests) = requests::channel(config.requests_max);
        let (publish, latest) = watch::channel(None);
        let (turn, at_work) = watch::channel(false);
        let shared = Shared {
            requests: Arc::new(Mutex::new(requests)),
            publish: Arc::new(publish),
            turn: Arc::new(turn),
        };
        let start = {
            let (ports, health, config) = (ports.clone(), health.clone(), config.clone());
            move |_, stop| work(&config, &ports, &signer, &health, &shared, stop)
        };
        let duty = Duty { group: worker::GROUP, topic: Topic::Checkpoints, partitions: 1 };
        let (log, clock) = (ports.log.clone(), ports.clock.clone());
        let task = tokio::spawn(staff(duty, log, clock, health.clone(), stop.clone(), start));
        Ok(Self { handle, latest, verifier, at_work, task })
    }

    /// Serves proofs and checkpoints.
    pub fn service(&self) -> ProofsService {
        ProofsService::new(self.handle.clone(), self.latest.clone(), self.verifier.clone())
    }

    /// True while it is this process's turn to keep the trees. Questions that come then wait until it has caught
    /// up.
    pub fn at_work(&self) -> watch::Receiver<bool> {
        self.at_work.clone()
    }

    /// The latest checkpoint, as it changes.
    pub fn latest(&self) -> watch::Receiver<Option<SignedCheckpoint>> {
        self.latest.clone()
    }

    /// The key that verifies this node's checkpoints.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Waits for the worker's end. Cancel `stop` first.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the prover's task failed");
        }
    }
}

/// What the process has for all lives of its worker.
#[derive(Clone)]
struct Shared {
    requests: Arc<Mutex<Requests>>,
    publish: Arc<watch::Sender<Option<SignedCheckpoint>>>,
    /// True while it is this process's turn.
    turn: Arc<watch::Sender<bool>>,
}

/// The worker, on a thread of its own.
fn work(
    config: &ProverConfig,
    ports: &Ports,
    signer: &Arc<dyn Signer>,
    health: &Health,
    shared: &Shared,
    stop: CancellationToken,
) -> std::io::Result<WorkerThread> {
    let (config, ports, signer, health) = (config.clone(), ports.clone(), signer.clone(), health.clone());
    let Shared { requests, publish, turn } = shared.clone();
    // Nobody waits for a checkpoint: measured, answers at half load come twice as fast this way.
    WorkerThread::spawn("prover", Urgency::Background, async move || {
        turn.send_replace(true);
        supervise("prover", &health, &stop, || async {
            let publish = publish.clone();
            let spec = ProverSpec {
                config: config.clone(),
                log: ports.log.clone(),
                store: ports.store.clone(),
                clock: ports.clock.clone(),
                signer: signer.clone(),
                publish: Box::new(move |checkpoint| {
                    // Nobody listens while the process stops.
                    let _ = publish.send(Some(checkpoint));
                }),
            };
            let mut worker = tokio::select! {
                opened = ProverWorker::open(spec) => opened?,
                () = stop.cancelled() => return Ok(()),
            };
            health.well("prover");
            let mut requests = requests.lock().await;
            worker.run(&mut requests, Box::pin(stop.cancelled())).await
        })
        .await;
        turn.send_replace(false);
    })
}
