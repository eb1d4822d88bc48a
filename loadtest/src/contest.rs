//! Two payments of each output, sent again until they are decided.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use eschaton_api::ingress::{Outcome, SubmitBatch, SubmitResult, SubmitResults};
use eschaton_types::TxId;

use crate::live::{Stream, connect};
use crate::workload::Payment;

const BATCH: usize = 64;
const STREAMS: usize = 3;
const WINDOW: usize = 4;
/// A node that gives no answer for so long is left; what it was asked is asked again elsewhere.
const PATIENCE: Duration = Duration::from_secs(20);
/// A look at an empty line.
const REST: Duration = Duration::from_millis(20);

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Unknown,
    Accepted,
    Rejected,
}

struct Item {
    txid: TxId,
    bytes: Bytes,
    fate: Fate,
    /// Answers that contradict an earlier one.
    contradicted: bool,
}

/// Payments, two of each output, and lines of those that wait to be sent: one for each node.
pub(crate) struct Contest {
    items: Mutex<Vec<Item>>,
    lines: Vec<Mutex<VecDeque<usize>>>,
    /// Nothing more is put into the lines.
    complete: AtomicBool,
    /// Outputs whose payments were put into the lines.
    put: AtomicUsize,
    /// Payments in the lines or on their way.
    undecided: AtomicUsize,
    /// When the last decision was told, or the first payment came that waits for one.
    told: Mutex<Instant>,
    /// The longest time without a decision that has ended since it was last asked for.
    stall: Mutex<Duration>,
}

/// What the answers said.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Answers {
    pub(crate) accepted: usize,
    pub(crate) rejected: usize,
    pub(crate) contradicted: usize,
}

impl Contest {
    /// The items are in no line yet.
    pub(crate) fn new(pairs: Vec<[Payment; 2]>, nodes: usize) -> Self {
        let items = pairs.into_iter().flatten().map(|payment| Item {
            txid: payment.txid,
            bytes: payment.bytes,
            fate: Fate::Unknown,
            contradicted: false,
        });
        Self {
            items: Mutex::new(items.collect()),
            lines: (0..nodes.max(1)).map(|_| Mutex::default()).collect(),
            complete: AtomicBool::new(false),
            put: AtomicUsize::new(0),
            undecided: AtomicUsize::new(0),
            told: Mutex::new(Instant::now()),
            stall: Mutex::default(),
        }
    }

    /// Puts these outputs' payments into the lines: the two of an output into different ones if there are.
    pub(crate) fn put(&self, outputs: Range<usize>) {
        self.put.fetch_max(outputs.end, Ordering::AcqRel);
        self.line_up(outputs, 0);
    }

    /// As [`put`](Self::put), each into the next line.
    #[cfg(feature = "cluster")]
    pub(crate) fn put_again(&self, outputs: Range<usize>) {
        self.line_up(outputs, 1);
    }

    fn line_up(&self, outputs: Range<usize>, shift: usize) {
        for output in outputs {
            for contender in 0..2 {
                if self.undecided.fetch_add(1, Ordering::AcqRel) == 0 {
                    // Nothing was waited for.
                    *lock(&self.told) = Instant::now();
                }
                lock(self.line(output + contender + shift)).push_back(2 * output + contender);
            }
        }
    }

    /// Outputs whose payments were put into the lines.
    #[cfg(feature = "cluster")]
    pub(crate) fn outputs_put(&self) -> usize {
        self.put.load(Ordering::Acquire)
    }

    /// Payments in the lines or on their way.
    #[cfg(feature = "cluster")]
    pub(crate) fn undecided(&self) -> usize {
        self.undecided.load(Ordering::Acquire)
    }

    /// Tells streams to end when their lines are empty.
    pub(crate) fn complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether a decision was told since `moment`, or nothing waits for one.
    #[cfg(feature = "cluster")]
    pub(crate) fn goes_on_since(&self, moment: Instant) -> bool {
        self.undecided() == 0 || *lock(&self.told) > moment
    }

    /// The longest time without a decision among those that ended since the last call, and the one that lasts.
    #[cfg(feature = "cluster")]
    pub(crate) fn longest_stall(&self) -> Duration {
        let lasting = Instant::now().duration_since(*lock(&self.told));
        std::mem::take(&mut *lock(&self.stall)).max(lasting)
    }

    /// What was answered so far.
    pub(crate) fn answers(&self) -> Answers {
        let items = lock(&self.items);
        let count = |fate| items.iter().filter(|item| item.fate == fate).count();
        Answers {
            accepted: count(Fate::Accepted),
            rejected: count(Fate::Rejected),
            contradicted: items.iter().filter(|item| item.contradicted).count(),
        }
    }

    /// The bytes of all payments that were accepted.
    #[cfg(feature = "cluster")]
    pub(crate) fn accepted(&self) -> Vec<Bytes> {
        let items = lock(&self.items);
        items.iter().filter(|item| item.fate == Fate::Accepted).map(|item| item.bytes.clone()).collect()
    }

    /// The first `outputs` outputs' payments and what was answered.
    pub(crate) fn fates(&self, outputs: usize) -> Vec<(TxId, Fate)> {
        lock(&self.items).iter().take(2 * outputs).map(|item| (item.txid, item.fate)).collect()
    }

    fn line(&self, number: usize) -> &Mutex<VecDeque<usize>> {
        &self.lines[number % self.lines.len()]
    }

    fn next_batch(&self, line: usize) -> (Vec<usize>, Vec<Bytes>) {
        let batch: Vec<usize> = {
            let mut line = lock(self.line(line));
            let size = BATCH.min(line.len());
            line.drain(..size).collect()
        };
        let items = lock(&self.items);
        let bytes = batch.iter().map(|index| items[*index].bytes.clone()).collect();
        (batch, bytes)
    }

    /// Takes the answers to a batch; gives what is not decided.
    fn take(&self, batch: Vec<usize>, answer: &SubmitResults) -> Vec<usize> {
        let mut items = lock(&self.items);
        let mut again = Vec::new();
        let mut decided = 0;
        for (index, result) in batch.into_iter().zip(&answer.results) {
            let fate = match result.outcome() {
                Outcome::Accepted => Fate::Accepted,
                Outcome::Rejected if is_lasting(result) => Fate::Rejected,
                _ => {
                    again.push(index);
                    continue;
                }
            };
            let item = &mut items[index];
            item.contradicted |= item.fate != Fate::Unknown && item.fate != fate;
            item.fate = fate;
            decided += 1;
        }
        self.undecided.fetch_sub(decided, Ordering::AcqRel);
        if decided > 0 {
            let now = Instant::now();
            let since = now.duration_since(std::mem::replace(&mut *lock(&self.told), now));
            let mut stall = lock(&self.stall);
            *stall = stall.max(since);
        }
        again
    }
}

/// Whether a refusal is the last word: another transaction spent an input. Any other one of a payment of outputs that are
/// there (it stood in line or waited for another shard too long) invites to hand the same bytes in again.
fn is_lasting(result: &SubmitResult) -> bool {
    !result.spent_by.is_empty()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps streams to one node busy until it is gone, or its line is empty and complete; what got no decision goes
/// to the next node's line.
pub(crate) async fn load(url: String, contest: Arc<Contest>, line: usize) {
    let streams = (0..STREAMS).map(|_| {
        let (url, contest) = (url.clone(), contest.clone());
        tokio::spawn(async move {
            let mut under_way: VecDeque<(u64, Vec<usize>)> = VecDeque::new();
            // Ends with an error when the node is killed: that is the point.
            let _ = stream(&url, &contest, line, &mut under_way).await;
            let mut next = lock(contest.line(line + 1));
            for index in under_way.into_iter().flat_map(|(_, batch)| batch) {
                next.push_front(index);
            }
        })
    });
    futures::future::join_all(streams).await;
}

async fn stream(
    url: &str,
    contest: &Contest,
    line: usize,
    under_way: &mut VecDeque<(u64, Vec<usize>)>,
) -> anyhow::Result<()> {
    let open = async { Stream::open(connect(url).await?).await };
    let Stream { send, mut receive } = tokio::time::timeout(PATIENCE, open).await??;
    let mut id = 0;
    loop {
        while under_way.len() < WINDOW {
            let (batch, transactions) = contest.next_batch(line);
            if batch.is_empty() {
                break;
            }
            under_way.push_back((id, batch));
            send.send(SubmitBatch { id, transactions, no_wait: false }).await?;
            id += 1;
        }
        if under_way.is_empty() {
            if contest.complete.load(Ordering::Acquire) {
                return Ok(());
            }
            tokio::time::sleep(REST).await;
            continue;
        }
        let answer = tokio::time::timeout(PATIENCE, receive.message()).await??;
        let answer = answer.context("the node closed the stream")?;
        let at = under_way.iter().position(|(id, _)| *id == answer.id).context("an answer to nothing")?;
        let (_, batch) = under_way.remove(at).context("just found")?;
        let again = contest.take(batch, &answer);
        lock(contest.line(line + 1)).extend(again);
    }
}

/// SplitMix64: moments of death need no better randomness.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
