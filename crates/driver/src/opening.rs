use bytes::Bytes;
use eschaton_core::{LogTime, RowChange, Table, TopicPartition};
use eschaton_ports::{LogRecord, StoreBatch, Watermark};
use eschaton_types::pb::log::{self as pb, Changes, Message};
use eschaton_types::pb::state::WorkerRow;
use prost::Message as _;

use crate::outbox::Numbers;
use crate::planted::{Planted, PlantedBug};
use crate::trouble::appending;
use crate::worker::{Host, WorkerSpec};
use crate::{Seen, WorkerError};

/// What a worker begins with.
pub(crate) struct Opened<C> {
    pub(crate) reapplied: u64,
    pub(crate) log_time: LogTime,
    pub(crate) seen: Seen,
    pub(crate) core: C,
    /// Of what was sent to others.
    pub(crate) numbers: Numbers,
    /// Where `changes` ends: all messages before are sent.
    pub(crate) changes_next: u64,
}

/// Brings the store up to the log, and only then reads it: what lies half-written above the watermark is
/// written again first.
pub(crate) async fn open<H: Host>(
    spec: &WorkerSpec<H>,
    name: &str,
    next: u64,
    planted: Planted,
) -> Result<Opened<H::Core>, WorkerError> {
    let Reapplied { count: reapplied, numbers, changes_next } = reapply(spec, name, next, planted).await?;
    let own_row = [key(name)];
    let row = spec.retrying(|| spec.store.get_many(spec.family.workers(), &own_row)).await?;
    let (log_time, seen) = match row.into_iter().next().flatten() {
        Some(value) => parse_worker_row(spec.family.workers(), &value)?,
        None => (0, Seen::default()),
    };
    let core = spec.host.load(spec.store.as_ref()).await?;
    Ok(Opened { reapplied, log_time, seen, core, numbers, changes_next })
}

/// What the committed changes tell of the worker.
struct Reapplied {
    /// Records that the store lacked.
    count: u64,
    numbers: Numbers,
    /// Where they end.
    changes_next: u64,
}

/// Sends and applies what the last owner may have left.
async fn reapply<H: Host>(
    spec: &WorkerSpec<H>,
    name: &str,
    next: u64,
    planted: Planted,
) -> Result<Reapplied, WorkerError> {
    let at = changes_of(spec);
    let mark = spec.retrying(|| spec.store.watermark(name)).await?.unwrap_or_default();
    let end = spec.log.end(at).await?;
    if mark.sequence > end || mark.input_next > next {
        // To go on would decide anew, under offsets that the store takes for old and leaves unwritten.
        let detail = format!(
            "{name} has rows up to input {} and change {}, the log ends at {next} and {end}",
            mark.input_next, mark.sequence
        );
        return Err(WorkerError::StoreAhead { detail });
    }
    // The last record knows how far all messages are sent. One that a torn commit left knows it as well.
    let last = spec.log.read(at, end.saturating_sub(1), 1, 1).await?;
    let unsent_from = match last.last() {
        Some(last) => decode(last)?.outbox.map_or(end, |outbox| outbox.unsent_from),
        None => 0,
    };
    let mut reapplied = Reapplied { count: 0, numbers: Numbers::new(at), changes_next: end };
    // The record before the watermark is committed: it knows the numbers of the messages so far.
    let mut from = mark.sequence.saturating_sub(1);
    while from < end {
        let records = spec.log.read(at, from, spec.limits.batch_records, 4 << 20).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            from = record.offset + 1;
            let changes = decode(&record)?;
            // A torn commit may have left changes whose inputs are not consumed: they will be stepped
            // again, from the rows before them.
            if changes.input_next > next {
                continue;
            }
            if let Some(outbox) = &changes.outbox {
                reapplied.numbers.follow(outbox);
            }
            // What is in the store was sent before it was written.
            if record.offset < mark.sequence {
                continue;
            }
            if record.offset >= unsent_from && !planted.has(PlantedBug::ForgetsUnsent) {
                send(spec, &reapplied.numbers, changes.messages).await?;
            }
            if planted.has(PlantedBug::NoReapply) {
                continue;
            }
            let rows = rows(record.offset, changes.rows)?;
            let watermark = Watermark { sequence: from, input_next: changes.input_next };
            let batch = StoreBatch { worker: name.to_owned(), family: spec.family, watermark, rows };
            spec.retrying(|| spec.store.apply(batch.clone())).await?;
            reapplied.count += 1;
        }
    }
    Ok(reapplied)
}

async fn send<H>(spec: &WorkerSpec<H>, numbers: &Numbers, messages: Vec<Message>) -> Result<(), WorkerError> {
    if messages.is_empty() {
        return Ok(());
    }
    let records: Vec<_> =
        messages.into_iter().map(|message| numbers.record(spec.input.topic, message)).collect();
    let (log, clock) = (spec.log.as_ref(), spec.clock.as_ref());
    Ok(appending(log, clock, spec.limits.retry_ms, &spec.group, &records).await?)
}

/// Where a worker records its rows and messages.
pub(crate) fn changes_of<H>(spec: &WorkerSpec<H>) -> TopicPartition {
    TopicPartition { topic: spec.changes, partition: spec.input.partition }
}

fn damaged(offset: u64, detail: String) -> WorkerError {
    WorkerError::Changes { offset, detail }
}

fn decode(record: &LogRecord) -> Result<Changes, WorkerError> {
    let changes = Changes::decode(record.payload.clone());
    changes.map_err(|error| damaged(record.offset, error.to_string()))
}

fn rows(offset: u64, rows: Vec<pb::RowChange>) -> Result<Vec<RowChange>, WorkerError> {
    let row = |row: pb::RowChange| {
        let table = Table::from_number(row.table)
            .ok_or_else(|| damaged(offset, format!("unknown table {}", row.table)))?;
        Ok(RowChange { table, key: row.key, value: row.value })
    };
    rows.into_iter().map(row).collect()
}

/// Of a worker's own row.
pub(crate) fn key(worker: &str) -> Bytes {
    Bytes::copy_from_slice(worker.as_bytes())
}

fn parse_worker_row(table: Table, value: &Bytes) -> Result<(LogTime, Seen), WorkerError> {
    let damaged = |detail: String| eschaton_core::CoreError::Row { table: table.name(), detail };
    let row = WorkerRow::decode(value.clone()).map_err(|error| damaged(error.to_string()))?;
    let seen = Seen::from_messages(&row.seen).ok_or_else(|| damaged("unknown topic".to_owned()))?;
    Ok((row.log_time_ms, seen))
}
