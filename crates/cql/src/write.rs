//! Batches: rows first, all of them acknowledged, then the watermark.

use std::collections::{HashMap, HashSet};

use eschaton_ports::{Family, RowChange, StoreBatch, StoreError, Table, Watermark};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};

use crate::error::Failure;
use crate::metrics::{self, Kind};
use crate::partition::Part;
use crate::store::{CqlStore, KEY_BYTES_MAX};

/// Longest key and value together. Cassandra takes half a segment of its commit log, 16 MiB by default.
const ROW_BYTES_MAX: usize = 8 << 20;
/// What a row costs in a request beside its key and value, about.
const ROW_OVERHEAD: usize = 48;
/// Names of workers are partition keys.
const WORKER_BYTES_MAX: usize = 1_024;

/// Rows of one request: one table, one partition.
struct Write<'a> {
    table: Table,
    part: &'a [u8],
    rows: &'a [&'a RowChange],
}

impl CqlStore {
    pub(crate) async fn write(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        batch.check_family()?;
        let stamp = stamp(batch.watermark.sequence)?;
        let rows = last_changes(batch)?;
        let worker = self.worker(&batch.worker);
        // One batch of a worker at a time: a later one must not be in before this one is.
        let mut known = worker.lock().await;
        let stored = match *known {
            Some(stored) => stored,
            None => {
                let stored = self.recover(&batch.worker).await?;
                *known = Some(stored);
                stored
            }
        };
        if stored.is_some_and(|stored| batch.watermark.sequence <= stored.sequence) {
            return Ok(());
        }
        if batch.family == Family::Trees {
            self.begin(batch, &rows).await?;
        }
        self.write_rows(&rows, stamp).await?;
        self.write_watermark(&batch.worker, batch.watermark, batch.family).await?;
        *known = Some(Some(batch.watermark));
        Ok(())
    }

    /// Writes changes of different rows, and returns when all are acknowledged.
    pub(crate) async fn write_rows(&self, rows: &[&RowChange], stamp: i64) -> Result<(), StoreError> {
        let groups = self.group(rows);
        let mut writes = Vec::with_capacity(groups.len());
        for ((table, part), rows) in &groups {
            for rows in self.portions(rows) {
                writes.push(self.write_some(Write { table: *table, part, rows }, stamp));
            }
        }
        stream::iter(writes)
            .buffer_unordered(self.concurrency)
            .try_collect::<()>()
            .await
            .map_err(|error| error.into_store("writing rows"))
    }

    /// By partition.
    fn group<'a>(&self, rows: &[&'a RowChange]) -> Vec<((Table, Part), Vec<&'a RowChange>)> {
        let mut groups: HashMap<(Table, Part), Vec<&RowChange>> = HashMap::new();
        for &row in rows {
            let part = self.partitioning.part(row.table, &row.key);
            groups.entry((row.table, part)).or_default().push(row);
        }
        groups.into_iter().collect()
    }

    /// Cuts a partition's rows so that each portion fits a request.
    fn portions<'a, 'r>(&self, rows: &'r [&'a RowChange]) -> impl Iterator<Item = &'r [&'a RowChange]> {
        let (rows_max, bytes_max) = (self.batch_rows, self.batch_bytes);
        let mut rest = rows;
        std::iter::from_fn(move || {
            let mut bytes = 0;
            let fitting = rest.iter().take(rows_max).take_while(|row| {
                bytes += row_bytes(row) + ROW_OVERHEAD;
                bytes <= bytes_max
            });
            // A row that is too large for company goes alone.
            let (portion, after) = rest.split_at_checked(fitting.count().max(1))?;
            rest = after;
            Some(portion)
        })
    }

    async fn write_some(&self, write: Write<'_>, stamp: i64) -> Result<(), Failure> {
        let put = &self.statements.of(write.table)?.put;
        let values: Vec<_> =
            write.rows.iter().map(|row| (stamp, row.value.as_deref(), write.part, &row.key[..])).collect();
        let request = self.turn(write.table.family(), Kind::Write).await?;
        metrics::write_rows(values.len());
        let written = match &values[..] {
            [only] => self.session.execute_unpaged(put, only).await,
            several => {
                // All in one partition: the replica takes them as one mutation, and no log of the batch
                // is needed to hold them together.
                let statements = vec![BatchStatement::PreparedStatement(put.clone()); several.len()];
                let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
                batch.set_is_idempotent(true);
                self.session.batch(&batch, several).await
            }
        };
        request.end(written.map_err(Failure::from)).map(drop)
    }

    pub(crate) async fn write_watermark(
        &self,
        worker: &str,
        watermark: Watermark,
        family: Family,
    ) -> Result<(), StoreError> {
        let doing = "writing a watermark";
        let sequence = stamp(watermark.sequence)?;
        let values = (worker, sequence, stamp(watermark.input_next)?, sequence);
        let request = self.turn(family, Kind::Watermark).await.map_err(|error| error.into_store(doing))?;
        let written = self.session.execute_unpaged(&self.statements.put_watermark, values).await;
        request.end(written.map_err(Failure::from)).map(drop).map_err(|error| error.into_store(doing))
    }
}

/// The last change of each row, refused whole when one cannot be written.
fn last_changes(batch: &StoreBatch) -> Result<Vec<&RowChange>, StoreError> {
    if batch.worker.is_empty() || batch.worker.len() > WORKER_BYTES_MAX {
        return Err(StoreError::Fatal {
            detail: format!(
                "a worker's name has {} bytes, 1 to {WORKER_BYTES_MAX} are possible",
                batch.worker.len()
            ),
        });
    }
    let mut seen = HashSet::with_capacity(batch.rows.len());
    let mut last = Vec::with_capacity(batch.rows.len());
    for row in batch.rows.iter().rev() {
        if row.key.is_empty() || row.key.len() > KEY_BYTES_MAX || row_bytes(row) > ROW_BYTES_MAX {
            return Err(StoreError::Fatal {
                detail: format!(
                    "a row of {} by {} has a key of {} bytes and {} with its value; 1 to {KEY_BYTES_MAX} and at most \
                     {ROW_BYTES_MAX} are possible",
                    row.table.name(),
                    batch.worker,
                    row.key.len(),
                    row_bytes(row)
                ),
            });
        }
        if seen.insert((row.table, &row.key)) {
            last.push(row);
        }
    }
    Ok(last)
}

fn row_bytes(row: &RowChange) -> usize {
    row.key.len() + row.value.as_ref().map_or(0, bytes::Bytes::len)
}

/// A place in the log as the engines' numbers and stamps, which are signed.
pub(crate) fn stamp(place: u64) -> Result<i64, StoreError> {
    i64::try_from(place).map_err(|_| StoreError::Fatal {
        detail: format!("place {place} in the log is beyond 2^63; report this defect"),
    })
}

/// A place in the log as it was written by [`stamp`].
pub(crate) fn place(worker: &str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Fatal {
        detail: format!(
            "the watermark of {worker} has {number}; drop the keyspace and run `eschaton migrate`"
        ),
    })
}
