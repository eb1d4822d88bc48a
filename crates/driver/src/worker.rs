use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_core::{Core, Family, LogTime, RecordId, RowChange, Topic, TopicPartition};
use eschaton_ports::{
    Claim, Clock, Log, LogRecord, NewRecord, Store, StoreBatch, StoreError, TraceContext, Watermark,
};
use eschaton_types::pb::log::{Changes, Message, RowChange as RowChangeMessage};
use eschaton_types::pb::state::WorkerRow;
use futures::future::{Either, select};
use prost::Message as _;

use crate::batch::{Batch, published};
use crate::changes::Parts;
use crate::opening::{self, Opened, changes_of};
use crate::outbox::{Numbers, Outbox};
use crate::planted::{Planted, PlantedBug};
use crate::trouble::{retrying, unless_fenced};
use crate::unwritten::Unwritten;
use crate::{Seen, WorkerError};

/// Makes a core from the rows that it keeps in memory.
#[async_trait]
pub trait Host: Send + Sync {
    /// The core.
    type Core: Core;
    /// Reads what the core keeps in memory. Called after the store has caught up with the log.
    async fn load(&self, store: &dyn Store) -> Result<Self::Core, WorkerError>;
    /// Sees the core between batches, for gauges.
    fn observe(&self, core: &Self::Core);
}

/// Watches steps of sampled traces.
pub trait Observer: Send + Sync {
    /// A record of this trace was consumed and its effects are durable.
    fn committed(&self, trace: &TraceContext, at: TopicPartition, offset: u64);
}

/// Bounds of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most records of one batch.
    pub batch_records: usize,
    /// About the most bytes of one batch.
    pub batch_bytes: usize,
    /// About the most bytes of one changes record.
    pub changes_bytes: usize,
    /// Rows that are committed and not yet in the store; with this many, the next batch waits.
    pub unwritten_rows: usize,
    /// About the most bytes of written rows to remember, so that they need not be read again. 0: none.
    pub cache_bytes: usize,
    /// Pause between attempts when the store does not answer, in milliseconds.
    pub retry_ms: u64,
    /// Least time from the beginning of one turn to the next, in milliseconds; 0: none. Where a commit costs much by itself,
    /// turns that follow each other at once fill the machine with commits, and all wait longer.
    pub turn_ms: u64,
    /// A turn of fewer records is followed by the next at once: at a low rate nobody should wait for another's commit. So is
    /// one that was full.
    pub turn_small: usize,
    /// Least time from the beginning of one write to the store to the next, in milliseconds, unless much waits; 0: none. What
    /// comes meanwhile goes with the next write, in fewer and larger statements.
    pub write_ms: u64,
    /// A write of fewer rows is followed by the next at once.
    pub write_small: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records: 1_024,
            batch_bytes: 512 << 10,
            changes_bytes: 2 << 20,
            unwritten_rows: 16_384,
            cache_bytes: 0,
            retry_ms: 100,
            turn_ms: 0,
            turn_small: 32,
            write_ms: 0,
            write_small: 256,
        }
    }
}

/// What a worker is made of.
pub struct WorkerSpec<H> {
    /// Consumer group; the worker's name is `group/partition`.
    pub group: String,
    /// What it consumes.
    pub input: TopicPartition,
    /// Of the tables that it writes.
    pub family: Family,
    /// Where its changed rows are recorded: this topic, the input's partition.
    pub changes: Topic,
    /// Makes its core.
    pub host: H,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// For pauses between attempts; never for decisions.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Limits,
    /// Watches sampled traces.
    pub observer: Option<Arc<dyn Observer>>,
}

/// A core at work on one partition.
pub struct Worker<H: Host> {
    spec: WorkerSpec<H>,
    planted: Planted,
    name: String,
    core: H::Core,
    claim: Box<dyn Claim>,
    next: u64,
    log_time: LogTime,
    seen: Seen,
    reapplied: u64,
    /// Of messages that follow their commits.
    numbers: Numbers,
    unwritten: Unwritten,
}

impl<H> WorkerSpec<H> {
    pub(crate) async fn retrying<T, F>(&self, operation: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        retrying(self.clock.as_ref(), self.limits.retry_ms, &self.group, operation).await
    }
}

/// What a turn had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worked {
    Nothing,
    /// So little that nobody should wait for more.
    Little,
    /// Gathering more makes the next commit worth its price.
    Much,
    /// As much as a batch holds: more waits already.
    Full,
}

impl Worked {
    fn of(records: &[LogRecord], limits: &Limits) -> Self {
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        // A read ends before the record that would be too much.
        if records.len() >= limits.batch_records || bytes >= limits.batch_bytes / 2 {
            Self::Full
        } else if records.len() < limits.turn_small {
            Self::Little
        } else {
            Self::Much
        }
    }
}

struct Stepped {
    records: usize,
    outputs: Vec<NewRecord>,
    rows: Vec<RowChange>,
    traces: Vec<(TraceContext, u64)>,
    next: u64,
}

impl<H: Host> Worker<H> {
    /// Claims the partition, brings the store up to the log, and loads the core. When this returns the
    /// former owner can commit nothing more; messages of what it had committed may still reach the log, a second time.
    pub async fn open(spec: WorkerSpec<H>) -> Result<Self, WorkerError> {
        Self::open_with(spec, Planted::NOTHING).await
    }

    /// As [`Worker::open`], with a bug for the simulator to find.
    #[cfg(feature = "planted-bugs")]
    pub async fn open_planted(spec: WorkerSpec<H>, bug: Option<PlantedBug>) -> Result<Self, WorkerError> {
        Self::open_with(spec, Planted::new(bug)).await
    }

    async fn open_with(spec: WorkerSpec<H>, planted: Planted) -> Result<Self, WorkerError> {
        let name = format!("{}/{}", spec.group, spec.input.partition);
        let began = spec.clock.now_ms();
        let mut claim = spec.log.claim(&spec.group, &[spec.input]).await?;
        let next = claim.positions().iter().find(|(at, _)| *at == spec.input).map_or(0, |(_, next)| *next);
        let opened = match opening::open(&spec, &name, next, planted).await {
            Ok(opened) => opened,
            Err(error) => return Err(unless_fenced(claim.as_mut(), error).await),
        };
        let Opened { reapplied, log_time, seen, core, numbers, changes_next } = opened;
        let took_ms = spec.clock.now_ms().saturating_sub(began);
        metrics::histogram!("eschaton_worker_open_seconds", "group" => spec.group.clone())
            .record(std::time::Duration::from_millis(took_ms));
        metrics::counter!("eschaton_worker_reapplied_changes_total", "group" => spec.group.clone())
            .increment(reapplied);
        tracing::info!(worker = name, next, reapplied, log_time, took_ms, "worker opened");
        let (store, clock, limits, group) =
            (spec.store.clone(), spec.clock.clone(), spec.limits, spec.group.clone());
        let outbox = Outbox::new(
            spec.log.clone(),
            clock.clone(),
            limits.retry_ms,
            group.clone(),
            changes_next,
            planted,
        );
        let unwritten = Unwritten::new(store, clock, limits, group, outbox, H::Core::reads_again, planted);
        Ok(Self { spec, planted, name, core, claim, next, log_time, seen, reapplied, numbers, unwritten })
    }

    /// The next offset that it will consume.
    pub fn next_input(&self) -> u64 {
        self.next
    }

    /// Records of `changes` that it wrote to the store when it was opened: those above the store's watermark.
    pub fn reapplied(&self) -> u64 {
        self.reapplied
    }

    /// Works until `stop` is ready or something fails. Between batches only; a batch is never cut.
    pub async fn run(&mut self, mut stop: impl Future<Output = ()> + Unpin) -> Result<(), WorkerError> {
        loop {
            let began = self.spec.clock.now_ms();
            let worked = self.work().await?;
            if worked != Worked::Nothing {
                if matches!(futures::poll!(&mut stop), std::task::Poll::Ready(())) {
                    break;
                }
                let took = self.spec.clock.now_ms().saturating_sub(began);
                let rest = self.spec.limits.turn_ms.saturating_sub(took);
                if rest > 0 && worked == Worked::Much {
                    let pause = select(self.spec.clock.sleep_ms(rest), &mut stop);
                    if let Either::Right(_) = self.unwritten.unless_failed(pause).await? {
                        break;
                    }
                }
                continue;
            }
            let from = [(self.spec.input, self.next)];
            let waiting = select(self.spec.log.wait(&from), &mut stop);
            match self.unwritten.unless_failed(waiting).await? {
                Either::Left((waited, _)) => waited?,
                Either::Right(((), _)) => break,
            }
        }
        self.unwritten.flush().await
    }

    /// One batch, if there is one. False: nothing to do.
    pub async fn turn(&mut self) -> Result<bool, WorkerError> {
        Ok(self.work().await? != Worked::Nothing)
    }

    async fn work(&mut self) -> Result<Worked, WorkerError> {
        let limits = self.spec.limits;
        self.unwritten.room().await?;
        let read = self.spec.log.read(self.spec.input, self.next, limits.batch_records, limits.batch_bytes);
        let records = self.unwritten.during(read).await?;
        if records.is_empty() {
            return Ok(Worked::Nothing);
        }
        let worked = Worked::of(&records, &limits);
        let from = self.next;
        let stepped = match self.step_all(records).await {
            Ok(stepped) => stepped,
            Err(error) => return Err(unless_fenced(self.claim.as_mut(), error).await),
        };
        self.commit(from, stepped).await?;
        self.spec.host.observe(&self.core);
        Ok(worked)
    }

    async fn step_all(&mut self, records: Vec<LogRecord>) -> Result<Stepped, WorkerError> {
        let count = records.len();
        // Offsets may have gaps.
        let next = match records.last() {
            Some(_) if self.planted.has(PlantedBug::CountsRecords) => {
                self.next + u64::try_from(count).unwrap_or(u64::MAX)
            }
            Some(last) => last.offset + 1,
            None => self.next,
        };
        let (mut repeats, mut again, mut early) = (0, 0, 0);
        let mut batch = Batch::decode(&self.core, records, |id| {
            let is_new = if self.planted.has(PlantedBug::GapsPass) {
                self.seen.pass_as(id, false)
            } else {
                self.seen.pass(id)
            };
            if !is_new {
                let count = match id.source.topic.holds_changes() {
                    false => &mut repeats,
                    true if self.seen.is_early(id) => &mut early,
                    true => &mut again,
                };
                *count += 1;
            }
            !is_new && !self.planted.has(PlantedBug::NoDeduplication)
        })?;
        self.count_dropped(repeats, again, early);
        let spec = &self.spec;
        // What is not in the overlay now is in the store already.
        let (mut rows, missing) = batch.known(|at| self.unwritten.get(at));
        let fetch = async |table, keys: &[Bytes]| spec.retrying(|| spec.store.get_many(table, keys)).await;
        self.unwritten.during(missing.fetch(&mut rows, fetch)).await?;
        let mut stepped = Stepped {
            records: count,
            outputs: Vec::with_capacity(batch.len() * 3),
            rows: Vec::new(),
            traces: Vec::new(),
            next,
        };
        let (source, log_time) = (self.spec.input, &mut self.log_time);
        let wall = self.planted.has(PlantedBug::WallClock).then(|| self.spec.clock.clone());
        let time = |record: &LogRecord| {
            *log_time = record.at_ms.max(*log_time);
            wall.as_ref().map_or(*log_time, |clock| clock.now_ms())
        };
        batch.step(&mut self.core, &mut rows, time, |record, now, effects| {
            stepped.outputs.extend(published(source, record, now, effects));
            stepped.traces.extend(record.trace.map(|trace| (trace, record.offset)));
        })?;
        let worker = WorkerRow { log_time_ms: self.log_time, seen: self.seen.to_messages() };
        rows.put(self.spec.family.workers(), opening::key(&self.name), Bytes::from(worker.encode_to_vec()));
        stepped.rows = rows.into_changes();
        Ok(stepped)
    }

    /// Repeated records; messages that came again, and that came before one that is missing.
    fn count_dropped(&self, repeats: u64, again: u64, early: u64) {
        let group = || self.spec.group.clone();
        if repeats > 0 {
            metrics::counter!("eschaton_worker_repeated_records_total", "group" => group())
                .increment(repeats);
        }
        for (why, count) in [("again", again), ("early", early)] {
            if count > 0 {
                metrics::counter!("eschaton_worker_messages_dropped_total", "group" => group(), "why" => why)
                    .increment(count);
            }
        }
    }

    async fn commit(&mut self, from: u64, stepped: Stepped) -> Result<(), WorkerError> {
        let mut outputs = stepped.outputs;
        let input = self.spec.input;
        let is_message = |output: &mut NewRecord| output.to.topic == input.topic;
        let after = self.spec.log.commits_hold_readers();
        let mut messages: Vec<_> =
            if after { outputs.extract_if(.., is_message).collect() } else { Vec::new() };
        let mut recorded = self.numbers.number(&mut messages);
        if self.planted.has(PlantedBug::CreditsAfterCommit) {
            recorded.clear();
        }
        let first_change = outputs.len();
        outputs.extend(self.changes_records(from, stepped.next, &stepped.rows, recorded));
        let mut batch = StoreBatch {
            worker: self.name.clone(),
            family: self.spec.family,
            watermark: Watermark { sequence: 0, input_next: stepped.next },
            rows: stepped.rows,
        };
        let late = if self.planted.has(PlantedBug::CreditsAfterCommit) && !after {
            outputs.extract_if(.., is_message).collect()
        } else {
            Vec::new()
        };
        if self.planted.has(PlantedBug::RowsBeforeCommit) {
            self.unwritten.flush().await?;
            let end = self.spec.log.end(changes_of(&self.spec)).await?;
            batch.watermark.sequence = end;
            self.spec.retrying(|| self.spec.store.apply(batch.clone())).await?;
        }
        let started = self.spec.clock.now_ms();
        // While the log makes this batch durable, rows of earlier ones go to the store.
        let advance = [(self.spec.input, stepped.next)];
        let positions = self.unwritten.during(self.claim.commit(outputs, &advance)).await?;
        if !late.is_empty() {
            self.spec.log.append(late).await?;
        }
        metrics::histogram!("eschaton_worker_commit_seconds", "group" => self.spec.group.clone())
            .record(std::time::Duration::from_millis(self.spec.clock.now_ms().saturating_sub(started)));
        metrics::histogram!("eschaton_worker_batch_records", "group" => self.spec.group.clone())
            .record(u32::try_from(stepped.records).unwrap_or(u32::MAX));
        if let Some(last) = positions.get(first_change..).and_then(<[_]>::last) {
            batch.watermark.sequence = last.offset + 1;
        }
        self.unwritten.put(batch, messages);
        self.next = stepped.next;
        if let Some(observer) = &self.spec.observer {
            for (trace, offset) in &stepped.traces {
                observer.committed(trace, self.spec.input, *offset);
            }
        }
        Ok(())
    }

    /// What the commit records: rows as it leaves them, and what will be told to others.
    fn changes_records(
        &self,
        from: u64,
        next: u64,
        rows: &[RowChange],
        messages: Vec<Message>,
    ) -> Vec<NewRecord> {
        let to = changes_of(&self.spec);
        let outbox = self.numbers.recorded(self.unwritten.unsent_from());
        let empty = Changes { input_from: from, input_next: next, outbox, ..Changes::default() };
        let mut parts = Parts::new(empty, self.spec.limits.changes_bytes);
        for message in messages {
            parts.add(message.encoded_len(), |part| part.messages.push(message));
        }
        for row in rows {
            let row = RowChangeMessage {
                table: row.table.number(),
                key: row.key.clone(),
                value: row.value.clone(),
            };
            parts.add(row.encoded_len(), |part| part.rows.push(row));
        }
        let record = |(number, payload)| NewRecord {
            to,
            at_ms: self.log_time,
            id: Some(RecordId {
                source: self.spec.input,
                offset: next.saturating_sub(1),
                index: u32::MAX - number,
            }),
            trace: None,
            payload,
        };
        (0..).zip(parts.finish()).map(record).collect()
    }
}
