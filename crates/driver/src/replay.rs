use bytes::Bytes;
use eschaton_core::{Family, Table, TopicPartition};
use eschaton_ports::{Log, LogRecord, NewRecord, Store, StoreBatch, Watermark};
use eschaton_types::pb::state::WorkerRow;
use prost::Message;

use crate::batch::{Batch, published};
use crate::{Host, Seen, WorkerError};

/// Decides a partition anew from its first record to `end` on an empty store, publishing nothing. The
/// store then holds what the worker's store must hold at that position: determinism, checked on real
/// data. What a worker would have published goes to `said`, a batch at a time, with the ids that it has on the log.
#[allow(clippy::too_many_arguments, reason = "one caller; each is another thing")]
pub async fn replay<H: Host>(
    group: &str,
    input: TopicPartition,
    end: u64,
    host: &H,
    log: &dyn Log,
    store: &dyn Store,
    mut said: impl AsyncFnMut(Vec<NewRecord>) -> Result<(), WorkerError>,
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
        let mut batch = Batch::decode(&core, records, |id| !seen.pass(id))?;
        let fetch = async |table, keys: &[Bytes]| store.get_many(table, keys).await;
        let (mut rows, missing) = batch.known(|_| None);
        missing.fetch(&mut rows, fetch).await?;
        let time = |record: &LogRecord| {
            now = now.max(record.at_ms);
            now
        };
        let mut outputs = Vec::new();
        batch.step(&mut core, &mut rows, time, |record, now, effects| {
            outputs.extend(published(input, record, now, effects));
        })?;
        said(outputs).await?;
        let row = WorkerRow { log_time_ms: now, seen: seen.to_messages() };
        let mut rows = rows.into_changes();
        rows.push(eschaton_core::RowChange {
            table: Table::Workers,
            key: Bytes::copy_from_slice(worker.as_bytes()),
            value: Some(Bytes::from(row.encode_to_vec())),
        });
        let watermark = Watermark { sequence: batch_next, input_next: batch_next };
        store.apply(StoreBatch { worker: worker.clone(), family: Family::Ledger, watermark, rows }).await?;
        progress(batch_next - next);
        next = batch_next;
    }
    Ok(())
}
