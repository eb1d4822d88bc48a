//! Half-written batches of the trees are completed before anybody builds on their rows.
//!
//! The ledger's workers write what the log has beyond their watermark again before they read, so a part of
//! a batch does no harm. The prover reads first and rebuilds what it lacks from the rows it found: it needs
//! rows of one batch. So such a batch is kept whole in table `redo` before its first row is written, and
//! [`CqlStore::recover`], which every look at a watermark goes through, writes it again if its watermark is
//! missing. Chunks are overwritten by the next batch; nothing is ever deleted here.

use eschaton_ports::{RowChange, StoreBatch, StoreError, Table, Watermark};
use eschaton_types::pb::log as pb;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;

use crate::error::Failure;
use crate::metrics::Kind;
use crate::store::CqlStore;
use crate::write::{place, stamp};

/// About the most bytes of one chunk. One larger row makes one larger chunk.
const CHUNK_BYTES: usize = 1 << 20;

/// What row of `watermarks` a worker has.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Batches up to this one are written.
    pub(crate) written: Option<Watermark>,
    /// The batch that was begun last, where such are kept.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    watermark: Watermark,
    chunks: i32,
}

/// Columns of `watermarks`.
type MarksRow = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i32>);

impl CqlStore {
    /// Keeps a batch whole, and says that it is begun.
    pub(crate) async fn begin(&self, batch: &StoreBatch, rows: &[&RowChange]) -> Result<(), StoreError> {
        let doing = "keeping a batch";
        let stamp = stamp(batch.watermark.sequence)?;
        let chunks = encode(rows);
        let count = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
        let writes: Vec<_> =
            (0_i32..).zip(&chunks).map(|(at, chunk)| self.write_chunk(batch, at, chunk, stamp)).collect();
        stream::iter(writes)
            .buffer_unordered(self.concurrency)
            .try_collect::<()>()
            .await
            .map_err(|error| error.into_store(doing))?;
        // After its chunks: what is begun is there whole.
        let values = (stamp, stamp, crate::write::stamp(batch.watermark.input_next)?, count, &batch.worker);
        let request = self.turn(batch.family, Kind::Redo).await.map_err(|error| error.into_store(doing))?;
        let written = self.session.execute_unpaged(&self.statements.put_begun, values).await;
        request.end(written.map_err(Failure::from)).map(drop).map_err(|error| error.into_store(doing))
    }

    async fn write_chunk(
        &self,
        batch: &StoreBatch,
        at: i32,
        chunk: &[u8],
        stamp: i64,
    ) -> Result<(), Failure> {
        let request = self.turn(batch.family, Kind::Redo).await?;
        let values = (stamp, stamp, chunk, &batch.worker, at);
        let written = self.session.execute_unpaged(&self.statements.put_chunk, values).await;
        request.end(written.map_err(Failure::from)).map(drop)
    }

    /// A worker's watermark, after the batch that it left half-written, if any, is written again.
    pub(crate) async fn recover(&self, worker: &str) -> Result<Option<Watermark>, StoreError> {
        let marks = self.read_marks(worker).await?;
        let unfinished = marks
            .begun
            .filter(|begun| marks.written.is_none_or(|written| written.sequence < begun.watermark.sequence));
        let Some(begun) = unfinished else { return Ok(marks.written) };
        let watermark = begun.watermark;
        let sequence = stamp(watermark.sequence)?;
        let reads: Vec<_> = (0..begun.chunks).map(|at| self.read_chunk(worker, at, sequence)).collect();
        let chunks: Vec<Vec<RowChange>> =
            stream::iter(reads).buffered(self.concurrency).try_collect().await?;
        let rows: Vec<&RowChange> = chunks.iter().flatten().collect();
        tracing::info!(worker, watermark.sequence, rows = rows.len(), "completing a half-written batch");
        self.write_rows(&rows, sequence).await?;
        self.write_watermark(worker, watermark, Table::Trees.family()).await?;
        Ok(Some(watermark))
    }

    async fn read_chunk(&self, worker: &str, at: i32, sequence: i64) -> Result<Vec<RowChange>, StoreError> {
        let read = async {
            let request = self.turn(Table::Trees.family(), Kind::Redo).await?;
            let answer = self.session.execute_unpaged(&self.statements.chunk, (worker, at)).await;
            let answer = request.end(answer.map_err(Failure::from))?;
            let answer = answer.into_rows_result().map_err(Failure::answer)?;
            let row = answer.maybe_first_row::<(Option<i64>, Option<&[u8]>)>().map_err(Failure::answer)?;
            let data = row.and_then(|(found, data)| data.filter(|_| found == Some(sequence)));
            data.map(decode).transpose()
        };
        // Only a newer batch overwrites a chunk, and that one begins after this one is written.
        let overtaken = || StoreError::Unavailable {
            detail: format!("another process writes rows of {worker} at this moment"),
        };
        read.await.map_err(|error: Failure| error.into_store("reading a kept batch"))?.ok_or_else(overtaken)
    }

    /// From the cluster, never from memory.
    pub(crate) async fn read_marks(&self, worker: &str) -> Result<Marks, StoreError> {
        let read = async {
            let request = self.turn(Table::Workers.family(), Kind::Watermark).await?;
            let answer = self.session.execute_unpaged(&self.statements.marks, (worker,)).await;
            let answer = request.end(answer.map_err(Failure::from))?;
            let answer = answer.into_rows_result().map_err(Failure::answer)?;
            answer.maybe_first_row::<MarksRow>().map_err(Failure::answer)
        };
        let row = read.await.map_err(|error: Failure| error.into_store("reading a watermark"))?;
        let Some((sequence, input_next, begun, begun_next, chunks)) = row else {
            return Ok(Marks::default());
        };
        let mark = |sequence: Option<i64>, input_next: Option<i64>| match (sequence, input_next) {
            (Some(sequence), Some(input_next)) => Ok(Some(Watermark {
                sequence: place(worker, sequence)?,
                input_next: place(worker, input_next)?,
            })),
            _ => Ok(None),
        };
        let begun = mark(begun, begun_next)?.zip(chunks);
        Ok(Marks {
            written: mark(sequence, input_next)?,
            begun: begun.map(|(watermark, chunks)| Begun { watermark, chunks }),
        })
    }
}

/// A batch in chunks, none of them without rows; a batch without rows has none.
fn encode(rows: &[&RowChange]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut chunk = pb::Changes::default();
    let mut bytes = 0;
    for row in rows {
        let row = pb::RowChange { table: row.table.number(), key: row.key.clone(), value: row.value.clone() };
        bytes += row.encoded_len() + 8;
        chunk.rows.push(row);
        if bytes >= CHUNK_BYTES {
            chunks.push(std::mem::take(&mut chunk).encode_to_vec());
            bytes = 0;
        }
    }
    if !chunk.rows.is_empty() {
        chunks.push(chunk.encode_to_vec());
    }
    chunks
}

fn decode(chunk: &[u8]) -> Result<Vec<RowChange>, Failure> {
    let chunk = pb::Changes::decode(chunk).map_err(Failure::answer)?;
    chunk
        .rows
        .into_iter()
        .map(|row| {
            let table = Table::from_number(row.table)
                .ok_or_else(|| Failure::Answer(format!("a kept batch names table {}", row.table)))?;
            Ok(RowChange { table, key: row.key, value: row.value })
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_batch_comes_back_from_its_chunks() {
        let row = |n: u8, value: Option<usize>| RowChange {
            table: Table::Trees,
            key: Bytes::from(vec![b'M', n]),
            value: value.map(|bytes| Bytes::from(vec![n; bytes])),
        };
        let rows =
            [row(0, Some(600_000)), row(1, None), row(2, Some(0)), row(3, Some(2 << 20)), row(4, Some(1))];
        let chunks = encode(&rows.iter().collect::<Vec<_>>());
        assert_eq!(chunks.len(), 2);
        let back: Vec<RowChange> = chunks.iter().flat_map(|chunk| decode(chunk).unwrap()).collect();
        assert_eq!(back, rows);
        assert!(encode(&[]).is_empty());
        assert!(decode(b"\xff").is_err());
    }
}
