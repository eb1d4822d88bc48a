use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use eschaton_core::Table;
use eschaton_driver::{Host, WorkerError, scan_all};
use eschaton_ledger::{Ledger, LedgerConfig, keys};
use eschaton_ports::Store;

use crate::metrics::PENDING;

/// Consumer group of all resolvers.
pub const GROUP: &str = "conflict-resolver";

/// What a shard has pending, seen from outside its thread.
#[derive(Debug)]
pub struct ShardGauges {
    pending: AtomicU64,
    next_timer_ms: AtomicU64,
}

impl Default for ShardGauges {
    fn default() -> Self {
        Self { pending: AtomicU64::new(0), next_timer_ms: AtomicU64::new(u64::MAX) }
    }
}

impl ShardGauges {
    /// Undecided transactions.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Log time at which something falls due; `u64::MAX` when nothing waits.
    pub fn next_timer_ms(&self) -> u64 {
        self.next_timer_ms.load(Ordering::Relaxed)
    }
}

/// Makes ledger cores for the driver.
pub struct LedgerHost {
    config: LedgerConfig,
    gauges: Arc<[ShardGauges]>,
}

impl LedgerHost {
    /// For one shard; `gauges` has an entry for each shard.
    pub fn new(config: LedgerConfig, gauges: Arc<[ShardGauges]>) -> Self {
        Self { config, gauges }
    }

    fn own(&self) -> Option<&ShardGauges> {
        self.gauges.get(usize::try_from(self.config.shard).ok()?)
    }
}

/// The shard may be another process's from now on: nothing is pending here, nothing falls due.
impl Drop for LedgerHost {
    fn drop(&mut self) {
        if let Some(gauges) = self.own() {
            gauges.pending.store(0, Ordering::Relaxed);
            gauges.next_timer_ms.store(u64::MAX, Ordering::Relaxed);
            metrics::gauge!(PENDING, "shard" => self.config.shard.to_string()).set(0);
        }
    }
}

#[async_trait]
impl Host for LedgerHost {
    type Core = Ledger;

    async fn load(&self, store: &dyn Store) -> Result<Ledger, WorkerError> {
        let rows = scan_all(store, Table::Pending, &keys::pending_prefix(self.config.shard)).await?;
        let ledger = Ledger::load(self.config, rows.into_iter().map(|(_, value)| value))?;
        self.observe(&ledger);
        Ok(ledger)
    }

    fn observe(&self, core: &Ledger) {
        let Some(gauges) = self.own() else { return };
        let pending = u64::try_from(core.pending()).unwrap_or(u64::MAX);
        if gauges.pending.swap(pending, Ordering::Relaxed) != pending {
            let shown = u32::try_from(pending).unwrap_or(u32::MAX);
            metrics::gauge!(PENDING, "shard" => self.config.shard.to_string()).set(shown);
        }
        gauges.next_timer_ms.store(core.next_timer_ms().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
