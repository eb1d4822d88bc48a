use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use eschaton_ports::{LogError, LogRecord, TopicPartition};
use fjall::Keyspace;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::chunk::{self, Chunk};

/// How many of the last rows are checked at opening.
const ROWS_CHECKED: usize = 8;

/// One partition: its rows on disk, and the newest of them in memory.
pub(super) struct Partition {
    pub(super) at: TopicPartition,
    pub(super) keyspace: Keyspace,
    tail_bytes_max: usize,
    tail: RwLock<Tail>,
    /// The row that was last read from disk: whoever catches up reads it in pieces.
    cold: Mutex<Option<Arc<Chunk>>>,
    grown: Notify,
}

/// What is published, and its newest rows without a gap up to the end.
#[derive(Default)]
struct Tail {
    end: u64,
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, chunk: Arc<Chunk>, bytes_max: usize) {
        self.end = chunk.end();
        self.bytes += chunk.bytes;
        self.chunks.push_back(chunk);
        while self.bytes > bytes_max && self.chunks.len() > 1 {
            self.bytes -= self.chunks.pop_front().map_or(0, |chunk| chunk.bytes);
        }
    }
}

impl Partition {
    /// Reads and checks the last rows. The error says what is wrong.
    pub(super) fn open(
        at: TopicPartition,
        keyspace: Keyspace,
        tail_bytes_max: usize,
    ) -> Result<Self, String> {
        let mut last = Vec::with_capacity(ROWS_CHECKED);
        for row in keyspace.iter().rev().take(ROWS_CHECKED) {
            let chunk = decode_row(at, row).map_err(|error| error.to_string())?;
            last.push(chunk);
        }
        let mut tail = Tail::default();
        for chunk in last.into_iter().rev() {
            if !tail.chunks.is_empty() && chunk.before != tail.end {
                return Err(format!("partition {at} has a gap from offset {} to {}", tail.end, chunk.before));
            }
            tail.push(Arc::new(chunk), tail_bytes_max);
        }
        Ok(Self {
            at,
            keyspace,
            tail_bytes_max,
            tail: RwLock::new(tail),
            cold: Mutex::new(None),
            grown: Notify::new(),
        })
    }

    /// The offset that the next record will have.
    pub(super) fn end(&self) -> u64 {
        self.tail.read().end
    }

    /// Shows durable rows to readers.
    pub(super) fn publish(&self, chunks: Vec<Arc<Chunk>>) {
        let mut tail = self.tail.write();
        for chunk in chunks {
            tail.push(chunk, self.tail_bytes_max);
        }
        drop(tail);
        self.wake();
    }

    /// Wakes all who wait, to look again.
    pub(super) fn wake(&self) {
        self.grown.notify_waiters();
    }

    /// Resolves at the next [`Partition::wake`] after it is enabled.
    pub(super) fn grows(&self) -> Notified<'_> {
        self.grown.notified()
    }

    pub(super) fn read(
        &self,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let mut page = Page { next: from, records: Vec::new(), bytes: 0, max_records, max_bytes };
        let end = {
            // Under the lock only reference counts change; records are copied after.
            let tail = self.tail.read();
            if from >= tail.end || max_records == 0 {
                return Ok(Vec::new());
            }
            let after = tail.chunks.partition_point(|chunk| chunk.base <= from);
            if after > 0 {
                let (mut records, mut bytes) = (0, 0);
                let hot: Vec<Arc<Chunk>> = tail
                    .chunks
                    .range(after - 1..)
                    .take_while(|chunk| {
                        let more = records <= max_records && bytes <= max_bytes;
                        // The first may begin before `from`, so that it counts for nothing.
                        if chunk.base > from {
                            records += chunk.records.len();
                            bytes += chunk.bytes;
                        }
                        more
                    })
                    .map(Arc::clone)
                    .collect();
                drop(tail);
                for chunk in hot {
                    if !page.take(&chunk) {
                        break;
                    }
                }
                return Ok(page.records);
            }
            tail.end
        };
        self.read_cold(end, &mut page)?;
        Ok(page.records)
    }

    fn read_cold(&self, end: u64, page: &mut Page) -> Result<(), LogError> {
        let first = self.row_with(page.next)?;
        let mut more = page.take(&first);
        let mut newest = first;
        let after = newest.end().to_be_bytes()..end.to_be_bytes();
        if more && after.start < after.end {
            for row in self.keyspace.range(after) {
                let chunk = Arc::new(decode_row(self.at, row)?);
                if chunk.before != newest.end() {
                    return Err(self.damaged(newest.end()));
                }
                more = page.take(&chunk);
                newest = chunk;
                if !more {
                    break;
                }
            }
        }
        *self.cold.lock() = Some(newest);
        if more && page.next < end { Err(self.damaged(page.next)) } else { Ok(()) }
    }

    /// The row that holds a published offset, or the first one after the gap that it lies in.
    fn row_with(&self, offset: u64) -> Result<Arc<Chunk>, LogError> {
        let known = self.cold.lock().clone();
        if let Some(chunk) = known.filter(|chunk| chunk.covers(offset)) {
            return Ok(chunk);
        }
        let row = self.keyspace.range(..=offset.to_be_bytes()).next_back();
        let chunk = row.map(|row| decode_row(self.at, row)).transpose()?;
        let end = chunk.as_ref().map_or(0, Chunk::end);
        if let Some(chunk) = chunk.filter(|_| offset < end) {
            return Ok(Arc::new(chunk));
        }
        let row = self.keyspace.range(offset.to_be_bytes()..).next();
        let after = decode_row(self.at, row.ok_or_else(|| self.damaged(offset))?)?;
        if after.before == end && after.covers(offset) {
            Ok(Arc::new(after))
        } else {
            Err(self.damaged(offset))
        }
    }

    fn damaged(&self, offset: u64) -> LogError {
        LogError::Fatal { detail: format!("partition {} has lost offset {offset}", self.at) }
    }
}

/// What one read gives.
struct Page {
    next: u64,
    records: Vec<LogRecord>,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl Page {
    /// Takes what fits of a row; whether more may fit.
    fn take(&mut self, chunk: &Chunk) -> bool {
        for record in chunk.from(self.next) {
            let bytes = self.bytes.saturating_add(record.payload.len());
            if self.records.len() >= self.max_records || (!self.records.is_empty() && bytes > self.max_bytes)
            {
                return false;
            }
            self.bytes = bytes;
            self.next = record.offset + 1;
            self.records.push(record.clone());
        }
        self.records.len() < self.max_records && self.bytes < self.max_bytes
    }
}

fn decode_row(at: TopicPartition, row: fjall::Guard) -> Result<Chunk, LogError> {
    let fatal = |detail: String| LogError::Fatal { detail };
    let (key, value) = row.into_inner().map_err(|error| fatal(format!("reading {at}: {error:?}")))?;
    let base = <[u8; 8]>::try_from(&*key)
        .map(u64::from_be_bytes)
        .map_err(|_| fatal(format!("a row of {at} has the key {}", hex::encode(&*key))))?;
    chunk::decode(base, &Bytes::copy_from_slice(&value))
        .map_err(|wrong| fatal(format!("row {base} of partition {at} is damaged: {wrong}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use eschaton_ports::Topic;
    use fjall::{Database, KeyspaceCreateOptions};

    use super::*;

    const AT: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 0 };
    /// Offsets of rows with gaps in and between them, from the very beginning.
    const ROWS: [&[u64]; 5] = [&[3, 4], &[5], &[9, 12], &[13], &[20]];

    fn record(offset: u64) -> LogRecord {
        LogRecord { offset, at_ms: offset, id: None, trace: None, payload: Bytes::from(vec![1; 40]) }
    }

    /// A partition with these rows of [`ROWS`], in a directory that goes with it.
    fn stored(present: &[usize]) -> (tempfile::TempDir, Keyspace) {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::builder(dir.path()).open().unwrap();
        let keyspace = db.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
        let mut before = 0;
        for (index, offsets) in ROWS.iter().enumerate() {
            let records: Vec<_> = offsets.iter().copied().map(record).collect();
            let (chunk, row) = chunk::encode_sparse(before, &records).unwrap();
            if present.contains(&index) {
                keyspace.insert(chunk.base.to_be_bytes(), &row[..]).unwrap();
            }
            before = chunk.end();
        }
        (dir, keyspace)
    }

    fn offsets(records: &[LogRecord]) -> Vec<u64> {
        records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn gaps_are_read_over_from_memory_and_from_disk() {
        let (_dir, keyspace) = stored(&[0, 1, 2, 3, 4]);
        let all: Vec<u64> = ROWS.concat();
        for tail_bytes in [1 << 20, 1] {
            let partition = Partition::open(AT, keyspace.clone(), tail_bytes).unwrap();
            assert_eq!(partition.end(), 21);
            for from in 0..22 {
                let expected: Vec<u64> = all.iter().copied().filter(|offset| *offset >= from).collect();
                let read = partition.read(from, 100, 1 << 20).unwrap();
                // A page may end with its row.
                let mut found = offsets(&read);
                while let Some(last) = found.last().copied().filter(|last| *last < 20) {
                    found.extend(offsets(&partition.read(last + 1, 100, 1 << 20).unwrap()));
                }
                assert_eq!(found, expected, "from {from}");
                let one = partition.read(from, 1, 1).unwrap();
                assert_eq!(offsets(&one), expected.get(..1).unwrap_or_default(), "one from {from}");
            }
        }
    }

    #[test]
    fn a_lost_row_is_no_gap() {
        for lost in 0..4 {
            let present: Vec<usize> = (0..5).filter(|index| *index != lost).collect();
            let (_dir, keyspace) = stored(&present);
            let opened = Partition::open(AT, keyspace, 1);
            match lost {
                // Nothing at all stands before what is there.
                0 => {
                    let partition = opened.unwrap();
                    assert!(partition.read(0, 100, 1 << 20).is_err());
                    assert!(partition.read(3, 100, 1 << 20).is_err());
                    assert_eq!(offsets(&partition.read(5, 1, 1).unwrap()), [5]);
                }
                _ => assert!(opened.is_err(), "row {lost}"),
            }
        }
    }
}
