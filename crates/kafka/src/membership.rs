//! Membership of a consumer group: which partitions this process should claim.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use eschaton_ports::{Change, LogError, Membership, Release, Topic};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Statistics, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use crate::context::Context;
use crate::error::{invalid, is_denial, unavailable, words};
use crate::layout::Layout;
use crate::{KafkaConfig, metrics};

/// Changes that wait for their reader; a rebalance waits when they are full.
const CHANGES: usize = 16;
/// How long the poll below waits for an event.
const POLL: Duration = Duration::from_millis(100);

/// How long a leaving member waits until the group knows.
const LEAVE: Duration = Duration::from_secs(5);

/// A place in a group; assignment is cooperative-sticky (KIP-429). Dropping it leaves the group, except with a
/// `member_instance_id`, which keeps the place until the session time-out (KIP-345).
pub(crate) struct KafkaMembership {
    changes: mpsc::Receiver<Change>,
    member: Arc<Member>,
    /// Why the thread ended by itself.
    trouble: Arc<Mutex<Option<String>>>,
    /// Answered by the thread's end: the group knows.
    left: oneshot::Receiver<()>,
}

impl KafkaMembership {
    /// Joins `group` for the partitions of `topic`.
    pub(crate) fn join(config: &KafkaConfig, group: &str, topic: Topic) -> Result<Self, LogError> {
        let (sender, changes) = mpsc::channel(CHANGES);
        let stop = Arc::new(AtomicBool::new(false));
        let rebalances = Rebalances {
            context: Context::new("member"),
            changes: sender,
            revoke_timeout: Duration::from_millis(config.revoke_timeout_ms.into()),
            stop: Arc::clone(&stop),
        };
        let consumer: BaseConsumer<Rebalances> = config
            .member(group)
            .create_with_context(rebalances)
            .map_err(|error| invalid(format!("joining group {group}: {}", words(&error))))?;
        let layout = Layout::new(config);
        let subscribed = consumer.subscribe(&[layout.name(topic)]);
        subscribed.map_err(|error| unavailable(&format!("joining group {group}"), words(&error)))?;
        let polled = Arc::new(consumer);
        let weak = Arc::downgrade(&polled);
        let ended = Arc::clone(&stop);
        let trouble: Arc<Mutex<Option<String>>> = Arc::default();
        let told = Arc::clone(&trouble);
        let (leaving, left) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name(format!("kafka-member-{group}"))
            .spawn(move || {
                while !ended.load(Ordering::Acquire) {
                    // Paused partitions give no records; what an assignment fetched before the pause is not wanted.
                    if let Some(Err(error)) = polled.poll(POLL) {
                        tracing::debug!(%error, "kafka membership trouble");
                        // It would wait for ever, as if it stood by.
                        if error.rdkafka_error_code().is_some_and(is_denial) {
                            *told.lock() = Some(words(&error));
                            break;
                        }
                    }
                    if let Some((code, detail)) = polled.client().fatal_error() {
                        tracing::warn!(%code, detail, "kafka membership has ended");
                        *told.lock() = Some(detail);
                        break;
                    }
                }
                // Closes the consumer and leaves the group. With its context the changes end.
                drop(polled);
                drop(leaving);
            })
            .map_err(|error| unavailable("starting the membership's thread", error))?;
        Ok(Self { changes, member: Arc::new(Member { consumer: weak, stop }), trouble, left })
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

#[async_trait]
impl Membership for KafkaMembership {
    async fn next(&mut self) -> Result<Change, LogError> {
        let ended = || {
            let trouble = self.trouble.lock().take();
            unavailable("the group's membership has ended", trouble.as_deref().unwrap_or("join again"))
        };
        self.changes.recv().await.ok_or_else(ended)
    }

    async fn leave(&mut self) {
        self.member.stop.store(true, Ordering::Release);
        if tokio::time::timeout(LEAVE, &mut self.left).await.is_err() {
            tracing::warn!(
                "the group was not told of the leaving in time, and waits for the session time-out"
            );
        }
    }
}

/// The consumer behind a membership.
pub(crate) struct Member {
    /// Its thread owns it, and leaves the group there.
    consumer: Weak<BaseConsumer<Rebalances>>,
    stop: Arc<AtomicBool>,
}

impl Member {
    /// Generation and member id at this moment.
    pub(crate) fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.upgrade()?.group_metadata()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The memberships of one log, by group.
#[derive(Default)]
pub(crate) struct Members(Mutex<HashMap<String, Weak<Member>>>);

impl Members {
    pub(crate) fn add(&self, group: &str, member: &Arc<Member>) {
        let mut members = self.0.lock();
        members.retain(|_, member| member.strong_count() > 0);
        members.insert(group.to_owned(), Arc::downgrade(member));
    }

    /// The group's member: `None` if there never was one, `Some(None)` if it has ended.
    pub(crate) fn find(&self, group: &str) -> Option<Option<Arc<Member>>> {
        self.0.lock().get(group).map(Weak::upgrade)
    }
}

/// Turns rebalances into changes. Runs on the membership's thread.
pub(crate) struct Rebalances {
    context: Context,
    changes: mpsc::Sender<Change>,
    revoke_timeout: Duration,
    stop: Arc<AtomicBool>,
}

impl Rebalances {
    fn tell(&self, change: Change) {
        if !self.stop.load(Ordering::Acquire) {
            // Nobody listens any more: the membership is ending.
            let _ = self.changes.blocking_send(change);
        }
    }

    fn revoke(&self, partitions: Vec<u32>) {
        let (done, released) = oneshot::channel();
        metrics::rebalance("revoked");
        let release = Release::new(move || {
            // The revocation may have run out of time.
            let _ = done.send(());
        });
        let change = Change::Revoked(partitions, release);
        if self.stop.load(Ordering::Acquire) || self.changes.blocking_send(change).is_err() {
            return;
        }
        if !wait(released, self.revoke_timeout) {
            tracing::warn!("partitions are given up without being released; their claims will be fenced");
        }
    }
}

/// Waits for the release on a thread without a runtime; false: it took too long.
fn wait(mut released: oneshot::Receiver<()>, timeout: Duration) -> bool {
    let step = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    while waited < timeout {
        match released.try_recv() {
            Ok(()) | Err(oneshot::error::TryRecvError::Closed) => return true,
            Err(oneshot::error::TryRecvError::Empty) => std::thread::park_timeout(step),
        }
        waited += step;
    }
    false
}

fn numbers(list: &TopicPartitionList) -> Vec<u32> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }
    fn stats(&self, statistics: Statistics) {
        self.context.stats(statistics);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let partitions = numbers(list);
        if partitions.is_empty() {
            return;
        }
        if consumer.assignment_lost() {
            metrics::rebalance("lost");
            self.tell(Change::Lost(partitions));
        } else {
            self.revoke(partitions);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        if let Err(error) = consumer.pause(list) {
            tracing::warn!(%error, "kafka membership is not paused and fetches what nobody reads");
        }
        let partitions = numbers(list);
        if !partitions.is_empty() {
            metrics::rebalance("assigned");
            self.tell(Change::Assigned(partitions));
        }
    }
}
