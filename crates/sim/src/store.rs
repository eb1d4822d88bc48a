//! The store: batches by watermark, late ones without effect, the newest of each worker lost when the
//! machine fails before they are synced.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_core::Table;
use eschaton_ports::{Row, ScanPage, Store, StoreBatch, StoreError, Watermark};

use crate::bug::Bug;
use crate::event::Event;
use crate::world::{Sim, World};

/// Rows of all tables.
pub(crate) type Tables = BTreeMap<(Table, Bytes), Bytes>;

/// What is in the store.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    pub(crate) tables: Tables,
    marks: BTreeMap<String, Watermark>,
    /// Of each worker, oldest first: what its batches replaced that are not synced yet.
    unsynced: BTreeMap<String, VecDeque<Undo>>,
}

#[derive(Debug)]
struct Undo {
    mark: Option<Watermark>,
    rows: Vec<(Table, Bytes, Option<Bytes>)>,
}

impl StoreState {
    fn is_late(&self, batch: &StoreBatch) -> bool {
        self.marks.get(&batch.worker).is_some_and(|mark| batch.watermark.sequence <= mark.sequence)
    }

    fn begin(&mut self, batch: &StoreBatch) {
        let mark = self.marks.insert(batch.worker.clone(), batch.watermark);
        self.unsynced.entry(batch.worker.clone()).or_default().push_back(Undo { mark, rows: Vec::new() });
    }

    fn write(&mut self, batch: &StoreBatch) {
        for change in &batch.rows {
            let key = (change.table, change.key.clone());
            let old = match &change.value {
                Some(value) => self.tables.insert(key, value.clone()),
                None => self.tables.remove(&key),
            };
            if let Some(undo) = self.unsynced.get_mut(&batch.worker).and_then(VecDeque::back_mut) {
                undo.rows.push((change.table, change.key.clone(), old));
            }
        }
    }

    /// All batches are on the disk.
    pub(crate) fn sync(&mut self) {
        self.unsynced.clear();
    }
}

impl World {
    /// Some more batches are on the disk; the order between workers is nobody's promise.
    pub(crate) fn sync_some(&mut self) {
        for batches in self.store.unsynced.values_mut() {
            let synced = self.dice.index(batches.len() + 1);
            batches.drain(..synced);
        }
    }

    /// The machine failed: each worker's newest batches that were not synced are gone.
    pub(crate) fn lose_unsynced(&mut self) -> usize {
        let mut lost = 0;
        let store = &mut self.store;
        for (worker, batches) in &mut store.unsynced {
            for _ in 0..self.dice.index(batches.len() + 1) {
                let Some(undo) = batches.pop_back() else { break };
                lost += 1;
                for (table, key, old) in undo.rows.into_iter().rev() {
                    match old {
                        Some(value) => store.tables.insert((table, key), value),
                        None => store.tables.remove(&(table, key)),
                    };
                }
                match undo.mark {
                    Some(mark) => store.marks.insert(worker.clone(), mark),
                    None => store.marks.remove(worker),
                };
            }
            batches.clear();
        }
        lost
    }

    fn store_away(&mut self, applied: bool) -> StoreError {
        self.note(&Event::StoreUnavailable { applied });
        StoreError::Unavailable { detail: format!("simulated; applied: {applied}") }
    }
}

/// The store as its users see it.
pub(crate) struct SimStore(pub(crate) Sim);

impl SimStore {
    /// The way there, and the refusals that any operation may meet.
    async fn arrive(&self) -> Result<(), StoreError> {
        self.0.latency().await;
        let mut world = self.0.world();
        if world.fault(|faults| faults.store_refused) { Err(world.store_away(false)) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for SimStore {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.arrive().await?;
        let world = self.0.world();
        Ok(keys.iter().map(|key| world.store.tables.get(&(table, key.clone())).cloned()).collect())
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        batch.check_family()?;
        self.arrive().await?;
        let torn = {
            let mut world = self.0.world();
            let late = world.store.is_late(&batch);
            let event = Event::Apply {
                worker: batch.worker.clone(),
                sequence: batch.watermark.sequence,
                rows: batch.rows.len(),
                late,
            };
            world.note(&event);
            if late {
                return Ok(());
            }
            world.store.begin(&batch);
            let torn = world.bug == Some(Bug::WatermarkBeforeRows);
            if !torn {
                world.store.write(&batch);
            }
            torn
        };
        if torn {
            self.0.latency().await;
            self.0.world().store.write(&batch);
        }
        self.0.latency().await;
        let mut world = self.0.world();
        if world.fault(|faults| faults.store_unsure) { Err(world.store_away(true)) } else { Ok(()) }
    }

    async fn watermark(&self, worker: &str) -> Result<Option<Watermark>, StoreError> {
        self.arrive().await?;
        Ok(self.0.world().store.marks.get(worker).copied())
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        self.arrive().await?;
        let mut world = self.0.world();
        // Pages shorter than asked for: a crash may come between any two.
        let limit = limit.min(1 + world.dice.index(16));
        let start = match after {
            Some(after) => Bound::Excluded((table, Bytes::copy_from_slice(after))),
            None => Bound::Included((table, Bytes::copy_from_slice(prefix))),
        };
        let mut under = world
            .store
            .tables
            .range((start, Bound::Unbounded))
            .take_while(|((of, key), _)| *of == table && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()));
        let rows: Vec<Row> = under.by_ref().take(limit).collect();
        let next = if under.next().is_some() { rows.last().map(|(key, _)| key.clone()) } else { None };
        Ok(ScanPage { rows, next })
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.arrive().await?;
        self.0.world().store.sync();
        Ok(())
    }
}
