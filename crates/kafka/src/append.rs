//! Appends: one idempotent producer for all callers, and a task for each partition that gathers what they bring.
//!
//! librdkafka has one request of five records or more under way to a partition of an idempotent producer
//! (`RD_KAFKA_IDEMP_MAX_INFLIGHT`, which it compares with records), and its thread spins while others wait for it. So
//! nothing is handed to it before the partition's last request is answered; what comes meanwhile makes the next.

mod sender;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use eschaton_ports::{LogError, NewRecord, Position, TopicPartition};
use parking_lot::{Mutex, RwLock};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{Producer, ThreadedProducer};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use self::sender::{Deliveries, Part};
use crate::error::{is_denial, unavailable};
use crate::layout::Layout;

/// Appends that wait for a partition's task; with more, callers wait.
const PARTS: usize = 256;

type AppendProducer = ThreadedProducer<Deliveries>;

/// For all callers.
pub(crate) struct Appender {
    shared: Arc<Shared>,
    /// Where the tasks run: callers' own runtimes may end before the log.
    runtime: Handle,
    /// A task's queue; the task ends with it.
    queues: Mutex<HashMap<TopicPartition, mpsc::Sender<Part>>>,
}

/// What callers and tasks use.
struct Shared {
    config: ClientConfig,
    layout: Arc<Layout>,
    timeout: Duration,
    /// Made anew when it has failed for good.
    producer: RwLock<Arc<AppendProducer>>,
}

impl Appender {
    /// In a runtime, which has to last as long as the appender.
    pub(crate) fn start(
        config: ClientConfig,
        layout: Arc<Layout>,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let producer = RwLock::new(Arc::new(config.create_with_context(Deliveries::new())?));
        let shared = Arc::new(Shared { config, layout, timeout, producer });
        Ok(Self { shared, runtime: Handle::current(), queues: Mutex::default() })
    }

    /// Publishes records that were checked. They reach each partition in their order; if it fails, any of
    /// them may have been published. Of one that is dropped, what was not handed to the client yet is never published.
    pub(crate) async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        let partitions: Vec<TopicPartition> = records.iter().map(|record| record.to).collect();
        let (done, delivered) = oneshot::channel();
        let batch = Arc::new(Batch {
            offsets: records.iter().map(|_| AtomicU64::new(0)).collect(),
            failure: Mutex::new(None),
            missing: Countdown::new(records.len(), done),
        });
        let mut parts: Vec<(TopicPartition, Vec<(usize, NewRecord)>)> = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            match parts.iter_mut().find(|(at, _)| *at == record.to) {
                Some((_, part)) => part.push((index, record)),
                None => parts.push((record.to, vec![(index, record)])),
            }
        }
        let handed = async {
            for (at, records) in parts {
                // The tasks live as long as this.
                let _ = self.queue(at).send(Part { batch: Arc::clone(&batch), records }).await;
            }
            delivered.await
        };
        // Who waits behind a request that fails is sent when that has failed, and then fails in its turn; librdkafka
        // reports each record within its message time-out.
        if !matches!(tokio::time::timeout(self.shared.timeout * 2, handed).await, Ok(Ok(()))) {
            return Err(unavailable("appending", "no broker acknowledged in time"));
        }
        if let Some(failure) = batch.failure.lock().take() {
            // A user who may write nowhere gets no producer id; the records then say only that they were dropped.
            let fatal = self.shared.producer.read().client().fatal_error();
            let failure = match (fatal, partitions.first()) {
                (Some((code, detail)), Some(at)) if is_denial(code) => {
                    let topic = self.shared.layout.name(at.topic);
                    format!("{detail}: this user lacks the right Write on topic {topic}; grant it")
                }
                _ => failure,
            };
            return Err(unavailable("appending", failure));
        }
        let offsets = batch.offsets.iter().map(|offset| offset.load(Ordering::Acquire));
        Ok(partitions.into_iter().zip(offsets).map(|(at, offset)| Position { at, offset }).collect())
    }

    fn queue(&self, at: TopicPartition) -> mpsc::Sender<Part> {
        let mut queues = self.queues.lock();
        let queue = queues.entry(at).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(PARTS);
            self.runtime.spawn(sender::run(Arc::clone(&self.shared), receiver));
            sender
        });
        queue.clone()
    }
}

impl Shared {
    /// A producer that works: one that lost count of its sequence numbers never works again.
    fn producer(&self) -> Result<Arc<AppendProducer>, KafkaError> {
        let producer = Arc::clone(&*self.producer.read());
        let Some((code, detail)) = producer.client().fatal_error() else { return Ok(producer) };
        let mut current = self.producer.write();
        if Arc::ptr_eq(&current, &producer) {
            tracing::warn!(%code, detail, "kafka producer of appends failed for good; making another");
            let made = self.config.create_with_context(Deliveries::new())?;
            let failed = std::mem::replace(&mut *current, Arc::new(made));
            // Dropping one waits for its thread; nobody here should.
            let _ = std::thread::Builder::new().name("kafka-drop".to_owned()).spawn(move || drop(failed));
        }
        Ok(Arc::clone(&current))
    }
}

/// Records that were appended together.
struct Batch {
    offsets: Vec<AtomicU64>,
    /// The first.
    failure: Mutex<Option<String>>,
    missing: Countdown,
}

impl Batch {
    fn fail(&self, why: impl FnOnce() -> String) {
        self.failure.lock().get_or_insert_with(why);
    }
}

/// Tells when the last of so many is there.
struct Countdown {
    missing: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

impl Countdown {
    fn new(count: usize, done: oneshot::Sender<()>) -> Self {
        Self { missing: AtomicUsize::new(count), done: Mutex::new(Some(done)) }
    }

    fn one(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = self.done.lock().take()
        {
            // Who waited may be gone.
            let _ = done.send(());
        }
    }

    /// Nobody waits any more.
    fn is_unwanted(&self) -> bool {
        self.done.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}
