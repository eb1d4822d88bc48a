use std::collections::{HashMap, HashSet};
use std::thread::JoinHandle;

use bytes::Bytes;
use eschaton_ports::{StoreBatch, StoreError, Table, Watermark};
use fjall::{Database, Keyspace, Slice};
use tokio::sync::{mpsc, oneshot};

use super::pieces::Pieces;
use super::{WATERMARK_PREFIX, failed, fatal};
use crate::journal::{MARK_KEY, Mark};

/// Batches that wait: more than workers of a process.
const QUEUE: usize = 512;
/// One write takes what waits, up to about this many rows.
const GROUP_ROWS: usize = 16_384;

/// Writes one family's batches on a thread of its own.
///
/// The engine holds its write lock now and then for as long as the disk takes to sync. Then this thread waits, and
/// nobody who steps a core does.
pub(super) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

struct Request {
    batch: StoreBatch,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// What the thread writes to.
pub(super) struct Tables {
    pub(super) db: Database,
    pub(super) tables: HashMap<Table, Pieces>,
    pub(super) watermarks: Keyspace,
    pub(super) mark: Mark,
    /// Of the last batch in the journal.
    pub(super) sequence: u64,
    /// The newest watermark of each worker.
    pub(super) written: HashMap<String, Watermark>,
}

impl Writer {
    pub(super) fn start(name: &str, mut tables: Tables) -> std::io::Result<Self> {
        let (requests, mut queue) = mpsc::channel::<Request>(QUEUE);
        let thread = std::thread::Builder::new().name(format!("{name}-writer")).spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                let mut rows = first.batch.rows.len();
                let mut group = vec![first];
                while rows < GROUP_ROWS
                    && let Ok(next) = queue.try_recv()
                {
                    rows += next.batch.rows.len();
                    group.push(next);
                }
                let result = tables.write(group.iter().map(|request| &request.batch));
                for Request { reply, .. } in group {
                    // Who does not wait any more does not need the answer.
                    let _ = reply.send(result.as_ref().map_err(|error| failed("a batch", error)).copied());
                }
            }
        })?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Returns when the batch is written.
    pub(super) async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        let closed = || fatal("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        requests.send(Request { batch, reply }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // What panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Tables {
    /// One write to the engine: the mark, each row's last value, each worker's last watermark. Batches at or
    /// below their worker's watermark are passed over.
    fn write<'a>(&mut self, batches: impl Iterator<Item = &'a StoreBatch>) -> Result<(), fjall::Error> {
        let mut marks: HashMap<&str, Watermark> = HashMap::new();
        let mut fresh = Vec::new();
        for batch in batches {
            let worker = batch.worker.as_str();
            let last = marks.get(worker).or_else(|| self.written.get(worker));
            if last.is_none_or(|last| batch.watermark.sequence > last.sequence) {
                marks.insert(worker, batch.watermark);
                fresh.push(batch);
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let mut write = self.db.batch();
        write.insert(&self.watermarks, MARK_KEY, self.mark.value(self.sequence + 1));
        let mut seen: HashSet<(Table, &Bytes)> = HashSet::new();
        for row in fresh.iter().rev().flat_map(|batch| batch.rows.iter().rev()) {
            // Checked when the batch came.
            let Some(pieces) = self.tables.get(&row.table) else { continue };
            let table = pieces.of(&row.key);
            if !seen.insert((row.table, &row.key)) {
                continue;
            }
            // Copies: what comes in may share a large buffer, which the write buffer would keep.
            match &row.value {
                Some(value) => write.insert(table, &row.key[..], Slice::from(&value[..])),
                None => write.remove(table, &row.key[..]),
            }
        }
        for (worker, watermark) in &marks {
            let value = [watermark.sequence.to_be_bytes(), watermark.input_next.to_be_bytes()].concat();
            write.insert(&self.watermarks, [WATERMARK_PREFIX, worker.as_bytes()].concat(), value);
        }
        write.commit()?;
        self.sequence += 1;
        self.written.extend(marks.into_iter().map(|(worker, watermark)| (worker.to_owned(), watermark)));
        Ok(())
    }
}
