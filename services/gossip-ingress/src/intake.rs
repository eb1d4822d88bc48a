//! The way from admitted bytes to the log. Submissions that arrive while a group is at work form the
//! next group: under load many connections share one round of checks, and rounds that wait share one append.

use std::sync::Arc;

use bytes::Bytes;
use eschaton_gossip::{Refused, Screened};
use eschaton_kit::Ports;
use eschaton_ledger::shards_of;
use eschaton_ports::{NewRecord, Topic, TopicPartition, TraceContext};
use eschaton_types::pb::log::{LedgerInput, ledger_input::Kind};
use eschaton_types::{Rules, Transaction, TxId};
use prost::Message;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::screening::{Item, screen};
use crate::waiting::{Batch, Entered, Place, Room, Waiting};
use crate::{Answer, Client, Unavailable, metrics};

/// Submissions that wait for a round.
const QUEUE: usize = 256;
/// Transactions of one round.
const ROUND: usize = 2_048;
/// Rounds that are checked and wait for an append.
const CHECKED: usize = 64;
/// Records of one append, unless one round has more.
const APPEND: usize = 4_096;
/// Appends under way.
const APPENDS: usize = 8;

/// A batch on its way in.
pub(crate) struct Submission {
    client: Client,
    items: Vec<Bytes>,
    room: Room,
    trace: Option<TraceContext>,
    reply: Reply,
}

/// Hands a batch in; returns once all its valid transactions are durable or known.
pub(crate) async fn hand_in(
    intake: &mpsc::Sender<Submission>,
    client: Client,
    items: Vec<Bytes>,
    room: Room,
    trace: Option<TraceContext>,
) -> Result<Arc<Batch>, Unavailable> {
    let stopped = || Unavailable("it is stopping".to_owned());
    let (reply, answer) = oneshot::channel();
    intake.send(Submission { client, items, room, trace, reply }).await.map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())?
}

/// The task that works rounds off. It ends when the last sender is gone.
pub(crate) struct Intake {
    rules: Rules,
    shards: u32,
    ports: Ports,
    waiting: Arc<Waiting>,
    /// Signature checks, on all cores.
    pool: ThreadPool,
}

impl Intake {
    pub(crate) fn start(
        rules: Rules,
        shards: u32,
        ports: Ports,
        waiting: Arc<Waiting>,
    ) -> anyhow::Result<mpsc::Sender<Submission>> {
        let pool = ThreadPoolBuilder::new().thread_name(|n| format!("screen-{n}")).build()?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(Self { rules, shards, ports, waiting, pool }.run(receiver));
        Ok(sender)
    }

    async fn run(self, mut queue: mpsc::Receiver<Submission>) {
        let this = Arc::new(self);
        let rounds = Arc::new(Semaphore::new(cores()));
        let (checked, waiting) = mpsc::channel(CHECKED);
        tokio::spawn(append(waiting, this.ports.clone(), this.waiting.clone()));
        while let Some(first) = queue.recv().await {
            // Neither is ever closed.
            let Ok(core) = rounds.clone().acquire_owned().await else { return };
            let mut items = first.items.len();
            let mut round = vec![first];
            while items < ROUND {
                let Ok(next) = queue.try_recv() else { break };
                items += next.items.len();
                round.push(next);
            }
            let (this, checked) = (this.clone(), checked.clone());
            tokio::spawn(async move {
                // The appending task ends after the last sender.
                let _ = checked.send(this.check(round).await).await;
                drop(core);
            });
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a measurement for metrics")]
    async fn check(&self, mut round: Vec<Submission>) -> Round {
        let began = std::time::Instant::now();
        let sizes: Vec<Vec<usize>> =
            round.iter().map(|submission| submission.items.iter().map(Bytes::len).collect()).collect();
        let items = round.iter_mut().flat_map(|submission| std::mem::take(&mut submission.items)).collect();
        let waiting = self.waiting.clone();
        let screened = screen(&self.pool, items, self.rules, move |txid| waiting.known(txid)).await;
        metrics::screened_in(began.elapsed());
        let mut screened = screened.into_iter();
        let mut entered = Round::default();
        for (submission, sizes) in round.into_iter().zip(sizes) {
            let part: Vec<Item> = screened.by_ref().take(sizes.len()).collect();
            submission.room.hand_over();
            let batch = self.enter(submission.client, part, &sizes, submission.trace, &mut entered);
            entered.replies.push((submission.reply, batch));
        }
        entered
    }

    /// Gives every item its answer or its place in line; what is new becomes a record.
    fn enter(
        &self,
        client: Client,
        screened: Vec<Item>,
        sizes: &[usize],
        trace: Option<TraceContext>,
        round: &mut Round,
    ) -> Arc<Batch> {
        let now_ms = self.ports.clock.now_ms();
        let (mut answers, mut ids) = (Vec::with_capacity(screened.len()), Vec::with_capacity(screened.len()));
        let mut valid: Vec<(usize, Box<Screened>)> = Vec::with_capacity(screened.len());
        let (mut invalid, mut freed) = (0, 0);
        for (index, item) in screened.into_iter().enumerate() {
            match item {
                Ok(screened) => {
                    ids.push(screened.transaction().txid);
                    answers.push(None);
                    valid.push((index, screened));
                }
                Err(Refused { txid, error }) => {
                    invalid += 1;
                    freed += sizes.get(index).copied().unwrap_or(0);
                    ids.push(txid.unwrap_or_default());
                    answers.push(Some(Answer::Invalid { txid, error }));
                }
            }
        }
        metrics::outcome("invalid", invalid);
        self.waiting.release(client.0, invalid, freed, now_ms);
        let batch = Batch::new(answers, ids);
        // One that was known a moment ago and is not any more has unchecked signatures.
        valid.retain(|(index, screened)| {
            let tx = screened.transaction();
            if !screened.is_known() || self.waiting.known(&tx.txid) {
                return true;
            }
            match tx.verify_signatures() {
                Ok(()) => true,
                Err(error) => {
                    metrics::outcome("invalid", 1);
                    self.waiting.release(client.0, 1, tx.bytes.len(), now_ms);
                    batch.answer(*index, Answer::Invalid { txid: Some(tx.txid), error });
                    false
                }
            }
        });
        let places = valid.iter().map(|(index, screened)| {
            let tx = screened.transaction();
            let place =
                Place { client: client.0, bytes: tx.bytes.len(), batch: batch.clone(), index: *index };
            (tx.txid, place)
        });
        let entered = self.waiting.enter(places);
        for ((index, screened), entered) in valid.into_iter().zip(entered) {
            let tx = screened.transaction();
            match entered {
                Entered::First => {
                    round.txids.push(tx.txid);
                    round.records.push(self.record(tx, now_ms, trace));
                }
                Entered::Joined => {
                    metrics::outcome("repeated", 1);
                    batch.join();
                }
                Entered::Accepted(at_ms) => {
                    metrics::outcome("repeated", 1);
                    self.waiting.release(client.0, 1, tx.bytes.len(), now_ms);
                    batch.answer(index, Answer::Accepted { txid: tx.txid, at_ms });
                }
            }
        }
        batch
    }

    fn record(&self, tx: &Transaction, now_ms: u64, trace: Option<TraceContext>) -> NewRecord {
        let partition = shards_of(tx, self.shards).first().copied().unwrap_or(0);
        NewRecord {
            to: TopicPartition { topic: Topic::Ledger, partition },
            at_ms: now_ms,
            id: None,
            trace,
            payload: Bytes::from(LedgerInput { kind: Some(Kind::Submit(tx.bytes.clone())) }.encode_to_vec()),
        }
    }
}

/// Appends what was checked. While the log is slow, rounds wait here and become one append: a log's appends cost
/// by their number, and small rounds one by one would keep it busy with a fraction of what it can take.
async fn append(mut checked: mpsc::Receiver<Round>, ports: Ports, waiting: Arc<Waiting>) {
    let appends = Arc::new(Semaphore::new(APPENDS));
    while let Some(mut round) = checked.recv().await {
        // Never closed.
        let Ok(place) = appends.clone().acquire_owned().await else { return };
        while round.records.len() < APPEND
            && let Ok(next) = checked.try_recv()
        {
            round.join(next);
        }
        let (ports, waiting) = (ports.clone(), waiting.clone());
        tokio::spawn(async move {
            round.append(&ports, &waiting).await;
            drop(place);
        });
    }
}

/// Where a submission learns that it is durable.
type Reply = oneshot::Sender<Result<Arc<Batch>, Unavailable>>;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A round after its checks.
#[derive(Default)]
struct Round {
    records: Vec<NewRecord>,
    txids: Vec<TxId>,
    replies: Vec<(Reply, Arc<Batch>)>,
}

impl Round {
    fn join(&mut self, other: Self) {
        self.records.extend(other.records);
        self.txids.extend(other.txids);
        self.replies.extend(other.replies);
    }

    async fn append(self, ports: &Ports, waiting: &Waiting) {
        let appended =
            if self.records.is_empty() { Ok(()) } else { ports.log.append(self.records).await.map(drop) };
        let outcome = appended.map_err(|error| Unavailable(error.to_string()));
        if let Err(error) = &outcome {
            metrics::outcome("unavailable", self.txids.len());
            // Who joined from other rounds waits for these as well: they learn to come again.
            for place in waiting.fail(&self.txids, ports.clock.now_ms()) {
                let answer = Answer::Busy { retry_after_ms: 1_000, message: error.to_string() };
                place.batch.answer(place.index, answer);
            }
        }
        for (reply, batch) in self.replies {
            // Who submitted may be gone; its transactions are decided all the same.
            let _ = reply.send(outcome.clone().map(|()| batch));
        }
    }
}
