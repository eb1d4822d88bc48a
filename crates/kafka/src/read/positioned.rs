//! Consumers for reads behind the tail: each stands at one place of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eschaton_ports::{LogError, LogRecord, TopicPartition};
use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::follower::damaged;
use super::page::Page;
use crate::KafkaConfig;
use crate::context::{Consumer, consumer, warm};
use crate::envelope;
use crate::error::{unavailable, words, words_on};
use crate::layout::{Layout, number, offset};

/// How long a poll waits for a record, so that a read that has some does not linger for more.
const POLL: Duration = Duration::from_millis(2);
/// A consumer that was not used for so long stops fetching.
const IDLE: Duration = Duration::from_secs(10);

/// Some consumers. Each read takes one out.
pub(super) struct Pool {
    config: ClientConfig,
    layout: Arc<Layout>,
    idle: Mutex<Vec<Positioned>>,
    /// Those that there are, and may be.
    made: AtomicUsize,
    most: usize,
    /// They keep their places after a read, and fetch ahead.
    stays: bool,
}

struct Positioned {
    consumer: Consumer,
    /// Where it stands: the next record it gives is the first at or after the offset.
    place: Option<(TopicPartition, u64)>,
    /// The client's position is of this place, not of the one before: a client that is moved reports its old position
    /// until it has let the old place go.
    moved: bool,
    /// It was consumed and did not fit.
    held: Option<LogRecord>,
    used: Instant,
}

impl Pool {
    /// For readers who go on from where they were. There are twice as many as threads, so that readers who take
    /// turns keep their places.
    pub(super) fn sequential(config: &KafkaConfig, layout: Arc<Layout>) -> Self {
        Self::new(config.positioned(), layout, config.read_threads * 2, true)
    }

    /// For single records here and there.
    pub(super) fn seeking(config: &KafkaConfig, layout: Arc<Layout>) -> Self {
        Self::new(config.seeking(), layout, config.read_threads, false)
    }

    fn new(config: ClientConfig, layout: Arc<Layout>, most: usize, stays: bool) -> Self {
        Self { config, layout, idle: Mutex::default(), made: AtomicUsize::new(0), most, stays }
    }

    /// Committed records from `from` on, at least one if there is one below `until`.
    pub(super) fn read(
        &self,
        at: TopicPartition,
        from: u64,
        until: u64,
        max_records: usize,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Vec<LogRecord>, LogError> {
        let mut positioned = self.take_out(at, from)?;
        let page =
            positioned.read(&self.layout, (at, from), until, Page::new(max_records, max_bytes), deadline);
        // After an error it is not known where it stands.
        if let Ok((page, ended)) = &page {
            let next = page.records.last().map_or(from, |record| record.offset + 1);
            positioned.place = Some((at, next));
            if *ended || !self.stays {
                positioned.rest();
            }
            self.idle.lock().push(positioned);
        } else {
            self.made.fetch_sub(1, Ordering::AcqRel);
        }
        page.map(|(page, _)| page.records)
    }

    /// One that stands there, or the longest unused, or a new one.
    #[allow(clippy::disallowed_methods, reason = "ages of caches, not decisions")]
    fn take_out(&self, at: TopicPartition, from: u64) -> Result<Positioned, LogError> {
        let mut idle = self.idle.lock();
        if let Some(index) = idle.iter().position(|positioned| positioned.place == Some((at, from))) {
            return Ok(idle.swap_remove(index));
        }
        let oldest = idle
            .iter()
            .enumerate()
            .min_by_key(|(_, positioned)| (positioned.place.is_some(), positioned.used));
        let full = self.made.load(Ordering::Acquire) >= self.most;
        let resting = oldest.filter(|(_, oldest)| oldest.place.is_none() || full).map(|(index, _)| index);
        let positioned = resting.map(|index| idle.swap_remove(index));
        drop(idle);
        let mut positioned = match positioned {
            Some(positioned) => positioned,
            None => {
                let made = consumer("reader", &self.config);
                let consumer = made.map_err(|error| unavailable("making a consumer", words(&error)))?;
                self.made.fetch_add(1, Ordering::AcqRel);
                warm(&consumer, &self.layout);
                Positioned { consumer, place: None, moved: false, held: None, used: Instant::now() }
            }
        };
        match positioned.stand(&self.layout, at, from) {
            Ok(()) => Ok(positioned),
            Err(error) => {
                self.made.fetch_sub(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }

    /// Stops those that fetch for nobody.
    pub(super) fn keep_house(&self) {
        for positioned in self.idle.lock().iter_mut() {
            if positioned.place.is_some() && positioned.used.elapsed() >= IDLE {
                positioned.rest();
            }
            if positioned.place.is_none() {
                let _ = positioned.consumer.poll(Duration::ZERO);
            }
        }
    }
}

impl Positioned {
    fn stand(&mut self, layout: &Layout, at: TopicPartition, from: u64) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        self.held = None;
        self.place = None;
        self.moved = false;
        list.add_partition_offset(layout.name(at.topic), number(at), offset(from))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| unavailable("positioning a consumer", words(&error)))?;
        self.position(layout, at);
        Ok(())
    }

    fn rest(&mut self) {
        self.place = None;
        self.held = None;
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "kafka consumer goes on fetching");
        }
    }

    /// Fills the page; true with it: everything below `until` was seen.
    #[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
    fn read(
        &mut self,
        layout: &Layout,
        (at, from): (TopicPartition, u64),
        until: u64,
        mut page: Page,
        deadline: Instant,
    ) -> Result<(Page, bool), LogError> {
        self.used = Instant::now();
        // The end that the client reports is of this moment if it was moved here for this read.
        let stood = self.place.is_none();
        if let Some(held) = self.held.take() {
            page.take(held);
        }
        loop {
            let next = page.records.last().map_or(from, |record| record.offset + 1);
            if next >= until || page.is_full() {
                return Ok((page, next >= until));
            }
            let mut ended = false;
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    self.moved = true;
                    let record = match envelope::decode(&message) {
                        Ok(record) => record,
                        Err(wrong) => return Err(damaged(at, message.offset(), &wrong)),
                    };
                    if !page.fits(record.payload.len()) {
                        self.held = Some(record);
                        return Ok((page, false));
                    }
                    page.take(record);
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended = stood,
                None => {}
                Some(Err(error)) => Self::check(layout, at, &error)?,
            }
            // Nothing came. Enough to give what there is; to say that there is nothing, the end must be passed.
            let ended = ended || self.position(layout, at).is_some_and(|position| position >= until);
            if ended || !page.records.is_empty() {
                return Ok((page, ended));
            }
            if Instant::now() >= deadline {
                return Err(unavailable(
                    "reading",
                    format!("no broker gave {at} from offset {from} in time"),
                ));
            }
        }
    }

    /// Everything of this place below it was consumed.
    fn position(&mut self, layout: &Layout, at: TopicPartition) -> Option<u64> {
        let list = self.consumer.position().ok()?;
        match list.find_partition(layout.name(at.topic), number(at))?.offset() {
            Offset::Offset(offset) if self.moved => u64::try_from(offset).ok(),
            Offset::Invalid => {
                self.moved = true;
                None
            }
            _ => None,
        }
    }

    /// The client repairs most trouble itself.
    fn check(layout: &Layout, at: TopicPartition, error: &KafkaError) -> Result<(), LogError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Err(LogError::Fatal {
                detail: format!("{at} no longer has what was to be read; topics must have retention.ms=-1"),
            }),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::TopicAuthorizationFailed) => {
                Err(unavailable(&format!("reading {at}"), words_on(error, "Read", layout.name(at.topic))))
            }
            _ => Ok(()),
        }
    }
}
