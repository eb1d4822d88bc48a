//! One transaction on a claim's producer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eschaton_ports::{NewRecord, Position, TopicPartition};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Statistics, TopicPartitionList};

use super::outcome::{Failure, classify};
use crate::context::Context;
use crate::envelope;
use crate::error::words_on;
use crate::layout::{Layout, number, offset};

/// Between two looks at what was delivered. The library's own flush looks each 100 ms.
const TICK: Duration = Duration::from_micros(500);

/// How long a claim waits for its first connection before it asks for its coordinator all the same.
const CONNECT: Duration = Duration::from_secs(2);
/// A question that may wait long is asked in slices; between two, one looks whether its answer is still wanted.
pub(super) const SLICE: Duration = Duration::from_secs(1);
/// Why a claim was given up before it held.
pub(super) const UNWANTED: &str = "nobody waits for the claim any more";
/// A commit that follows the last one sooner may find its end not yet written everywhere.
const CLOSE: Duration = Duration::from_millis(30);

/// A claim's producer; used by one thread alone.
pub(super) struct Transactions {
    producer: BaseProducer<Delivered>,
    layout: Arc<Layout>,
    transaction_timeout: Duration,
    /// When the open transaction began.
    began: Instant,
    /// When the last one was committed.
    ended: Option<Instant>,
}

/// What became of the records of the transaction at hand.
#[derive(Default)]
struct Deliveries {
    offsets: Vec<Option<u64>>,
    missing: usize,
    /// The first, and the topic of its record.
    failure: Option<(KafkaError, String)>,
}

/// Hears of each record once.
pub(super) struct Delivered {
    context: Context,
    deliveries: Mutex<Deliveries>,
}

impl Delivered {
    pub(super) fn new() -> Self {
        Self { context: Context::new("claim"), deliveries: Mutex::default() }
    }
}

impl Transactions {
    #[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
    pub(super) fn new(
        producer: BaseProducer<Delivered>,
        layout: Arc<Layout>,
        transaction_timeout: Duration,
    ) -> Self {
        Self { producer, layout, transaction_timeout, began: Instant::now(), ended: None }
    }

    /// Waits for a connection: a client without one looks for its coordinator again only after half a second.
    pub(super) fn connect(&self) {
        let name = self.layout.name(eschaton_ports::Topic::Ledger);
        if let Err(error) = self.producer.client().fetch_metadata(Some(name), CONNECT) {
            tracing::debug!(%error, "kafka claim begins without a connection");
        }
    }

    /// Takes the transactional id over: what its former owner began is finished, and the owner fenced. Gives up soon when
    /// nobody wants it any more: a claim that comes late would fence the one who has the partition by then.
    pub(super) fn init(&mut self, deadline: Instant, wanted: impl Fn() -> bool) -> Result<(), Failure> {
        self.retrying(deadline, |this, left| {
            if !wanted() {
                return Err(KafkaError::ClientCreation(UNWANTED.to_owned()));
            }
            // The client goes on where it was when it is called again.
            this.producer.init_transactions(left.min(SLICE))
        })
    }

    /// Serves what the client has to tell.
    pub(super) fn serve(&self) {
        for _ in 0..8 {
            self.producer.poll(Duration::ZERO);
        }
    }

    /// Serves, and then rests a moment. Polling with a wait of a millisecond would be no rest: rdkafka rounds what is left
    /// of it down to zero and spins until it is over, a whole core for each claim.
    #[allow(clippy::disallowed_methods, reason = "a thread of its own waits for the engine")]
    fn tick(&self) {
        self.producer.poll(Duration::ZERO);
        std::thread::sleep(TICK);
    }

    /// Publishes outputs and writes positions, or says why not.
    #[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
    pub(super) fn commit(
        &mut self,
        outputs: &[NewRecord],
        offsets: &[(TopicPartition, u64)],
        metadata: impl Fn() -> Option<ConsumerGroupMetadata>,
        deadline: Instant,
    ) -> Result<Vec<Position>, Failure> {
        self.began = Instant::now();
        self.producer.begin_transaction().map_err(|error| self.failure(&error))?;
        *self.producer.context().deliveries.lock() =
            Deliveries { offsets: vec![None; outputs.len()], missing: outputs.len(), failure: None };
        // The coordinator turns a transaction's first request away while it still writes the end of the one before.
        // librdkafka asks again after 20 ms for a partition, and after `retry.backoff.ms` for positions. So positions go
        // first when the last commit was a moment ago, and otherwise along with the records.
        let close = self.ended.is_some_and(|ended| ended.elapsed() < CLOSE);
        if close {
            self.write_positions(offsets, &metadata, deadline)?;
        }
        for (index, output) in outputs.iter().enumerate() {
            self.send(index, output, deadline)?;
        }
        if !close {
            self.write_positions(offsets, &metadata, deadline)?;
        }
        self.delivered(deadline)?;
        // All is delivered, so that the flush inside has nothing to wait for.
        self.retrying(deadline, |this, left| this.producer.commit_transaction(left))?;
        self.ended = Some(Instant::now());
        let deliveries = std::mem::take(&mut *self.producer.context().deliveries.lock());
        let positions = outputs.iter().zip(deliveries.offsets);
        positions
            .map(|(output, offset)| offset.map(|offset| Position { at: output.to, offset }))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Failure::Lost("the broker gave no offset to a record that it took".to_owned()))
    }

    fn write_positions(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        metadata: impl Fn() -> Option<ConsumerGroupMetadata>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        if offsets.is_empty() {
            return Ok(());
        }
        // Fresh: the group's generation may have changed since the last time.
        let metadata = metadata().ok_or_else(|| Failure::Abort {
            detail: "the group's membership has ended".to_owned(),
            repeat: false,
        })?;
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (at, next) in offsets {
            list.add_partition_offset(self.layout.name(at.topic), number(*at), offset(*next))
                .map_err(|error| self.failure(&error))?;
        }
        self.retrying(deadline, |this, left| {
            this.producer.send_offsets_to_transaction(&list, &metadata, left)
        })
    }

    /// Gives the open transaction up; when this succeeds nothing of it is ever seen.
    pub(super) fn abort(&mut self, deadline: Instant) -> Result<(), Failure> {
        // Records that are on their way end first: the client's abort waits for their reports, which this thread serves.
        while self.producer.in_flight_count() > 0 {
            self.within(deadline)?;
            self.tick();
        }
        self.retrying(deadline, |this, left| this.producer.abort_transaction(left))
    }

    fn send(&self, index: usize, output: &NewRecord, deadline: Instant) -> Result<(), Failure> {
        loop {
            let record =
                BaseRecord::<(), [u8], usize>::with_opaque_to(self.layout.name(output.to.topic), index)
                    .partition(number(output.to))
                    .payload(&output.payload[..])
                    .headers(envelope::headers(output));
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => {
                    self.within(deadline)?;
                    self.tick();
                }
                Err((error, _)) => return Err(self.failure(&error)),
            }
        }
    }

    /// Waits until each record is acknowledged.
    fn delivered(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            {
                let mut deliveries = self.producer.context().deliveries.lock();
                if let Some((error, topic)) = deliveries.failure.take() {
                    drop(deliveries);
                    return Err(match self.failure(&error) {
                        Failure::Abort { repeat, .. } => {
                            Failure::Abort { detail: words_on(&error, "Write", &topic), repeat }
                        }
                        other => other,
                    });
                }
                if deliveries.missing == 0 && self.producer.in_flight_count() == 0 {
                    return Ok(());
                }
            }
            self.within(deadline)?;
            self.tick();
        }
    }

    /// Repeats a call while the client says that this may help.
    fn retrying(
        &mut self,
        deadline: Instant,
        call: impl Fn(&Self, Duration) -> Result<(), KafkaError>,
    ) -> Result<(), Failure> {
        loop {
            let left = self.within(deadline)?;
            match call(self, left).map_err(|error| self.failure(&error)) {
                Err(Failure::Retriable(detail)) => {
                    tracing::debug!(detail, "kafka transaction call is tried again");
                    self.tick();
                }
                other => return other,
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
    fn within(&self, deadline: Instant) -> Result<Duration, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Failure::Lost("no answer in time".to_owned())) } else { Ok(left) }
    }

    fn failure(&self, error: &KafkaError) -> Failure {
        let fatal = self.producer.client().fatal_error();
        classify(error, fatal, self.began.elapsed(), self.transaction_timeout)
    }

    /// The last thing the client reported on its own.
    pub(super) fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.producer.context().context.trouble()
    }
}

impl ClientContext for Delivered {
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

impl ProducerContext for Delivered {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let mut deliveries = self.deliveries.lock();
        deliveries.missing = deliveries.missing.saturating_sub(1);
        match result {
            Ok(message) => {
                if let Some(slot) = deliveries.offsets.get_mut(index) {
                    *slot = u64::try_from(message.offset()).ok();
                }
            }
            Err((error, message)) => {
                deliveries.failure.get_or_insert_with(|| (error.clone(), message.topic().to_owned()));
            }
        }
    }
}
