//! Proofs from wherever the prover is at work: one process of a cluster makes them, every process that
//! serves gRPC gives them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use eschaton_api::proofs as api;
use eschaton_api::proofs::proofs_client::ProofsClient;
use eschaton_api::proofs::proofs_server::Proofs;
use eschaton_ports::Log;
use merkle_prover::ProofsService;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Marks a request that was passed on once; it is not passed on again.
const FORWARDED: &str = "eschaton-forwarded";
const CONNECT: Duration = Duration::from_secs(2);
/// A proof waits for the prover's batch at most; a stream of checkpoints lasts as long as its reader wants.
const ANSWER: Duration = Duration::from_secs(20);

/// Answers here or passes the question on.
pub(crate) struct Gateway {
    here: Option<Here>,
    log: Arc<dyn Log>,
    /// The connection to the prover of this address.
    there: Mutex<Option<(String, ProofsClient<Channel>)>>,
}

/// This process's own prover.
pub(crate) struct Here {
    pub(crate) service: ProofsService,
    /// True while it is this process's turn.
    pub(crate) at_work: watch::Receiver<bool>,
}

enum Route<'a> {
    Here(&'a ProofsService),
    There(Box<ProofsClient<Channel>>),
}

impl Gateway {
    pub(crate) fn new(here: Option<Here>, log: Arc<dyn Log>) -> Self {
        Self { here, log, there: Mutex::new(None) }
    }

    async fn route<T>(&self, request: &mut Request<T>) -> Result<Route<'_>, Status> {
        if let Some(here) = &self.here
            && *here.at_work.borrow()
        {
            return Ok(Route::Here(&here.service));
        }
        if request.metadata().contains_key(FORWARDED) {
            return Err(Status::unavailable("the prover has just moved; try again in a second"));
        }
        let owners = self.log.owners(merkle_prover::worker::GROUP).await;
        let owners =
            owners.map_err(|error| Status::unavailable(format!("the prover cannot be found: {error}")))?;
        let owner = owners.into_iter().find(|owner| owner.partitions.contains(&0)).ok_or_else(|| {
            Status::unavailable("no prover is at work; start service merkle-prover, or try again in a second")
        })?;
        request.metadata_mut().insert(FORWARDED, tonic::metadata::MetadataValue::from_static("1"));
        let mut there = self.there.lock();
        if let Some((name, client)) = &*there
            && *name == owner.name
        {
            return Ok(Route::There(Box::new(client.clone())));
        }
        let endpoint = Endpoint::from_shared(format!("http://{}", owner.name)).map_err(|error| {
            Status::internal(format!(
                "the prover's address {} cannot be used ({error}); set advertise",
                owner.name
            ))
        })?;
        let client = ProofsClient::new(endpoint.connect_timeout(CONNECT).connect_lazy());
        *there = Some((owner.name, client.clone()));
        Ok(Route::There(Box::new(client)))
    }
}

/// Bounds a call that is passed on.
async fn bounded<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<Response<T>, Status> {
    match tokio::time::timeout(ANSWER, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::unavailable("the prover did not answer; try again in a second")),
    }
}

/// A unary call: here, or there.
macro_rules! route {
    ($self:ident, $request:ident, $method:ident) => {{
        let mut request = $request;
        match $self.route(&mut request).await? {
            Route::Here(service) => service.$method(request).await,
            Route::There(mut client) => bounded(client.$method(request)).await,
        }
    }};
}

#[tonic::async_trait]
impl Proofs for Gateway {
    async fn get_verifier_key(
        &self,
        request: Request<api::GetVerifierKeyRequest>,
    ) -> Result<Response<api::GetVerifierKeyResponse>, Status> {
        route!(self, request, get_verifier_key)
    }

    async fn get_checkpoint(
        &self,
        request: Request<api::GetCheckpointRequest>,
    ) -> Result<Response<api::CheckpointNote>, Status> {
        route!(self, request, get_checkpoint)
    }

    type WatchCheckpointsStream = Pin<Box<dyn Stream<Item = Result<api::CheckpointNote, Status>> + Send>>;

    async fn watch_checkpoints(
        &self,
        request: Request<api::WatchCheckpointsRequest>,
    ) -> Result<Response<Self::WatchCheckpointsStream>, Status> {
        let mut request = request;
        match self.route(&mut request).await? {
            Route::Here(service) => service.watch_checkpoints(request).await,
            Route::There(mut client) => {
                let notes = bounded(client.watch_checkpoints(request)).await?.into_inner();
                Ok(Response::new(Box::pin(notes.map(|note| note))))
            }
        }
    }

    async fn prove_inclusion(
        &self,
        request: Request<api::ProveInclusionRequest>,
    ) -> Result<Response<api::Proof>, Status> {
        route!(self, request, prove_inclusion)
    }

    async fn prove_output(
        &self,
        request: Request<api::ProveOutputRequest>,
    ) -> Result<Response<api::Proof>, Status> {
        route!(self, request, prove_output)
    }

    async fn prove_consistency(
        &self,
        request: Request<api::ProveConsistencyRequest>,
    ) -> Result<Response<api::Proof>, Status> {
        route!(self, request, prove_consistency)
    }
}
