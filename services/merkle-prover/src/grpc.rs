//! Conversion and status only.

use std::pin::Pin;

use bytes::Bytes;
use eschaton_api::proofs as api;
use eschaton_proof::{SignedCheckpoint, VerifierKey};
use eschaton_types::{OutPoint, TxId};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::{Asked, ProofError, ProofHandle};

/// `eschaton.proofs.v1.Proofs`.
pub struct ProofsService {
    handle: ProofHandle,
    latest: watch::Receiver<Option<SignedCheckpoint>>,
    verifier: VerifierKey,
}

impl ProofsService {
    pub(crate) fn new(
        handle: ProofHandle,
        latest: watch::Receiver<Option<SignedCheckpoint>>,
        verifier: VerifierKey,
    ) -> Self {
        Self { handle, latest, verifier }
    }

    async fn prove(&self, asked: Asked) -> Result<Response<api::Proof>, Status> {
        let proof = self.handle.ask(asked).await.map_err(status)?;
        Ok(Response::new(api::Proof { proof }))
    }
}

#[tonic::async_trait]
impl api::proofs_server::Proofs for ProofsService {
    async fn get_verifier_key(
        &self,
        _: Request<api::GetVerifierKeyRequest>,
    ) -> Result<Response<api::GetVerifierKeyResponse>, Status> {
        Ok(Response::new(api::GetVerifierKeyResponse { verifier_key: self.verifier.to_string() }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<api::GetCheckpointRequest>,
    ) -> Result<Response<api::CheckpointNote>, Status> {
        let note = match request.into_inner().number {
            Some(number) => {
                let note = self.handle.ask(Asked::Checkpoint(number)).await.map_err(status)?;
                api::CheckpointNote { number, note }
            }
            None => match self.latest.borrow().as_ref() {
                Some(latest) => note(latest),
                None => return Err(Status::not_found("there is no checkpoint yet; make a payment first")),
            },
        };
        Ok(Response::new(note))
    }

    type WatchCheckpointsStream = Pin<Box<dyn Stream<Item = Result<api::CheckpointNote, Status>> + Send>>;

    async fn watch_checkpoints(
        &self,
        _: Request<api::WatchCheckpointsRequest>,
    ) -> Result<Response<Self::WatchCheckpointsStream>, Status> {
        let latest = WatchStream::new(self.latest.clone());
        Ok(Response::new(Box::pin(latest.filter_map(|latest| latest.as_ref().map(note).map(Ok)))))
    }

    async fn prove_inclusion(
        &self,
        request: Request<api::ProveInclusionRequest>,
    ) -> Result<Response<api::Proof>, Status> {
        self.prove(Asked::Inclusion(txid(&request.into_inner().txid)?)).await
    }

    async fn prove_output(
        &self,
        request: Request<api::ProveOutputRequest>,
    ) -> Result<Response<api::Proof>, Status> {
        let request = request.into_inner();
        let index = u16::try_from(request.index).ok().filter(|index| *index < 256);
        let index = index.ok_or_else(|| Status::invalid_argument("output index is above 255"))?;
        self.prove(Asked::Output(OutPoint { txid: txid(&request.txid)?, index })).await
    }

    async fn prove_consistency(
        &self,
        request: Request<api::ProveConsistencyRequest>,
    ) -> Result<Response<api::Proof>, Status> {
        self.prove(Asked::Consistency(request.into_inner().number)).await
    }
}

fn note(checkpoint: &SignedCheckpoint) -> api::CheckpointNote {
    api::CheckpointNote { number: checkpoint.body().number, note: checkpoint.note().clone() }
}

fn txid(bytes: &Bytes) -> Result<TxId, Status> {
    TxId::from_slice(bytes, "transaction id (32 bytes)")
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn status(error: ProofError) -> Status {
    match error {
        ProofError::NotFound(message) => Status::not_found(message),
        ProofError::Unavailable(_) => Status::unavailable(error.to_string()),
        ProofError::Internal(_) => Status::internal(error.to_string()),
    }
}
