//! The store: late batches without effect. In some worlds a batch is written at once, in others row by row,
//! its watermark last, and single writes come late or never; the newest writes of each worker are lost when the
//! machine fails before they are synced.

mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_core::{Family, Table};
use eschaton_ports::{Row, ScanPage, Store, StoreBatch, StoreError, Watermark};

use crate::bug::Bug;
use crate::event::Event;
use crate::world::{Sim, World};

use state::Write;
pub(crate) use state::{StoreState, Tables};

/// How long writes are waited for.
const PATIENCE_MS: u64 = 30;

impl World {
    fn store_away(&mut self, applied: bool) -> StoreError {
        self.note(&Event::StoreUnavailable { applied });
        StoreError::Unavailable { detail: format!("simulated; applied: {applied}") }
    }

    /// A batch's rows in writes of some rows each.
    fn portions(&mut self, batch: &StoreBatch) -> Vec<Write> {
        let mut writes: Vec<Write> = Vec::new();
        let mut seen = BTreeSet::new();
        // The last of several changes of a row.
        for row in batch.rows.iter().rev().filter(|row| seen.insert((row.table, &row.key))) {
            let fits = !self.dice.percent(40);
            match writes.last_mut().filter(|_| fits) {
                Some(write) => write.rows.push(row.clone()),
                None => writes.push(Write { rows: vec![row.clone()], ..of(batch) }),
            }
        }
        writes
    }
}

/// An empty write of this batch.
fn of(batch: &StoreBatch) -> Write {
    Write { worker: batch.worker.clone(), stamp: batch.watermark.sequence, ..Write::default() }
}

fn mark_of(batch: &StoreBatch) -> Write {
    Write { mark: Some(batch.watermark), ..of(batch) }
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

    /// Sends writes off together and waits until all have arrived. One that does not come in time may yet
    /// come later.
    async fn deliver(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let (sent, lost, until_ms) = {
            let mut world = self.0.world();
            let (mut sent, mut lost) = (Vec::with_capacity(writes.len()), false);
            for write in writes {
                if world.fault(|faults| faults.write_lost) {
                    lost = true;
                    continue;
                }
                let late = world.fault(|faults| faults.write_late);
                let way_ms = if late { world.dice.between(PATIENCE_MS, 3_000) } else { world.dice.below(3) };
                let due_ms = world.now_ms + way_ms;
                sent.push(world.store.send(write, due_ms));
            }
            (sent, lost, world.now_ms + PATIENCE_MS)
        };
        std::future::poll_fn(|_| {
            let mut world = self.0.world();
            world.land();
            if !lost && sent.iter().all(|id| world.store.has_landed(*id)) {
                return Poll::Ready(Ok(()));
            }
            if world.now_ms >= until_ms {
                return Poll::Ready(Err(world.store_away(true)));
            }
            world.gate.event = true;
            world.gate.until_ms = Some(world.gate.until_ms.map_or(until_ms, |other| other.min(until_ms)));
            Poll::Pending
        })
        .await
    }

    /// The rows, all of them acknowledged, then the watermark.
    async fn write_singly(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        let writes = self.0.world().portions(batch);
        self.deliver(writes).await?;
        self.deliver(vec![mark_of(batch)]).await
    }

    async fn write(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        let (singly, mark_first) = {
            let world = self.0.world();
            (world.profile.rows_singly, world.bug == Some(Bug::WatermarkBeforeRows))
        };
        if mark_first {
            self.0.world().take_effect(mark_of(batch));
            self.0.latency().await;
        }
        if !singly {
            self.0.world().take_effect(Write { rows: batch.rows.clone(), ..mark_of(batch) });
            return Ok(());
        }
        if batch.family == Family::Trees {
            // Whole, before its first row: whoever asks for the watermark can complete it.
            self.deliver(vec![Write { begun: Some(batch.clone()), ..of(batch) }]).await?;
        }
        self.write_singly(batch).await
    }
}

#[async_trait]
impl Store for SimStore {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.arrive().await?;
        let value = |world: &World, key: &Bytes| world.store.tables.get(&(table, key.clone())).cloned();
        let first = {
            let mut world = self.0.world();
            if world.profile.rows_singly { world.dice.index(keys.len() + 1) } else { keys.len() }
        };
        let (now, later) = keys.split_at(first);
        let mut values: Vec<_> = {
            let world = self.0.world();
            now.iter().map(|key| value(&world, key)).collect()
        };
        if !later.is_empty() {
            // Rows of different partitions are of different moments.
            self.0.latency().await;
            let world = self.0.world();
            values.extend(later.iter().map(|key| value(&world, key)));
        }
        Ok(values)
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        batch.check_family()?;
        self.arrive().await?;
        let late = {
            let mut world = self.0.world();
            let late = world.store.is_late(&batch);
            let event = Event::Apply {
                worker: batch.worker.clone(),
                sequence: batch.watermark.sequence,
                rows: batch.rows.len(),
                late,
            };
            world.note(&event);
            // A process may know an old watermark, and write what is there already.
            late && !(world.profile.rows_singly && world.faults && world.dice.percent(50))
        };
        if late {
            return Ok(());
        }
        self.write(&batch).await?;
        self.0.latency().await;
        let mut world = self.0.world();
        if world.fault(|faults| faults.store_unsure) { Err(world.store_away(true)) } else { Ok(()) }
    }

    async fn watermark(&self, worker: &str) -> Result<Option<Watermark>, StoreError> {
        self.arrive().await?;
        let (mark, unfinished) = {
            let world = self.0.world();
            let mark = world.store.marks.get(worker).copied();
            let begun = world.store.begun.get(worker);
            let unfinished = begun.filter(|begun| mark.is_none_or(|mark| begun.watermark > mark));
            (mark, unfinished.filter(|_| world.bug != Some(Bug::HalfWrittenTrees)).cloned())
        };
        let Some(batch) = unfinished else { return Ok(mark) };
        let sequence = batch.watermark.sequence;
        self.0.world().note(&Event::Completed { worker: worker.to_owned(), sequence });
        self.write_singly(&batch).await?;
        Ok(Some(batch.watermark))
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
        let limit = if world.faults { limit.min(1 + world.dice.index(16)) } else { limit };
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
