use bytes::Bytes;
use eschaton_core::{LogTime, RowChange, Table, TopicPartition};
use eschaton_ports::{StoreBatch, Watermark};
use eschaton_types::pb::log::Changes;
use eschaton_types::pb::state::WorkerRow;
use prost::Message;

use crate::planted::{Planted, PlantedBug};
use crate::worker::{Host, WorkerSpec};
use crate::{Seen, WorkerError};

/// What a worker begins with.
pub(crate) struct Opened<C> {
    pub(crate) reapplied: u64,
    pub(crate) log_time: LogTime,
    pub(crate) seen: Seen,
    pub(crate) core: C,
}

/// Brings the store up to the log, and only then reads it: what lies half-written above the watermark is
/// written again first.
pub(crate) async fn open<H: Host>(
    spec: &WorkerSpec<H>,
    name: &str,
    next: u64,
    planted: Planted,
) -> Result<Opened<H::Core>, WorkerError> {
    let reapplied = if planted.has(PlantedBug::NoReapply) { 0 } else { reapply(spec, name, next).await? };
    let own_row = [key(name)];
    let row = spec.retrying(|| spec.store.get_many(spec.family.workers(), &own_row)).await?;
    let (log_time, seen) = match row.into_iter().next().flatten() {
        Some(value) => parse_worker_row(spec.family.workers(), &value)?,
        None => (0, Seen::default()),
    };
    let core = spec.host.load(spec.store.as_ref()).await?;
    Ok(Opened { reapplied, log_time, seen, core })
}

/// Applies the committed changes that the store lacks; gives how many records there were.
async fn reapply<H: Host>(spec: &WorkerSpec<H>, name: &str, next: u64) -> Result<u64, WorkerError> {
    let at = TopicPartition { topic: spec.changes, partition: spec.input.partition };
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
    let mut from = mark.sequence;
    let mut applied = 0;
    while from < end {
        let records = spec.log.read(at, from, spec.limits.batch_records, 4 << 20).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            from = record.offset + 1;
            let damaged = |detail: String| WorkerError::Changes { offset: record.offset, detail };
            let changes = Changes::decode(record.payload).map_err(|error| damaged(error.to_string()))?;
            // A torn commit may have left changes whose inputs are not consumed: they will be stepped
            // again, from the rows before them.
            if changes.input_next > next {
                continue;
            }
            let rows = changes
                .rows
                .into_iter()
                .map(|row| {
                    let table = Table::from_number(row.table)
                        .ok_or_else(|| damaged(format!("unknown table {}", row.table)))?;
                    Ok(RowChange { table, key: row.key, value: row.value })
                })
                .collect::<Result<Vec<_>, WorkerError>>()?;
            let watermark = Watermark { sequence: from, input_next: changes.input_next };
            let batch = StoreBatch { worker: name.to_owned(), family: spec.family, watermark, rows };
            spec.retrying(|| spec.store.apply(batch.clone())).await?;
            applied += 1;
        }
    }
    Ok(applied)
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
