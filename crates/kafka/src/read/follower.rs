//! One consumer for the ends of all partitions that somebody reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eschaton_ports::{LogError, LogRecord};
use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::positioned::Pool;
use super::tail::Partition;
use crate::context::{Consumer, warm};
use crate::envelope;
use crate::error::{unavailable, words};
use crate::layout::{Layout, number, offset};

/// How long a poll waits for a record; also until a new partition joins.
const POLL: Duration = Duration::from_millis(10);
/// Records between two looks at the rest.
const ROUND: usize = 512;
/// Between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// A partition that nobody asked for in so many rounds of housekeeping is let go.
const IDLE_ROUNDS: u32 = 60;

/// The thread's ear.
pub(super) struct Follower {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Partitions that begin to be followed, by their number.
    wanted: Mutex<Vec<usize>>,
    served: Mutex<Vec<Arc<Consumer>>>,
    stop: AtomicBool,
}

struct Thread {
    consumer: Consumer,
    layout: Arc<Layout>,
    partitions: Arc<[Partition]>,
    pools: [Arc<Pool>; 2],
    shared: Arc<Shared>,
    followed: HashMap<usize, Followed>,
    /// What was delivered and not handed over.
    delivered: HashMap<usize, Vec<LogRecord>>,
}

/// A partition that is followed.
#[derive(Default)]
struct Followed {
    /// Rounds of housekeeping without a question.
    idle: u32,
    /// The client's position is of this time, not of an earlier one: a client that left a partition reports its old
    /// position until it has let it go.
    begun: bool,
}

impl Follower {
    pub(super) fn start(
        consumer: Consumer,
        layout: Arc<Layout>,
        partitions: Arc<[Partition]>,
        served: Vec<Arc<Consumer>>,
        pools: [Arc<Pool>; 2],
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { served: Mutex::new(served), ..Shared::default() });
        let (followed, delivered) = (HashMap::new(), HashMap::new());
        let mut thread =
            Thread { consumer, layout, partitions, pools, shared: Arc::clone(&shared), followed, delivered };
        std::thread::Builder::new().name("kafka-follow".to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    /// Follows a partition that has begun.
    pub(super) fn follow(&self, index: usize) {
        self.shared.wanted.lock().push(index);
    }

    /// Serves the events of a consumer that nobody polls.
    pub(super) fn serve(&self, consumer: Arc<Consumer>) {
        self.shared.served.lock().push(consumer);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

impl Thread {
    #[allow(clippy::disallowed_methods, reason = "housekeeping of caches, not decisions")]
    fn run(&mut self) {
        let asker = self.shared.served.lock().first().cloned();
        for consumer in asker.as_deref().into_iter().chain([&self.consumer]) {
            warm(consumer, &self.layout);
        }
        let mut kept = Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            if self.join() {
                // The positions before the first records.
                self.hand_over();
            }
            self.round();
            if kept.elapsed() >= HOUSEKEEPING {
                kept = Instant::now();
                self.keep_house();
            }
        }
        for partition in self.partitions.iter() {
            let closed = LogError::Unavailable { detail: "the log is closed".to_owned() };
            partition.forget(Some(closed));
        }
    }

    /// Adds the partitions that are wanted; whether there were any.
    fn join(&mut self) -> bool {
        let wanted = std::mem::take(&mut *self.shared.wanted.lock());
        let any = !wanted.is_empty();
        for index in wanted {
            let Some(partition) = self.partitions.get(index) else { continue };
            let Some(from) = partition.start() else { continue };
            let mut list = TopicPartitionList::with_capacity(1);
            let name = self.layout.name(partition.at.topic);
            let added = list
                .add_partition_offset(name, number(partition.at), offset(from))
                .and_then(|()| self.consumer.incremental_assign(&list));
            match added {
                Ok(()) => {
                    self.followed.insert(index, Followed::default());
                }
                Err(error) => partition.forget(Some(unavailable("following a partition", words(&error)))),
            }
        }
        any
    }

    /// Takes what is there, at most a round, and hands it over.
    fn round(&mut self) {
        let consumer = &self.consumer;
        let mut trouble = None;
        for taken in 0..ROUND {
            match consumer.poll(if taken == 0 { POLL } else { Duration::ZERO }) {
                Some(Ok(message)) => {
                    if let Err(wrong) = take(&self.layout, &mut self.delivered, &message) {
                        trouble = Some(wrong);
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    trouble = trouble_of(&error);
                    break;
                }
                None => break,
            }
        }
        self.hand_over();
        if let Some(trouble) = trouble {
            tracing::warn!(%trouble, "kafka partitions are followed no more, until somebody reads them");
            for index in self.followed.keys().copied().collect::<Vec<_>>() {
                self.leave(index, Some(trouble.clone()));
            }
        }
    }

    /// Records, and positions: where a partition ends with ends of transactions only the position tells that they were
    /// passed.
    fn hand_over(&mut self) {
        if self.followed.is_empty() {
            self.delivered.clear();
            return;
        }
        let positions = self.consumer.position().ok();
        for (index, followed) in &mut self.followed {
            let Some(partition) = self.partitions.get(*index) else { continue };
            let records = self.delivered.remove(index).unwrap_or_default();
            let name = self.layout.name(partition.at.topic);
            let found = positions.as_ref().and_then(|list| list.find_partition(name, number(partition.at)));
            let offset = found.map(|element| element.offset());
            followed.begun |= !records.is_empty() || offset == Some(Offset::Invalid);
            let position = match offset {
                Some(Offset::Offset(offset)) if followed.begun => u64::try_from(offset).ok(),
                _ => None,
            };
            partition.grow(records, position);
        }
        self.delivered.clear();
    }

    fn leave(&mut self, index: usize, trouble: Option<LogError>) {
        self.followed.remove(&index);
        let Some(partition) = self.partitions.get(index) else { return };
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(self.layout.name(partition.at.topic), number(partition.at));
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(%error, "kafka partition was not let go");
        }
        partition.forget(trouble);
    }

    /// Lets partitions go that nobody reads, and serves consumers that nobody polls.
    fn keep_house(&mut self) {
        let mut idle = Vec::new();
        for (index, followed) in &mut self.followed {
            if self.partitions.get(*index).is_some_and(Partition::is_idle) {
                followed.idle += 1;
            } else {
                followed.idle = 0;
            }
            if followed.idle >= IDLE_ROUNDS {
                idle.push(*index);
            }
        }
        for index in idle {
            self.leave(index, None);
        }
        let served = self.shared.served.lock().clone();
        for consumer in served {
            for _ in 0..8 {
                match consumer.poll(Duration::ZERO) {
                    Some(Err(error)) => consumer.context().hear(&error, &words(&error)),
                    Some(Ok(_)) => {}
                    None => break,
                }
            }
        }
        for pool in &self.pools {
            pool.keep_house();
        }
    }
}

fn take(
    layout: &Layout,
    delivered: &mut HashMap<usize, Vec<LogRecord>>,
    message: &BorrowedMessage<'_>,
) -> Result<(), LogError> {
    let at = layout.parse(message.topic(), message.partition());
    let Some((at, index)) = at.and_then(|at| Some((at, layout.index(at).ok()?))) else { return Ok(()) };
    let record = envelope::decode(message).map_err(|wrong| damaged(at, message.offset(), &wrong))?;
    delivered.entry(index).or_default().push(record);
    Ok(())
}

pub(super) fn damaged(at: eschaton_ports::TopicPartition, offset: i64, wrong: &str) -> LogError {
    LogError::Fatal { detail: format!("offset {offset} of {at} is not a record of this ledger: {wrong}") }
}

/// What ends the following. The client repairs most trouble itself.
fn trouble_of(error: &KafkaError) -> Option<LogError> {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code()?;
    let ends = matches!(
        code,
        Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
    );
    let detail = match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange => {
            "the log no longer has what was to be read: it was trimmed, or lost its end"
        }
        _ => "the cluster refuses it",
    };
    ends.then(|| unavailable(detail, words(error)))
}
