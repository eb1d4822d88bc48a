//! Appends: one idempotent producer for all callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use eschaton_ports::{LogError, NewRecord, Position};
use parking_lot::{Mutex, RwLock};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Statistics};
use tokio::sync::{Notify, oneshot};

use crate::context::Context;
use crate::envelope;
use crate::error::{is_denial, unavailable, words, words_on};
use crate::layout::{Layout, number};

/// A look at a full queue, at the latest.
const ROOM_WAIT: Duration = Duration::from_millis(20);

type AppendProducer = ThreadedProducer<Deliveries>;

/// The producer, made anew when it has failed for good.
pub(crate) struct Appender {
    config: ClientConfig,
    layout: Arc<Layout>,
    timeout: Duration,
    producer: RwLock<Arc<AppendProducer>>,
}

impl Appender {
    pub(crate) fn start(
        config: ClientConfig,
        layout: Arc<Layout>,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let producer = RwLock::new(Arc::new(config.create_with_context(Deliveries::new())?));
        Ok(Self { config, layout, timeout, producer })
    }

    /// Publishes records that were checked. They reach each partition in their order; if it fails, any of
    /// them may have been published.
    pub(crate) async fn append(&self, records: &[NewRecord]) -> Result<Vec<Position>, LogError> {
        let producer = self.producer()?;
        let (done, delivered) = oneshot::channel();
        let batch = Arc::new(Batch {
            offsets: records.iter().map(|_| AtomicU64::new(0)).collect(),
            missing: AtomicUsize::new(records.len()),
            failure: Mutex::new(None),
            done: Mutex::new(Some(done)),
        });
        for (index, record) in records.iter().enumerate() {
            let mut ticket = Box::new(Ticket { batch: Arc::clone(&batch), index });
            loop {
                // Listen first, then try: room that is made in between is heard.
                let room = producer.context().room.notified();
                let message =
                    BaseRecord::<(), [u8], _>::with_opaque_to(self.layout.name(record.to.topic), ticket)
                        .partition(number(record.to))
                        .payload(&record.payload[..])
                        .headers(envelope::headers(record));
                match producer.send(message) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                        ticket = refused.delivery_opaque;
                        // Bounded by the records before this one, which are delivered or fail in time.
                        let _ = tokio::time::timeout(ROOM_WAIT, room).await;
                    }
                    Err((error, _)) => return Err(unavailable("appending", words(&error))),
                }
            }
        }
        // librdkafka reports each record within its message time-out; the rest is for a machine that stood still.
        match tokio::time::timeout(self.timeout * 2, delivered).await {
            Ok(Ok(())) => {}
            _ => return Err(unavailable("appending", "no broker acknowledged in time")),
        }
        if let Some(failure) = batch.failure.lock().take() {
            // A user who may write nowhere gets no producer id; the records then say only that they were dropped.
            let failure = match (producer.client().fatal_error(), records.first()) {
                (Some((code, detail)), Some(record)) if is_denial(code) => {
                    let topic = self.layout.name(record.to.topic);
                    format!("{detail}: this user lacks the right Write on topic {topic}; grant it")
                }
                _ => failure,
            };
            return Err(unavailable("appending", failure));
        }
        let offsets = batch.offsets.iter().map(|offset| offset.load(Ordering::Acquire));
        Ok(records.iter().zip(offsets).map(|(record, offset)| Position { at: record.to, offset }).collect())
    }

    /// A producer that works: one that lost count of its sequence numbers never works again.
    fn producer(&self) -> Result<Arc<AppendProducer>, LogError> {
        let producer = Arc::clone(&*self.producer.read());
        let Some((code, detail)) = producer.client().fatal_error() else { return Ok(producer) };
        let mut current = self.producer.write();
        if Arc::ptr_eq(&current, &producer) {
            tracing::warn!(%code, detail, "kafka producer of appends failed for good; making another");
            let made = self.config.create_with_context(Deliveries::new());
            let failed = std::mem::replace(
                &mut *current,
                Arc::new(made.map_err(|error| unavailable("making a producer", words(&error)))?),
            );
            // Dropping one waits for its thread; nobody here should.
            let _ = std::thread::Builder::new().name("kafka-drop".to_owned()).spawn(move || drop(failed));
        }
        Ok(Arc::clone(&current))
    }
}

/// Records that were appended together.
struct Batch {
    offsets: Vec<AtomicU64>,
    missing: AtomicUsize,
    failure: Mutex<Option<String>>,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

/// One record of a batch.
struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

/// Hears of each record once.
struct Deliveries {
    context: Context,
    room: Notify,
}

impl Deliveries {
    fn new() -> Self {
        Self { context: Context::new("append"), room: Notify::new() }
    }
}

impl ClientContext for Deliveries {
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

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let Ticket { batch, index } = *ticket;
        match result {
            Ok(message) => {
                // A broker that had it already, from an attempt whose answer was lost, does not say where.
                match (u64::try_from(message.offset()), batch.offsets.get(index)) {
                    (Ok(offset), Some(slot)) => slot.store(offset, Ordering::Release),
                    _ => {
                        *batch.failure.lock() = Some("a record is there, its offset is not known".to_owned())
                    }
                }
            }
            Err((error, message)) => {
                batch.failure.lock().get_or_insert_with(|| words_on(error, "Write", message.topic()));
            }
        }
        if batch.missing.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = batch.done.lock().take()
        {
            // Who appended may be gone.
            let _ = done.send(());
        }
        self.room.notify_waiters();
    }
}
