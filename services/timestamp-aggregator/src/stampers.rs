//! Stampers as workers: how one is loaded, and what is seen of it from outside its thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_core::{Family, Table, Topic, TopicPartition};
use eschaton_driver::{Host, Limits, WorkerError, WorkerSpec};
use eschaton_kit::Ports;
use eschaton_ports::Store;
use eschaton_timestamp::rows::{RowKey, table};
use eschaton_timestamp::{Stamper, StamperConfig};

use crate::AggregatorConfig;
use crate::metrics::OPEN_DIGESTS;

/// Consumer group of all stampers.
pub const STAMPERS: &str = "timestamp-aggregator";

/// What a worker waits for, seen from outside its thread.
#[derive(Debug)]
pub struct Timer {
    next_ms: AtomicU64,
}

impl Default for Timer {
    fn default() -> Self {
        Self { next_ms: AtomicU64::new(u64::MAX) }
    }
}

impl Timer {
    /// Log time at which something falls due; `u64::MAX` when nothing waits here.
    pub fn next_ms(&self) -> u64 {
        self.next_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, next_ms: Option<u64>) {
        self.next_ms.store(next_ms.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Makes stampers for the driver.
pub struct StamperHost {
    config: StamperConfig,
    timer: Arc<Timer>,
}

impl StamperHost {
    /// For one shard.
    pub fn new(config: StamperConfig, timer: Arc<Timer>) -> Self {
        Self { config, timer }
    }
}

/// The shard may be another process's from now on: nothing falls due here.
impl Drop for StamperHost {
    fn drop(&mut self) {
        self.timer.set(None);
        metrics::gauge!(OPEN_DIGESTS, "shard" => self.config.shard.to_string()).set(0);
    }
}

#[async_trait]
impl Host for StamperHost {
    type Core = Stamper;

    async fn load(&self, store: &dyn Store) -> Result<Stamper, WorkerError> {
        let own = |head: Option<&Bytes>| Stamper::rows_for_load(&self.config, head);
        let rows = load_rows(store, own).await?;
        let stamper = Stamper::load(self.config, &|key: &[u8]| rows.get(key).cloned()).map_err(core_error)?;
        self.observe(&stamper);
        Ok(stamper)
    }

    fn observe(&self, core: &Stamper) {
        self.timer.set(core.next_timer_ms());
        metrics::gauge!(OPEN_DIGESTS, "shard" => self.config.shard.to_string()).set(core.open_digests());
    }
}

/// A shard's worker.
pub fn stamper_spec(
    config: &AggregatorConfig,
    shard: u32,
    ports: &Ports,
    timer: Arc<Timer>,
) -> WorkerSpec<StamperHost> {
    WorkerSpec {
        group: STAMPERS.to_owned(),
        input: TopicPartition { topic: Topic::Stamps, partition: shard },
        family: Family::Stamps,
        changes: Topic::StampChanges,
        host: StamperHost::new(config.stamper(shard), timer),
        log: ports.log.clone(),
        store: ports.store.clone(),
        clock: ports.clock.clone(),
        limits: Limits::default(),
        observer: None,
    }
}

/// The head's row, and then all rows that it asks for.
pub(crate) async fn load_rows(
    store: &dyn Store,
    wanted: impl Fn(Option<&Bytes>) -> Result<Vec<RowKey>, eschaton_timestamp::TimestampError>,
) -> Result<HashMap<RowKey, Bytes>, WorkerError> {
    let mut rows = HashMap::new();
    for head_key in wanted(None).map_err(core_error)? {
        get(store, vec![head_key.clone()], &mut rows).await?;
        if let Some(head) = rows.get(&head_key).cloned() {
            get(store, wanted(Some(&head)).map_err(core_error)?, &mut rows).await?;
        }
    }
    Ok(rows)
}

/// Reads rows of any tables; those that are not there are left out.
pub(crate) async fn get(
    store: &dyn Store,
    keys: Vec<RowKey>,
    rows: &mut HashMap<RowKey, Bytes>,
) -> Result<(), WorkerError> {
    let mut by_table: HashMap<Table, Vec<RowKey>> = HashMap::new();
    for key in keys {
        by_table.entry(table(&key)).or_default().push(key);
    }
    for (table, keys) in by_table {
        let values = store.get_many(table, &keys).await?;
        rows.extend(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))));
    }
    Ok(())
}

pub(crate) fn core_error(error: eschaton_timestamp::TimestampError) -> WorkerError {
    WorkerError::Core(error.into())
}
