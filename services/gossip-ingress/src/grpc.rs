//! Conversion and status only.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use bytes::Bytes;
use eschaton_api::ingress as api;
use eschaton_ports::TraceContext;
use eschaton_types::pb::log::Reason;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{Answer, Client, Submitter};

/// `eschaton.ingress.v1.Ingress`.
pub struct IngressService {
    submitter: Submitter,
}

impl IngressService {
    pub(crate) fn new(submitter: Submitter) -> Self {
        Self { submitter }
    }
}

#[tonic::async_trait]
impl api::ingress_server::Ingress for IngressService {
    async fn submit(
        &self,
        request: Request<api::SubmitRequest>,
    ) -> Result<Response<api::SubmitResult>, Status> {
        let (client, trace) = (client(&request), trace(request.metadata()));
        let api::SubmitRequest { transaction, no_wait } = request.into_inner();
        let answers = self
            .submitter
            .submit(client, vec![transaction], !no_wait, trace)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        match answers.into_iter().next() {
            Some(Answer::Invalid { error, .. }) => Err(Status::invalid_argument(error.to_string())),
            Some(Answer::Busy { retry_after_ms, message }) => Err(busy(retry_after_ms, message)),
            Some(answer) => Ok(Response::new(result(answer))),
            None => Err(Status::internal("no answer was made; submit the same bytes again")),
        }
    }

    type SubmitStreamStream = Pin<Box<dyn Stream<Item = Result<api::SubmitResults, Status>> + Send>>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<api::SubmitBatch>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let (client, trace) = (client(&request), trace(request.metadata()));
        let batches = request.into_inner();
        let room = self.submitter.config().stream_batches_max;
        let (answers, answered) = mpsc::channel(room);
        tokio::spawn(serve_stream(self.submitter.clone(), client, trace, batches, answers, room));
        Ok(Response::new(Box::pin(ReceiverStream::new(answered))))
    }
}

/// Reads on only while fewer than `room` batches are at work: HTTP/2 flow control tells the client.
async fn serve_stream(
    submitter: Submitter,
    client: Client,
    trace: Option<TraceContext>,
    mut batches: Streaming<api::SubmitBatch>,
    answers: mpsc::Sender<Result<api::SubmitResults, Status>>,
    room: usize,
) {
    let at_work = std::sync::Arc::new(Semaphore::new(room));
    loop {
        // The semaphore is never closed; an error would only end the stream.
        let Ok(place) = at_work.clone().acquire_owned().await else { return };
        let batch = match batches.next().await {
            Some(Ok(batch)) => batch,
            Some(Err(status)) => {
                tracing::debug!(%status, "submit stream broke");
                return;
            }
            None => return,
        };
        let max = submitter.config().batch_max;
        if batch.transactions.is_empty() || batch.transactions.len() > max {
            let message =
                format!("a batch has 1 to {max} transactions, this one has {}", batch.transactions.len());
            let _ = answers.send(Err(Status::invalid_argument(message))).await;
            return;
        }
        let (submitter, answers) = (submitter.clone(), answers.clone());
        tokio::spawn(async move {
            let items: Vec<Bytes> = batch.transactions;
            let answer = submitter
                .submit(client, items, !batch.no_wait, trace)
                .await
                .map(|results| api::SubmitResults {
                    id: batch.id,
                    results: results.into_iter().map(result).collect(),
                })
                .map_err(|error| Status::unavailable(error.to_string()));
            // A client that is gone looks its transactions up when it is back.
            let _ = answers.send(answer).await;
            drop(place);
        });
    }
}

fn result(answer: Answer) -> api::SubmitResult {
    let mut result = api::SubmitResult::default();
    match answer {
        Answer::Accepted { txid, at_ms } => {
            result.set_outcome(api::Outcome::Accepted);
            result.txid = txid.to_bytes();
            result.at_ms = at_ms;
        }
        Answer::Rejected { txid, rejection, at_ms } => {
            result.set_outcome(api::Outcome::Rejected);
            result.txid = txid.to_bytes();
            result.reason = Reason::try_from(rejection.reason).unwrap_or_default().as_str_name().to_owned();
            result.message = rejection.message;
            result.spent_by = rejection.spent_by;
            result.at_ms = at_ms;
        }
        Answer::Pending { txid } => {
            result.set_outcome(api::Outcome::Pending);
            result.txid = txid.to_bytes();
        }
        Answer::Invalid { txid, error } => {
            result.set_outcome(api::Outcome::Invalid);
            result.txid = txid.map(|txid| txid.to_bytes()).unwrap_or_default();
            result.message = error.to_string();
        }
        Answer::Busy { retry_after_ms, message } => {
            result.set_outcome(api::Outcome::Busy);
            result.retry_after_ms = u32::try_from(retry_after_ms).unwrap_or(u32::MAX);
            result.message = message;
        }
    }
    result
}

fn busy(retry_after_ms: u64, message: String) -> Status {
    let mut metadata = MetadataMap::new();
    if let Ok(value) = retry_after_ms.to_string().parse() {
        metadata.insert("grpc-retry-pushback-ms", value);
    }
    Status::with_metadata(Code::ResourceExhausted, message, metadata)
}

fn client<T>(request: &Request<T>) -> Client {
    Client(request.remote_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip()))
}

/// W3C `traceparent`: version-traceid-spanid-flags.
fn trace(metadata: &MetadataMap) -> Option<TraceContext> {
    let header = metadata.get("traceparent")?.to_str().ok()?;
    let mut parts = header.split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || trace_id.len() != 32 || span_id.len() != 16 || flags.len() != 2 {
        return None;
    }
    let context = TraceContext {
        trace_id: u128::from_str_radix(trace_id, 16).ok()?,
        span_id: u64::from_str_radix(span_id, 16).ok()?,
        flags: u8::from_str_radix(flags, 16).ok()?,
    };
    (context.trace_id != 0 && context.span_id != 0).then_some(context)
}
