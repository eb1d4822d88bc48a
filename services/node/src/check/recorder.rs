//! A store that remembers what is written to it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_ports::{ScanPage, Store, StoreBatch, StoreError, Table, Watermark};
use futures::lock::Mutex;

/// Keeps the batches whose place is above `from` and at most `to`.
pub(super) struct Recorder {
    pub(super) store: Arc<dyn Store>,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) batches: Mutex<Vec<StoreBatch>>,
}

#[async_trait]
impl Store for Recorder {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.store.get_many(table, keys).await
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        if (self.from + 1..=self.to).contains(&batch.watermark.sequence) {
            self.batches.lock().await.push(batch.clone());
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
