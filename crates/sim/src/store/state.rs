//! What is in the store, what is on its way there, and what a failing machine takes back.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use eschaton_core::Table;
use eschaton_ports::{RowChange, StoreBatch, Watermark};

use crate::bug::Bug;
use crate::event::Event;
use crate::world::World;

/// Rows of all tables.
pub(crate) type Tables = BTreeMap<(Table, Bytes), Bytes>;

/// What is in the store.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    pub(crate) tables: Tables,
    /// Of each row the stamp of its last write, a deletion included.
    stamps: BTreeMap<(Table, Bytes), u64>,
    pub(super) marks: BTreeMap<String, Watermark>,
    /// Of each worker of the trees the last batch that was begun, whole.
    pub(super) begun: BTreeMap<String, StoreBatch>,
    /// Of each worker, oldest first: what its writes replaced that are not synced yet.
    unsynced: BTreeMap<String, VecDeque<Undo>>,
    flying: Vec<Flying>,
    /// How many writes were sent.
    sent: u64,
}

/// What reaches the store at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Write {
    pub(super) worker: String,
    /// Of its rows: an older one never overrides a newer one.
    pub(super) stamp: u64,
    pub(super) rows: Vec<RowChange>,
    pub(super) mark: Option<Watermark>,
    pub(super) begun: Option<StoreBatch>,
}

/// A write on its way. It arrives even if nobody waits for it any more.
#[derive(Debug)]
struct Flying {
    id: u64,
    due_ms: u64,
    write: Write,
}

#[derive(Debug, Default)]
struct Undo {
    rows: Vec<(Table, Bytes, Option<Bytes>, Option<u64>)>,
    mark: Option<Option<Watermark>>,
    begun: Option<Option<StoreBatch>>,
}

impl StoreState {
    pub(super) fn is_late(&self, batch: &StoreBatch) -> bool {
        self.marks.get(&batch.worker).is_some_and(|mark| batch.watermark.sequence <= mark.sequence)
    }

    /// All writes that arrived are on the disk.
    pub(crate) fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// When the next write arrives.
    pub(crate) fn next_landing(&self) -> Option<u64> {
        self.flying.iter().map(|flying| flying.due_ms).min()
    }

    /// Sends a write off.
    pub(super) fn send(&mut self, write: Write, due_ms: u64) -> u64 {
        self.sent += 1;
        self.flying.push(Flying { id: self.sent, due_ms, write });
        self.sent
    }

    pub(super) fn has_landed(&self, id: u64) -> bool {
        self.flying.iter().all(|flying| flying.id != id)
    }

    fn undo(&mut self, worker: &str, undo: Undo) {
        for (table, key, value, stamp) in undo.rows.into_iter().rev() {
            let at = (table, key);
            restore(&mut self.stamps, at.clone(), stamp);
            restore(&mut self.tables, at, value);
        }
        if let Some(mark) = undo.mark {
            restore(&mut self.marks, worker.to_owned(), mark);
        }
        if let Some(begun) = undo.begun {
            restore(&mut self.begun, worker.to_owned(), begun);
        }
    }
}

fn restore<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl World {
    /// Writes that have come to the store take effect, in any order.
    pub(crate) fn land(&mut self) {
        loop {
            let due = |flying: &Flying| flying.due_ms <= self.now_ms;
            let count = self.store.flying.iter().filter(|flying| due(flying)).count();
            if count == 0 {
                return;
            }
            let which = self.dice.index(count);
            let due = (0..).zip(&self.store.flying).filter(|(_, flying)| flying.due_ms <= self.now_ms);
            let Some(place) = due.map(|(place, _)| place).nth(which) else { return };
            let flying = self.store.flying.remove(place);
            self.take_effect(flying.write);
            self.wake();
        }
    }

    /// A write takes effect.
    pub(super) fn take_effect(&mut self, write: Write) {
        let Write { worker, stamp, rows, mark, begun } = write;
        let mut undo = Undo::default();
        let (count, mut overridden) = (rows.len(), 0);
        for change in rows {
            let at = (change.table, change.key);
            let newer = self.store.stamps.get(&at).is_some_and(|there| *there > stamp);
            if newer && self.bug != Some(Bug::NoStamps) {
                overridden += 1;
                continue;
            }
            let old_stamp = self.store.stamps.insert(at.clone(), stamp);
            let old = match change.value {
                Some(value) => self.store.tables.insert(at.clone(), value),
                None => self.store.tables.remove(&at),
            };
            undo.rows.push((at.0, at.1, old, old_stamp));
        }
        let newest = |mark: &Watermark, there: Option<&Watermark>| there.is_none_or(|there| mark > there);
        if let Some(mark) = mark.filter(|mark| newest(mark, self.store.marks.get(&worker))) {
            undo.mark = Some(self.store.marks.insert(worker.clone(), mark));
        }
        let there = self.store.begun.get(&worker).map(|begun| begun.watermark);
        if let Some(begun) = begun.filter(|begun| newest(&begun.watermark, there.as_ref())) {
            undo.begun = Some(self.store.begun.insert(worker.clone(), begun));
        }
        self.note(&Event::Landed { worker: worker.clone(), stamp, rows: count, overridden });
        self.store.unsynced.entry(worker).or_default().push_back(undo);
    }

    /// Some more writes are on the disk; the order between workers is nobody's promise.
    pub(crate) fn sync_some(&mut self) {
        for writes in self.store.unsynced.values_mut() {
            let synced = self.dice.index(writes.len() + 1);
            writes.drain(..synced);
        }
    }

    /// The machine failed: each worker's newest writes that were not synced are gone, and those on their way.
    pub(crate) fn lose_unsynced(&mut self) -> usize {
        let mut lost = 0;
        self.store.flying.clear();
        for (worker, mut writes) in std::mem::take(&mut self.store.unsynced) {
            for _ in 0..self.dice.index(writes.len() + 1) {
                let Some(undo) = writes.pop_back() else { break };
                lost += 1;
                self.store.undo(&worker, undo);
            }
        }
        lost
    }
}
