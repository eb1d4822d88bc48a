//! A steady load on one shard: payments fall due by the clock, each is handed in until it is accepted, and its latency
//! counts from when it was due.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use eschaton_api::ingress::{Outcome, SubmitBatch};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::live::{Stream, connect};

/// Streams of one shard, on a connection of their own: a node works on 32 batches of a stream at once, and a shard that
/// stands still must hold up no other.
const STREAMS: usize = 4;
/// What falls due within one makes a batch.
const TICK: Duration = Duration::from_millis(10);
const BATCH_MAX: usize = 256;
/// Before what was not decided is handed in again.
const AGAIN: Duration = Duration::from_millis(50);
/// What is under way when the load ends is decided by then.
const LAST: Duration = Duration::from_secs(90);

/// A payment that was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) shard: u32,
    /// Its index among all payments.
    pub(crate) payment: usize,
    pub(crate) due: Instant,
    pub(crate) accepted: Instant,
}

impl Sample {
    pub(crate) fn latency(&self) -> Duration {
        self.accepted.duration_since(self.due)
    }
}

/// A payment that waits to be handed in.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) payment: usize,
    pub(crate) bytes: Bytes,
}

/// Payments and when each was due.
type Batch = Vec<(Item, Instant)>;

/// Pours `items` at `rate` a second until it is told to stop; then waits for what is under way.
pub(crate) async fn pour(
    url: String,
    shard: u32,
    items: Vec<Item>,
    rate: f64,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Sample>> {
    let channel = connect(&url).await?;
    let (accepted, mut samples) = mpsc::unbounded_channel();
    let mut queues = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let (queue, queued) = mpsc::unbounded_channel();
        let opened = Stream::open(channel.clone()).await?;
        streams.push(tokio::spawn(stream(opened, queued, shard, accepted.clone())));
        queues.push(queue);
    }
    drop(accepted);
    let began = Instant::now();
    let mut items = items.into_iter();
    let (mut sent, mut batches) = (0_u32, 0);
    while !stop.load(Ordering::Acquire) {
        tokio::time::sleep(TICK).await;
        let elapsed = began.elapsed().as_secs_f64();
        let mut batch = Vec::new();
        while f64::from(sent) < elapsed * rate && batch.len() < BATCH_MAX {
            let Some(item) = items.next() else { bail!("shard {shard}: there are no payments left") };
            batch.push((item, began + Duration::from_secs_f64(f64::from(sent) / rate)));
            sent += 1;
        }
        if !batch.is_empty() {
            // A stream that ended tells why below.
            let _ = queues[batches % STREAMS].send(batch);
            batches += 1;
        }
    }
    drop(queues);
    let ended = async {
        for stream in streams {
            stream.await??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LAST, ended)
        .await
        .with_context(|| format!("shard {shard}: payments are not decided {} s later", LAST.as_secs()))??;
    let mut all = Vec::new();
    while let Some(sample) = samples.recv().await {
        all.push(sample);
    }
    Ok(all)
}

/// Hands batches in, and again what was not decided, until the queue has ended and everything is accepted.
async fn stream(
    opened: Stream,
    mut queued: mpsc::UnboundedReceiver<Batch>,
    shard: u32,
    accepted: mpsc::UnboundedSender<Sample>,
) -> anyhow::Result<()> {
    let Stream { send, mut receive } = opened;
    let mut waiting: HashMap<u64, Batch> = HashMap::new();
    let mut resting = FuturesUnordered::new();
    let (mut next, mut complete) = (0, false);
    while !complete || !waiting.is_empty() || !resting.is_empty() {
        let batch = tokio::select! {
            batch = queued.recv(), if !complete => {
                complete = batch.is_none();
                batch
            }
            Some(batch) = resting.next(), if !resting.is_empty() => Some(batch),
            answer = receive.message(), if !waiting.is_empty() => {
                let answer = answer?.context("the node closed the stream")?;
                let now = Instant::now();
                let batch = waiting.remove(&answer.id).context("an answer to nothing")?;
                let mut rest = Vec::new();
                for (result, (item, due)) in answer.results.iter().zip(batch) {
                    match result.outcome() {
                        Outcome::Accepted => {
                            let sample = Sample { shard, payment: item.payment, due, accepted: now };
                            // Nobody listens when the load has failed elsewhere.
                            let _ = accepted.send(sample);
                        }
                        Outcome::Pending | Outcome::Busy => rest.push((item, due)),
                        outcome => bail!("shard {shard}: {} {}", outcome.as_str_name(), result.message),
                    }
                }
                if !rest.is_empty() {
                    resting.push(async move {
                        tokio::time::sleep(AGAIN).await;
                        rest
                    });
                }
                None
            }
        };
        if let Some(batch) = batch {
            let transactions = batch.iter().map(|(item, _)| item.bytes.clone()).collect();
            waiting.insert(next, batch);
            send.send(SubmitBatch { id: next, transactions, no_wait: false }).await?;
            next += 1;
        }
    }
    Ok(())
}
