//! A partition's task: one request after the other, each of all that came meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eschaton_ports::NewRecord;
use rdkafka::Statistics;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{AppendProducer, Batch, Countdown, PARTS, Shared};
use crate::context::Context;
use crate::envelope;
use crate::error::{words, words_on};
use crate::layout::number;

/// A look at a full queue, at the latest.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// An append's records of this partition, with their places among all of the append.
pub(super) struct Part {
    pub(super) batch: Arc<Batch>,
    pub(super) records: Vec<(usize, NewRecord)>,
}

/// Works until nobody can append any more.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Part>) {
    let mut parts = Vec::new();
    while queue.recv_many(&mut parts, PARTS).await > 0 {
        parts.retain(|part| !part.batch.missing.is_unwanted());
        let count = parts.iter().map(|part| part.records.len()).sum();
        if count == 0 {
            continue;
        }
        let (done, answered) = oneshot::channel();
        let request = Arc::new(Countdown::new(count, done));
        match shared.producer() {
            Ok(producer) => {
                for Part { batch, records } in parts.drain(..) {
                    for (index, record) in records {
                        let ticket =
                            Ticket { batch: Arc::clone(&batch), index, request: Arc::clone(&request) };
                        shared.hand_over(&producer, record, ticket).await;
                    }
                }
            }
            Err(error) => {
                for Part { batch, records } in parts.drain(..) {
                    batch.fail(|| format!("making a producer failed: {}", words(&error)));
                    records.iter().for_each(|_| batch.missing.one());
                }
                continue;
            }
        }
        // The client reports each record within its message time-out; the rest is for a machine that stood still.
        let _ = tokio::time::timeout(shared.timeout * 2, answered).await;
    }
}

impl Shared {
    async fn hand_over(&self, producer: &AppendProducer, record: NewRecord, ticket: Ticket) {
        let mut ticket = Box::new(ticket);
        loop {
            // While the queue was full its caller may have been told that it failed.
            if ticket.batch.missing.is_unwanted() {
                ticket.count();
                return;
            }
            // Listen first, then try: room that is made in between is heard.
            let room = producer.context().room.notified();
            let message =
                BaseRecord::<(), [u8], _>::with_opaque_to(self.layout.name(record.to.topic), ticket)
                    .partition(number(record.to))
                    .payload(&record.payload[..])
                    .headers(envelope::headers(&record));
            match producer.send(message) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    ticket = refused.delivery_opaque;
                    // Bounded by the records before this one, which are delivered or fail in time.
                    let _ = tokio::time::timeout(ROOM_WAIT, room).await;
                }
                Err((error, refused)) => {
                    refused.delivery_opaque.batch.fail(|| words(&error));
                    refused.delivery_opaque.count();
                    return;
                }
            }
        }
    }
}

/// One record of a batch.
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
    request: Arc<Countdown>,
}

impl Ticket {
    fn count(&self) {
        self.batch.missing.one();
        self.request.one();
    }
}

/// Hears of each record once.
pub(super) struct Deliveries {
    context: Context,
    room: Notify,
}

impl Deliveries {
    pub(super) fn new() -> Self {
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
        let batch = &ticket.batch;
        match result {
            Ok(message) => {
                // A broker that had it already, from an attempt whose answer was lost, does not say where.
                match (u64::try_from(message.offset()), batch.offsets.get(ticket.index)) {
                    (Ok(offset), Some(slot)) => slot.store(offset, Ordering::Release),
                    _ => batch.fail(|| "a record is there, its offset is not known".to_owned()),
                }
            }
            Err((error, message)) => batch.fail(|| words_on(error, "Write", message.topic())),
        }
        ticket.count();
        self.room.notify_waiters();
    }
}
