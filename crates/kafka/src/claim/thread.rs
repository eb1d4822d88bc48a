//! The thread of a claim: takes the transactional id over, reads the positions, then commits what it is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use eschaton_ports::{LogError, Position, TopicPartition};
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::Request;
use super::outcome::Failure;
use super::transaction::{Delivered, SLICE, Transactions, UNWANTED};
use crate::KafkaConfig;
use crate::context::Consumer;
use crate::error::{is_denial, unavailable, words};
use crate::layout::{Layout, number};
use crate::membership::Members;
use crate::metrics;

/// An idle claim serves its client's events this often.
const IDLE: Duration = Duration::from_millis(500);
/// Attempts at one commit while the group regroups.
const ATTEMPTS: u32 = 3;

/// What a claim is made of.
pub(crate) struct Opening {
    pub(crate) config: KafkaConfig,
    pub(crate) layout: Arc<Layout>,
    /// As the port names it.
    pub(crate) group: String,
    pub(crate) partitions: Vec<TopicPartition>,
    /// Asks for the group's offsets; member of nothing.
    pub(crate) offsets: Arc<Consumer>,
    pub(crate) members: Arc<Members>,
    /// This claim's place among those that may be open.
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) place: Place,
}

/// One of the claims that may be open at once; free again when it is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    /// `None`: so many are open already.
    pub(crate) fn take(open: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

type Opened = (SyncSender<Request>, Vec<(TopicPartition, u64)>);

/// Starts the thread; returns when the claim holds.
pub(crate) async fn open(opening: Opening) -> Result<Opened, LogError> {
    let (requests, queue) = sync_channel(1);
    let (reply, answer) = oneshot::channel();
    let name = opening.partitions.first().map_or_else(String::new, ToString::to_string);
    let started = std::thread::Builder::new().name(format!("kafka-{name}")).spawn(move || {
        match Owner::take(opening, || !reply.is_closed()) {
            Ok((owner, positions)) => {
                // Who claimed may be gone; then the queue's other end is gone as well.
                let _ = reply.send(Ok(positions));
                owner.run(&queue);
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    });
    started.map_err(|error| unavailable("starting a claim's thread", error))?;
    let positions = answer.await.map_err(|_| unavailable("claiming", "the thread ended"))??;
    Ok((requests, positions))
}

/// Why the producer is gone.
enum Void {
    Fenced,
    Lost(String),
}

struct Owner {
    opening: Opening,
    transactions: Result<Transactions, Void>,
}

impl Owner {
    #[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
    fn take(
        opening: Opening,
        wanted: impl Fn() -> bool,
    ) -> Result<(Self, Vec<(TopicPartition, u64)>), LogError> {
        let timeout = Duration::from_millis(opening.config.transaction_timeout_ms.into());
        let deadline = Instant::now() + timeout;
        let first = opening.partitions.first().map_or_else(String::new, |at| {
            format!("{}.{}.{}", opening.config.group(&opening.group), at.topic.name(), at.partition)
        });
        let producer = opening
            .config
            .transactional(&first)
            .create_with_context(Delivered::new())
            .map_err(|error| unavailable("making a producer", words(&error)))?;
        let mut transactions = Transactions::new(producer, Arc::clone(&opening.layout), timeout);
        transactions.connect();
        transactions.init(deadline, &wanted).map_err(|failure| {
            transactions.serve();
            let trouble = transactions.trouble().map_or_else(String::new, |(_, reason)| reason);
            let what = format!("claiming with transactional id {first}");
            match failure {
                // A newer claim was faster.
                Failure::Fenced => LogError::Fenced { group: opening.group.clone() },
                Failure::Retriable(detail) | Failure::Lost(detail) | Failure::Abort { detail, .. } => {
                    unavailable(&what, format!("{detail} {trouble}").trim_end())
                }
            }
        })?;
        let positions = committed(&opening, deadline, wanted)?;
        Ok((Self { opening, transactions: Ok(transactions) }, positions))
    }

    fn run(mut self, queue: &Receiver<Request>) {
        loop {
            match queue.recv_timeout(IDLE) {
                Ok(Request { outputs, offsets, reply }) => {
                    let outcome = self.commit(&outputs, &offsets);
                    // Who asked may be gone; a claim whose last commit's outcome nobody heard is dropped next.
                    let _ = reply.send(outcome);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Ok(transactions) = &self.transactions {
                        transactions.serve();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
    fn commit(
        &mut self,
        outputs: &[eschaton_ports::NewRecord],
        offsets: &[(TopicPartition, u64)],
    ) -> Result<Vec<Position>, LogError> {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(self.opening.config.commit_timeout_ms.into());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let transactions = match &mut self.transactions {
                Ok(transactions) => transactions,
                Err(Void::Fenced) => return Err(LogError::Fenced { group: self.opening.group.clone() }),
                Err(Void::Lost(detail)) => {
                    return Err(unavailable("the claim is void, claim again", detail));
                }
            };
            let metadata = || metadata(&self.opening);
            let failure = match transactions.commit(outputs, offsets, metadata, deadline) {
                Ok(positions) => {
                    metrics::transaction("committed");
                    metrics::committed_in(began.elapsed());
                    return Ok(positions);
                }
                Err(Failure::Abort { detail, repeat }) => match transactions.abort(deadline) {
                    Ok(()) => {
                        metrics::transaction("aborted");
                        if repeat && attempts < ATTEMPTS {
                            tracing::debug!(group = self.opening.group, detail, "commit is tried again");
                            std::thread::park_timeout(Duration::from_millis(50));
                            continue;
                        }
                        return Err(unavailable("the commit was aborted and nothing published", detail));
                    }
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            self.give_up(failure);
        }
    }

    /// Drops the producer: it cannot tell any more what became of its transaction.
    fn give_up(&mut self, failure: Failure) {
        let group = &self.opening.group;
        let void = match failure {
            Failure::Fenced => {
                metrics::transaction("fenced");
                tracing::info!(group, "kafka claim was taken by a newer owner");
                Void::Fenced
            }
            Failure::Retriable(detail) | Failure::Lost(detail) | Failure::Abort { detail, .. } => {
                metrics::transaction("unknown");
                tracing::warn!(group, detail, "kafka transaction ended without an answer; the claim is void");
                Void::Lost(detail)
            }
        };
        self.transactions = Err(void);
    }
}

/// What the broker should know of the group at this moment.
fn metadata(opening: &Opening) -> Option<ConsumerGroupMetadata> {
    match opening.members.find(&opening.group) {
        Some(member) => member?.group_metadata(),
        None => opening.offsets.group_metadata(),
    }
}

/// The group's committed offsets. Stable: the consumer reads committed, so that librdkafka asks with
/// `require_stable`, and a transaction's pending offsets are waited for.
#[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
fn committed(
    opening: &Opening,
    deadline: Instant,
    wanted: impl Fn() -> bool,
) -> Result<Vec<(TopicPartition, u64)>, LogError> {
    let what = format!("reading the positions of group {}", opening.config.group(&opening.group));
    let mut detail = "no answer in time".to_owned();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(unavailable(&what, detail));
        }
        if !wanted() {
            return Err(unavailable(&what, UNWANTED));
        }
        let mut list = TopicPartitionList::with_capacity(opening.partitions.len());
        for at in &opening.partitions {
            list.add_partition(opening.layout.name(at.topic), number(*at));
        }
        let found = opening.offsets.committed_offsets(list, left.min(SLICE)).and_then(|list| {
            list.elements()
                .iter()
                .try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)?;
            Ok(list)
        });
        match found {
            Ok(list) => {
                opening.offsets.context().forget();
                return positions(opening, &list);
            }
            Err(error) => {
                detail = words(&error);
                if error.rdkafka_error_code().is_some_and(is_denial) {
                    return Err(unavailable(&what, detail));
                }
                // That the coordinator denied a right does not end the question; the client says it beside.
                if let Some(denial) = opening.offsets.context().denial() {
                    return Err(unavailable(&what, denial));
                }
                let unstable = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnstableOffsetCommit);
                tracing::debug!(detail, unstable, "kafka positions are asked for again");
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
}

fn positions(opening: &Opening, list: &TopicPartitionList) -> Result<Vec<(TopicPartition, u64)>, LogError> {
    let position = |at: &TopicPartition| {
        let found = list.find_partition(opening.layout.name(at.topic), number(*at))?;
        match found.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            Offset::Invalid => Some(0),
            _ => None,
        }
    };
    let positions = opening.partitions.iter().map(|at| {
        let next = position(at)
            .ok_or_else(|| LogError::Fatal { detail: format!("kafka gave no usable position of {at}") })?;
        Ok((*at, next))
    });
    positions.collect()
}
