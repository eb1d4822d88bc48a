//! Open loop: payments fall due by the clock, whether or not the node keeps up, and latency counts
//! from when each was due. So a stall is paid for by everything that fell due in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use eschaton_api::ingress::SubmitBatch;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use crate::live::{Counts, InFlight, Stream, connect};
use crate::workload::Payment;

pub(crate) struct Open {
    pub(crate) counts: Counts,
    /// From first due to last answer of those due in time.
    pub(crate) seconds: f64,
    pub(crate) used: usize,
    pub(crate) acknowledged: Vec<usize>,
    /// Microseconds from due to accepted.
    pub(crate) latency: Histogram<u64>,
}

/// Streams to an embedded node.
pub(crate) const STREAMS: usize = 4;

/// Sends `rate` payments per second for `seconds`, from `payments[first..]`, over so many streams. A node works on
/// 32 batches of a stream at once and batches are small here, so the streams bound how many payments wait for
/// their decisions: they must be enough for `rate` times the latency.
pub(crate) async fn run(
    url: &str,
    payments: Arc<Vec<Payment>>,
    first: usize,
    rate: f64,
    seconds: f64,
    streams: usize,
    bar: &ProgressBar,
) -> anyhow::Result<Open> {
    const BATCH_MAX: usize = 1_024;
    let in_flight: InFlight = InFlight::default();
    let mut senders = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..streams {
        let Stream { send, mut receive } = Stream::open(connect(url).await?).await?;
        // Room between the clock and the stream: what the node does not take yet waits here, and ages.
        let (queue, mut queued) = mpsc::unbounded_channel::<SubmitBatch>();
        tokio::spawn(async move {
            while let Some(batch) = queued.recv().await {
                if send.send(batch).await.is_err() {
                    return;
                }
            }
        });
        senders.push(queue);
        let (in_flight, bar) = (in_flight.clone(), bar.clone());
        readers.push(tokio::spawn(async move {
            let mut counts = Counts::default();
            let mut acknowledged = Vec::new();
            let mut latency = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
            while let Some(answer) = receive.message().await? {
                let now = Instant::now();
                let sent = in_flight.lock().ok().and_then(|mut map| map.remove(&answer.id));
                let (first, due) = sent.context("an answer to nothing")?;
                for (index, (result, due)) in answer.results.iter().zip(due).enumerate() {
                    if counts.count(result) {
                        acknowledged.push(first + index);
                        latency.record(u64::try_from(now.duration_since(due).as_micros())?.max(1))?;
                    }
                }
                bar.inc(u64::try_from(answer.results.len())?);
            }
            anyhow::Ok((counts, acknowledged, latency))
        }));
    }
    let began = Instant::now();
    let available = payments.len() - first;
    let mut sent = 0;
    let mut batch_id = 0_u64;
    while sent < available && began.elapsed().as_secs_f64() < seconds {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let elapsed = began.elapsed().as_secs_f64().min(seconds);
        let due = whole(elapsed * rate).min(available);
        while sent < due {
            let last = (sent + BATCH_MAX).min(due);
            let times = (sent..last).map(|n| began + Duration::from_secs_f64(count(n) / rate)).collect();
            let transactions = payments[first + sent..first + last].iter().map(|p| p.bytes.clone()).collect();
            if let Ok(mut map) = in_flight.lock() {
                map.insert(batch_id, (first + sent, times));
            }
            let stream = usize::try_from(batch_id)? % streams;
            senders[stream].send(SubmitBatch { id: batch_id, transactions, no_wait: false })?;
            batch_id += 1;
            sent = last;
        }
    }
    drop(senders);
    let (mut counts, mut acknowledged) = (Counts::default(), Vec::new());
    let mut latency = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
    for reader in readers {
        let (part, indices, times) = reader.await??;
        counts.add(&part);
        acknowledged.extend(indices);
        latency.add(times)?;
    }
    Ok(Open { counts, seconds: began.elapsed().as_secs_f64(), used: sent, acknowledged, latency })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and far below 2^52
fn whole(value: f64) -> usize {
    value as usize
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
pub(crate) fn count(value: usize) -> f64 {
    value as f64
}
