use bytes::Bytes;
use eschaton_core::{Core, Keys, LogTime, Table, TopicPartition};
use eschaton_ports::{Log, LogRecord, Store, StoreBatch, Watermark};
use eschaton_types::pb::state::WorkerRow;
use prost::Message;
use std::collections::BTreeMap;

use crate::{Host, Seen, WorkerError};

/// Decides a partition anew from its first record to `end` on an empty store, publishing nothing. The
/// store then holds what the worker's store must hold at that position: determinism, checked on real
/// data.
pub async fn replay<H: Host>(
    group: &str,
    input: TopicPartition,
    end: u64,
    host: &H,
    log: &dyn Log,
    store: &dyn Store,
    mut progress: impl FnMut(u64),
) -> Result<(), WorkerError> {
    let worker = format!("{group}/{}", input.partition);
    let mut core = host.load(store).await?;
    let (mut next, mut now, mut seen) = (0, 0, Seen::default());
    while next < end {
        let mut records = log.read(input, next, 1_024, 512 << 10).await?;
        records.retain(|record| record.offset < end);
        let Some(last) = records.last() else { break };
        let batch_next = last.offset + 1;
        let rows = step_batch(&mut core, store, records, &mut now, &mut seen).await?;
        let row = WorkerRow { log_time_ms: now, seen: seen.to_messages() };
        let mut rows = rows.into_changes();
        rows.push(eschaton_core::RowChange {
            table: Table::Workers,
            key: Bytes::copy_from_slice(worker.as_bytes()),
            value: Some(Bytes::from(row.encode_to_vec())),
        });
        let watermark = Watermark { sequence: batch_next, input_next: batch_next };
        store.apply(StoreBatch { worker: worker.clone(), watermark, rows }).await?;
        progress(batch_next - next);
        next = batch_next;
    }
    Ok(())
}

async fn step_batch<C: Core>(
    core: &mut C,
    store: &dyn Store,
    records: Vec<LogRecord>,
    now: &mut LogTime,
    seen: &mut Seen,
) -> Result<eschaton_core::Rows, WorkerError> {
    let mut keys = Keys::default();
    let mut inputs = Vec::with_capacity(records.len());
    for record in records {
        if record.id.as_ref().is_some_and(|id| !seen.pass(id)) {
            continue;
        }
        let input = core.decode(&record.payload)?;
        core.touches(&input, &mut keys);
        inputs.push((record, input));
    }
    let mut by_table: BTreeMap<Table, Vec<Bytes>> = BTreeMap::new();
    for (table, key) in keys.into_inner() {
        by_table.entry(table).or_default().push(key);
    }
    let mut rows = eschaton_core::Rows::default();
    for (table, keys) in by_table {
        let values = store.get_many(table, &keys).await?;
        for (key, value) in keys.into_iter().zip(values) {
            rows.provide(table, key, value);
        }
    }
    for (record, input) in inputs {
        *now = (*now).max(record.at_ms);
        core.step(&mut rows, record.offset, *now, input)?;
    }
    Ok(rows)
}
