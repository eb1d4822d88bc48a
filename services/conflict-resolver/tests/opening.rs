//! The store with its watermark is the snapshot of a shard: a new owner applies what was committed after it, and
//! nothing that came before.

#![allow(clippy::unwrap_used)]

mod kit;

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use conflict_resolver::{GROUP, LedgerHost};
use eschaton_driver::{Limits, Worker, WorkerSpec};
use eschaton_embedded::{EmbeddedLog, LogOptions, SystemClock};
use eschaton_ports::{Log, ScanPage, Store, StoreBatch, StoreError, Table, Topic, TopicPartition, Watermark};
use eschaton_types::Key;

use crate::kit::{BATCH, issuance, store};

const RECORDS: u32 = 5_000;
const CHANGES: TopicPartition = TopicPartition { topic: Topic::Changes, partition: 0 };

/// Batches whose rows are not in the store when the first owner ends.
const LAGGING: u64 = 3;

/// A store that takes no more writes from some moment on, and says nothing.
struct Hangs {
    store: Arc<dyn Store>,
    hangs: AtomicBool,
}

#[async_trait]
impl Store for Hangs {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.store.get_many(table, keys).await
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        self.store.apply(batch).await
    }

    async fn watermark(&self, worker: &str) -> Result<Option<Watermark>, StoreError> {
        self.store.watermark(worker).await
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        self.store.scan(table, prefix, after, limit).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }
}

fn spec(log: &Arc<dyn Log>, store: &Arc<dyn Store>) -> WorkerSpec<LedgerHost> {
    kit::spec(log, store, Arc::new(SystemClock), Limits::default())
}

#[tokio::test]
async fn a_new_owner_applies_only_what_is_above_the_watermark() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EmbeddedLog::open(&dir.path().join("log"), &LogOptions::new(1)).unwrap();
    let log: Arc<dyn Log> = Arc::new(log);
    let kept = store(&dir.path().join("kept"));
    let issuer = Key::from_secret([7; 32]).unwrap();
    for from in (0..RECORDS).step_by(500) {
        log.append((from..from + 500).map(|nonce| issuance(&issuer, nonce)).collect()).await.unwrap();
    }

    let batches = u64::from(RECORDS) / BATCH as u64;
    let hung = Arc::new(Hangs { store: kept.clone(), hangs: AtomicBool::new(false) });
    let before: Arc<dyn Store> = hung.clone();
    let mut first = Worker::open(spec(&log, &before)).await.unwrap();
    assert_eq!(first.reapplied(), 0, "there is nothing yet");
    for _ in 0..batches - LAGGING {
        // One batch, and its rows are written.
        first.run(ready(())).await.unwrap();
    }
    hung.hangs.store(true, Ordering::Relaxed);
    for _ in 0..LAGGING {
        assert!(first.turn().await.unwrap(), "a store that hangs holds up nobody");
    }
    assert_eq!(log.end(CHANGES).await.unwrap(), batches, "a changes record for each batch");
    // As a crash would: the rows of the last batches are committed and not in the store.
    drop(first);
    let mark = kept.watermark(&format!("{GROUP}/0")).await.unwrap().unwrap();
    assert_eq!(mark.sequence, batches - LAGGING);

    let mut second = Worker::open(spec(&log, &kept)).await.unwrap();
    assert_eq!((second.reapplied(), second.next_input()), (LAGGING, u64::from(RECORDS)));
    assert!(!second.turn().await.unwrap(), "nothing is decided again");
    second.run(ready(())).await.unwrap();
    drop(second);
    assert_eq!(Worker::open(spec(&log, &kept)).await.unwrap().reapplied(), 0);

    // Without a snapshot everything is applied, and comes out the same.
    let empty = store(&dir.path().join("empty"));
    assert_eq!(Worker::open(spec(&log, &empty)).await.unwrap().reapplied(), batches);
    for table in Table::ALL {
        let rows = async |store: &Arc<dyn Store>| {
            eschaton_driver::scan_all(store.as_ref(), table, b"").await.unwrap()
        };
        assert_eq!(rows(&kept).await, rows(&empty).await, "table {}", table.name());
    }
    let outputs = eschaton_driver::scan_all(kept.as_ref(), Table::Outputs, b"").await.unwrap();
    assert_eq!(outputs.len(), RECORDS as usize);
}
