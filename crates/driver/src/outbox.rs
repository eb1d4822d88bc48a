use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use eschaton_core::{RecordId, Topic, TopicPartition};
use eschaton_ports::{Clock, Log, LogError, NewRecord};
use eschaton_types::pb::log::{Message, Outbox as OutboxMessage, Sent};
use futures::future::BoxFuture;

use crate::planted::{Planted, PlantedBug};
use crate::trouble::appending;

/// Records of about this many fit one append; a single batch may hold more.
const APPEND_RECORDS: usize = 4_096;

/// What a worker tells others of its kind after the commits that decided it, in the commits' order and without a gap.
///
/// The commit records each message, so that whoever opens the worker next sends again what may be missing. An append
/// that fails is repeated whole, and receivers drop what they have and what comes too early.
pub(crate) struct Outbox {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    retry_ms: u64,
    group: String,
    /// Batches in commit order; those without messages wait their turn.
    waiting: VecDeque<Batch>,
    sending: Option<Sending>,
    /// Records of all batches that are not sent.
    records: usize,
    done: Done,
    planted: Planted,
}

struct Batch {
    messages: Vec<NewRecord>,
    done: Done,
}

/// All messages up to here are on the log.
#[derive(Clone, Copy, Default)]
struct Done {
    /// Of the last batch.
    number: u64,
    /// The next offset of `changes` after that batch.
    changes_next: u64,
}

struct Sending {
    append: BoxFuture<'static, Result<(), LogError>>,
    records: usize,
    done: Done,
}

impl Outbox {
    /// Of a worker that had sent everything before this offset of `changes`.
    pub(crate) fn new(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        retry_ms: u64,
        group: String,
        changes_next: u64,
        planted: Planted,
    ) -> Self {
        let done = Done { number: 0, changes_next };
        let (waiting, sending) = (VecDeque::new(), None);
        Self { log, clock, retry_ms, group, waiting, sending, records: 0, done, planted }
    }

    /// Records that wait.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// The number of the last batch all of whose messages are sent, and of all before it.
    pub(crate) fn sent(&self) -> u64 {
        self.done.number
    }

    /// Where `changes` may hold messages that are not sent.
    pub(crate) fn unsent_from(&self) -> u64 {
        self.done.changes_next
    }

    /// Takes a committed batch's messages.
    pub(crate) fn put(&mut self, number: u64, changes_next: u64, messages: Vec<NewRecord>) {
        self.records += messages.len();
        self.waiting.push_back(Batch { messages, done: Done { number, changes_next } });
    }

    /// Goes on sending. Ready: nothing is left, or it failed.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        loop {
            let Some(sending) = &mut self.sending else {
                self.sending = self.next_append();
                if self.sending.is_none() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            };
            let Poll::Ready(appended) = sending.append.as_mut().poll(context) else { return Poll::Pending };
            if let Some(sending) = self.sending.take() {
                appended?;
                self.records -= sending.records;
                self.done = sending.done;
            }
        }
    }

    /// The oldest messages as one append; none when only batches without messages waited.
    fn next_append(&mut self) -> Option<Sending> {
        let (mut messages, mut done) = (Vec::new(), None);
        while self
            .waiting
            .front()
            .is_some_and(|next| messages.is_empty() || messages.len() + next.messages.len() <= APPEND_RECORDS)
            && let Some(next) = self.waiting.pop_front()
        {
            messages.extend(next.messages);
            done = Some(next.done);
        }
        let done = done?;
        if messages.is_empty() {
            self.done = done;
            return None;
        }
        let (log, clock, retry_ms, group) =
            (self.log.clone(), self.clock.clone(), self.retry_ms, self.group.clone());
        let records = messages.len();
        let once = self.planted.has(PlantedBug::SendsOnce);
        let append = Box::pin(async move {
            let began = clock.now_ms();
            if once {
                let _ = log.append(messages).await;
                return Ok(());
            }
            appending(log.as_ref(), clock.as_ref(), retry_ms, &group, &messages).await?;
            metrics::histogram!("eschaton_worker_send_seconds", "group" => group)
                .record(std::time::Duration::from_millis(clock.now_ms().saturating_sub(began)));
            Ok(())
        });
        Some(Sending { append, records, done })
    }
}

/// How many messages each receiver was sent.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// The sender's partition of the topic that records them.
    source: TopicPartition,
    counts: BTreeMap<u32, u64>,
}

impl Numbers {
    pub(crate) fn new(source: TopicPartition) -> Self {
        Self { source, counts: BTreeMap::new() }
    }

    /// As a commit recorded it.
    pub(crate) fn follow(&mut self, outbox: &OutboxMessage) {
        self.counts = outbox.sent.iter().map(|sent| (sent.partition, sent.count)).collect();
    }

    /// Names the messages by their numbers, and gives what their commit records of them.
    pub(crate) fn number(&mut self, messages: &mut [NewRecord]) -> Vec<Message> {
        let number = |record: &mut NewRecord| {
            let count = self.counts.entry(record.to.partition).or_default();
            let number = *count;
            *count += 1;
            record.id = Some(RecordId { source: self.source, offset: number, index: 0 });
            let (partition, at_ms, payload) = (record.to.partition, record.at_ms, record.payload.clone());
            Message { partition, number, at_ms, payload }
        };
        messages.iter_mut().map(number).collect()
    }

    /// The form of a commit's record; none before the first message.
    pub(crate) fn recorded(&self, unsent_from: u64) -> Option<OutboxMessage> {
        let sent = self.counts.iter().map(|(partition, count)| Sent { partition: *partition, count: *count });
        (!self.counts.is_empty()).then(|| OutboxMessage { unsent_from, sent: sent.collect() })
    }

    /// A recorded message as it is appended. It carries no trace.
    pub(crate) fn record(&self, to: Topic, message: Message) -> NewRecord {
        let Message { partition, number, at_ms, payload } = message;
        NewRecord {
            to: TopicPartition { topic: to, partition },
            at_ms,
            id: Some(RecordId { source: self.source, offset: number, index: 0 }),
            trace: None,
            payload,
        }
    }
}
