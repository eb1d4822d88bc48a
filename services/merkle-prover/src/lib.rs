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

use eschaton_kit::{Health, Ports, Urgency, WorkerThread, supervise};
use eschaton_proof::{SignedCheckpoint, VerifierKey};
use futures::lock::Mutex;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::worker::{ProverSpec, ProverWorker};

/// A running prover.
pub struct Prover {
    handle: ProofHandle,
    latest: watch::Receiver<Option<SignedCheckpoint>>,
    verifier: VerifierKey,
    thread: WorkerThread,
}

impl Prover {
    /// Starts the prover on its own thread. Proofs are served once it has caught up.
    pub fn start(
        config: &ProverConfig,
        ports: &Ports,
        health: &Health,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        metrics::describe();
        let verifier = VerifierKey::from_public(&config.origin, &ports.signer.public_key())?;
        let (handle, requests) = requests::channel(config.requests_max);
        let requests = Arc::new(Mutex::new(requests));
        let (publish, latest) = watch::channel(None);
        let publish = Arc::new(publish);
        let (ports, health, stop, config) = (ports.clone(), health.clone(), stop.clone(), config.clone());
        let body = async move || {
            supervise("prover", &health, &stop, || async {
                let publish = publish.clone();
                let spec = ProverSpec {
                    config: config.clone(),
                    log: ports.log.clone(),
                    store: ports.store.clone(),
                    clock: ports.clock.clone(),
                    signer: ports.signer.clone(),
                    publish: Box::new(move |checkpoint| {
                        // Nobody listens while the process stops.
                        let _ = publish.send(Some(checkpoint));
                    }),
                };
                let mut worker = ProverWorker::open(spec).await?;
                health.well("prover");
                let mut requests = requests.lock().await;
                worker.run(&mut requests, Box::pin(stop.cancelled())).await
            })
            .await;
        };
        // Nobody waits for a checkpoint: measured, answers at half load come twice as fast this way.
        let thread = WorkerThread::spawn("prover", Urgency::Background, body)?;
        Ok(Self { handle, latest, verifier, thread })
    }

    /// Serves proofs and checkpoints.
    pub fn service(&self) -> ProofsService {
        ProofsService::new(self.handle.clone(), self.latest.clone(), self.verifier.clone())
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
        self.thread.join().await;
    }
}
