//! Closed loop: always `window` batches under way on each stream; the most that is accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use eschaton_api::ingress::SubmitBatch;
use indicatif::ProgressBar;

use crate::live::{Counts, Stream, connect};
use crate::workload::Payment;

/// Accepted per second, and the indices of what was acknowledged.
pub(crate) struct Closed {
    pub(crate) counts: Counts,
    pub(crate) seconds: f64,
    pub(crate) used: usize,
    pub(crate) acknowledged: Vec<usize>,
}

pub(crate) async fn run(
    url: &str,
    payments: Arc<Vec<Payment>>,
    limit: usize,
    seconds: f64,
    bar: &ProgressBar,
) -> anyhow::Result<Closed> {
    const STREAMS: usize = 4;
    const WINDOW: usize = 8;
    const BATCH: usize = 128;
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let mut tasks = Vec::new();
    for _ in 0..STREAMS {
        let (payments, next, bar) = (payments.clone(), next.clone(), bar.clone());
        let Stream { send, mut receive } = Stream::open(connect(url).await?).await?;
        tasks.push(tokio::spawn(async move {
            let (mut counts, mut acknowledged, mut under_way) = (Counts::default(), Vec::new(), 0);
            loop {
                while under_way < WINDOW && Instant::now() < until {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    let last = (first + BATCH).min(limit);
                    if first >= last {
                        break;
                    }
                    let transactions =
                        payments[first..last].iter().map(|payment| payment.bytes.clone()).collect();
                    let id = u64::try_from(first)?;
                    send.send(SubmitBatch { id, transactions, no_wait: false }).await?;
                    under_way += 1;
                }
                if under_way == 0 {
                    return anyhow::Ok((counts, acknowledged));
                }
                let answer = receive.message().await?.context("the node closed the stream")?;
                under_way -= 1;
                let first = usize::try_from(answer.id)?;
                for (index, result) in (first..).zip(&answer.results) {
                    if counts.count(result) {
                        acknowledged.push(index);
                    }
                }
                bar.inc(u64::try_from(answer.results.len())?);
            }
        }));
    }
    let (mut counts, mut acknowledged) = (Counts::default(), Vec::new());
    for task in tasks {
        let (part, indices) = task.await??;
        counts.add(&part);
        acknowledged.extend(indices);
    }
    let used = next.load(Ordering::Relaxed).min(limit);
    Ok(Closed { counts, seconds: began.elapsed().as_secs_f64(), used, acknowledged })
}
