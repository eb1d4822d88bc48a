//! The prover's writes of a run, made anew from the log: a cluster keeps of each row only its last value.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_embedded::{EmbeddedStore, StoreOptions};
use eschaton_node::{NodeConfig, rebuild_trees};
use eschaton_ports::{Log, ScanPage, Store, StoreBatch, StoreError, Table, Watermark};
use tokio::sync::Mutex;

/// The batches of the checkpoints from offset `from` of their topic to before `to`, as the prover wrote them.
pub(crate) async fn batches(
    config: &NodeConfig,
    log: Arc<dyn Log>,
    scratch: &Path,
    (from, to): (u64, u64),
) -> anyhow::Result<Vec<StoreBatch>> {
    let (store, _) = EmbeddedStore::open(&scratch.join("trees"), &StoreOptions::default())?;
    let recorder = Arc::new(Recorder { store, from, to, batches: Mutex::default() });
    rebuild_trees(config, log, recorder.clone(), &scratch.join("key")).await?;
    let batches = std::mem::take(&mut *recorder.batches.lock().await);
    Ok(batches)
}

/// A store that remembers what was written to it.
struct Recorder {
    store: EmbeddedStore,
    from: u64,
    to: u64,
    batches: Mutex<Vec<StoreBatch>>,
}

#[async_trait]
impl Store for Recorder {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.store.get_many(table, keys).await
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        // A batch's place is the one after its checkpoint's record.
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
