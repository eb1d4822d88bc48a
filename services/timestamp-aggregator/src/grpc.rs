//! `eschaton.timestamp.v1.Timestamps`: conversion and statuses.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use eschaton_api::timestamp as pb;
use eschaton_api::timestamp::timestamps_server::Timestamps;
use eschaton_core::{Topic, TopicPartition};
use eschaton_driver::WorkerError;
use eschaton_kit::Ports;
use eschaton_ots::tree::Hash;
use futures::stream::{self, StreamExt};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{Intake, Known, Lookup, Progress, Stamp, StampError};

/// Digests of one batch.
const BATCH_MAX: usize = 1 << 16;
/// Batches of one stream that are worked on at a time.
const BATCHES_AT_WORK: usize = 8;
/// Commitments of one watch.
const WATCHED_MAX: usize = 10_000;
/// A watch looks at least so often, whether or not something happened.
const LOOK_AT_LEAST: Duration = Duration::from_secs(60);
/// And at most so often.
const LOOK_AT_MOST: Duration = Duration::from_millis(200);

/// Serves timestamps.
#[derive(Clone)]
pub struct TimestampsService {
    intake: Intake,
    lookup: Lookup,
    ports: Ports,
}

impl TimestampsService {
    /// Over an intake and a look-up of this process.
    pub fn new(intake: Intake, lookup: Lookup, ports: &Ports) -> Self {
        Self { intake, lookup, ports: ports.clone() }
    }
}

fn refusal(error: StampError) -> Status {
    match error {
        StampError::Digest { .. } => Status::invalid_argument(error.to_string()),
        StampError::Busy { retry_ms } | StampError::Unanchored { retry_ms } => {
            pushed_back(Status::resource_exhausted(error.to_string()), retry_ms)
        }
        StampError::Late { retry_ms } => pushed_back(Status::unavailable(error.to_string()), retry_ms),
    }
}

fn pushed_back(mut status: Status, retry_ms: u64) -> Status {
    status.metadata_mut().insert("grpc-retry-pushback-ms", retry_ms.into());
    status
}

fn away(error: WorkerError) -> Status {
    match error.is_passing() {
        true => Status::unavailable(error.to_string()),
        false => Status::internal(error.to_string()),
    }
}

fn answer(stamp: Stamp) -> pb::StampResponse {
    let commitment = Bytes::copy_from_slice(&stamp.commitment);
    pb::StampResponse { timestamp: stamp.timestamp, commitment }
}

fn message(commitment: Bytes, known: &Known) -> Result<pb::Timestamp, Status> {
    let id = |txid: &Hash| Bytes::copy_from_slice(txid);
    let (progress, txid, confirmations) = match &known.progress {
        Progress::Pending => (pb::Progress::Pending, Bytes::new(), 0),
        Progress::Anchoring { txid } => (pb::Progress::Anchoring, id(txid), 0),
        Progress::Confirmed { txid, confirmations, is_final: false } => {
            (pb::Progress::Confirmed, id(txid), *confirmations)
        }
        Progress::Confirmed { txid, confirmations, is_final: true } => {
            (pb::Progress::Final, id(txid), *confirmations)
        }
    };
    // An upstream calendar's proof may be there before ours, or instead of it.
    let progress = if known.timestamp.finished().is_some() { pb::Progress::Final } else { progress };
    let timestamp = known.timestamp.to_bytes().map_err(|error| Status::internal(error.to_string()))?;
    Ok(pb::Timestamp {
        commitment,
        timestamp: timestamp.into(),
        progress: progress.into(),
        txid,
        confirmations: u32::try_from(confirmations).unwrap_or(u32::MAX),
    })
}

/// A digest that was stamped, or the root of an interval.
async fn look(lookup: &Lookup, commitment: &Bytes) -> Result<Option<Known>, Status> {
    if commitment.is_empty() || commitment.len() > 64 {
        return Err(Status::invalid_argument("a commitment has 1 to 64 bytes"));
    }
    if let Some(known) = lookup.digest(commitment).await.map_err(away)? {
        return Ok(Some(known));
    }
    match <Hash>::try_from(&commitment[..]) {
        Ok(root) => lookup.root(&root).await.map_err(away),
        Err(_) => Ok(None),
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Timestamps for TimestampsService {
    async fn stamp(&self, request: Request<pb::StampRequest>) -> Result<Response<pb::StampResponse>, Status> {
        let stamp = self.intake.stamp(request.into_inner().digest).await.map_err(refusal)?;
        Ok(Response::new(answer(stamp)))
    }

    type StampBatchStream = Answers<pb::StampBatchResponse>;

    async fn stamp_batch(
        &self,
        request: Request<Streaming<pb::StampBatchRequest>>,
    ) -> Result<Response<Self::StampBatchStream>, Status> {
        let intake = self.intake.clone();
        let work = move |batch: Result<pb::StampBatchRequest, Status>| {
            let intake = intake.clone();
            async move {
                let pb::StampBatchRequest { id, digests } = batch?;
                if digests.is_empty() || digests.len() > BATCH_MAX {
                    let found = digests.len();
                    let words = format!("a batch has {found} digests, allowed are 1 to {BATCH_MAX}");
                    return Err(Status::invalid_argument(words));
                }
                let stamps = intake.stamp_all(digests).await.map_err(refusal)?;
                Ok(pb::StampBatchResponse { id, stamps: stamps.into_iter().map(answer).collect() })
            }
        };
        // It reads on only while fewer than these are at work.
        let answers = request.into_inner().map(work).buffer_unordered(BATCHES_AT_WORK);
        // The first failure ends the stream; what is not answered is to be sent again.
        let answers = answers.scan(false, |failed, answer| {
            let ended = std::mem::replace(failed, answer.is_err());
            futures::future::ready((!ended).then_some(answer))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_timestamp(
        &self,
        request: Request<pb::GetTimestampRequest>,
    ) -> Result<Response<pb::Timestamp>, Status> {
        let commitment = request.into_inner().commitment;
        match look(&self.lookup, &commitment).await? {
            Some(known) => Ok(Response::new(message(commitment, &known)?)),
            None => Err(Status::not_found("this was never stamped here")),
        }
    }

    type WatchUpgradesStream = Answers<pb::Timestamp>;

    async fn watch_upgrades(
        &self,
        request: Request<pb::WatchUpgradesRequest>,
    ) -> Result<Response<Self::WatchUpgradesStream>, Status> {
        let commitments = request.into_inner().commitments;
        if commitments.is_empty() || commitments.len() > WATCHED_MAX {
            let words = format!("a watch has 1 to {WATCHED_MAX} commitments");
            return Err(Status::invalid_argument(words));
        }
        for commitment in &commitments {
            if look(&self.lookup, commitment).await?.is_none() {
                let words = format!("{} was never stamped here", hex::encode(commitment));
                return Err(Status::not_found(words));
            }
        }
        let (send, receive) = tokio::sync::mpsc::channel(64);
        let service = self.clone();
        tokio::spawn(async move {
            if let Err(status) = service.follow(commitments, &send).await {
                // The watcher may have gone.
                let _ = send.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }
}

impl TimestampsService {
    /// Shows each now and whenever it changes, until all are final or the watcher is gone.
    async fn follow(
        &self,
        commitments: Vec<Bytes>,
        send: &tokio::sync::mpsc::Sender<Result<pb::Timestamp, Status>>,
    ) -> Result<(), Status> {
        let events = TopicPartition { topic: Topic::AnchorEvents, partition: 0 };
        let mut shown: HashMap<Bytes, pb::Timestamp> = HashMap::new();
        let mut open = commitments;
        while !open.is_empty() {
            let end =
                self.ports.log.end(events).await.map_err(|error| Status::unavailable(error.to_string()))?;
            let looks = stream::iter(open.clone()).map(|commitment| async move {
                let known = look(&self.lookup, &commitment).await?;
                known.map(|known| message(commitment, &known)).transpose()
            });
            let found: Vec<Result<Option<pb::Timestamp>, Status>> = looks.buffered(16).collect().await;
            for timestamp in found {
                let Some(timestamp) = timestamp? else { continue };
                if timestamp.progress() == pb::Progress::Final {
                    open.retain(|commitment| *commitment != timestamp.commitment);
                }
                if shown.get(&timestamp.commitment) == Some(&timestamp) {
                    continue;
                }
                shown.insert(timestamp.commitment.clone(), timestamp.clone());
                if send.send(Ok(timestamp)).await.is_err() {
                    return Ok(());
                }
            }
            let from = [(events, end)];
            tokio::select! {
                () = send.closed() => return Ok(()),
                // Blocks on top of an anchor make no event, so the wait is bounded.
                _ = tokio::time::timeout(LOOK_AT_LEAST, self.ports.log.wait(&from)) => {}
            }
            self.ports.clock.sleep_ms(u64::try_from(LOOK_AT_MOST.as_millis()).unwrap_or(200)).await;
        }
        Ok(())
    }
}
