//! The newest records of one partition, as the follower delivers them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use eschaton_ports::{LogError, LogRecord, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::page::Page;

/// One partition, followed or not.
pub(super) struct Partition {
    pub(super) at: TopicPartition,
    bytes_max: usize,
    state: Mutex<State>,
    grown: Notify,
    /// Below it everything was acknowledged to this process.
    promised: AtomicU64,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    tail: Option<Tail>,
    /// A last stable offset, and where the last record below it ends.
    known_end: (u64, u64),
    /// Something asked since the follower looked last.
    used: bool,
    trouble: Option<LogError>,
}

/// All records from `start` to `next`.
struct Tail {
    start: u64,
    next: u64,
    /// After the last record that was seen.
    end: Option<u64>,
    records: VecDeque<LogRecord>,
    bytes: usize,
}

/// Somebody waits for the partition to grow, as long as this lives.
pub(super) struct Waiting<'a>(&'a Partition);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn weight(record: &LogRecord) -> usize {
    record.payload.len() + size_of::<LogRecord>()
}

impl Partition {
    pub(super) fn new(at: TopicPartition, bytes_max: usize) -> Self {
        Self {
            at,
            bytes_max,
            state: Mutex::default(),
            grown: Notify::new(),
            promised: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn promise(&self, end: u64) {
        self.promised.fetch_max(end, Ordering::AcqRel);
    }

    pub(super) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Acquire)
    }

    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Resolves at the next growth after it is enabled.
    pub(super) fn grows(&self) -> Notified<'_> {
        self.grown.notified()
    }

    /// What went wrong with following it, once.
    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.state.lock().trouble.take() {
            Some(trouble) => Err(trouble),
            None => Ok(()),
        }
    }

    /// Records at or after `from`; `None`: there are none in memory.
    pub(super) fn read(&self, from: u64, max_records: usize, max_bytes: usize) -> Option<Vec<LogRecord>> {
        let mut state = self.state.lock();
        state.used = true;
        let tail = state.tail.as_ref().filter(|tail| tail.start <= from)?;
        let first = tail.records.partition_point(|record| record.offset < from);
        let mut page = Page::new(max_records, max_bytes);
        for record in tail.records.range(first..) {
            if !page.fits(record.payload.len()) {
                break;
            }
            page.take(record.clone());
        }
        (!page.records.is_empty()).then_some(page.records)
    }

    /// Whether every record at or after `from` is or will be in memory.
    pub(super) fn follows(&self, from: u64) -> bool {
        let mut state = self.state.lock();
        state.used = true;
        state.tail.as_ref().is_some_and(|tail| tail.start <= from)
    }

    /// After the last record that was seen by following.
    pub(super) fn followed_end(&self) -> Option<u64> {
        self.state.lock().tail.as_ref()?.end
    }

    /// Whether there is a record at or after `from`, or none below `stable`, or nobody follows any more.
    pub(super) fn settled(&self, from: u64, stable: u64) -> bool {
        let state = self.state.lock();
        state.tail.as_ref().is_none_or(|tail| {
            tail.next >= stable || tail.start > from || tail.end.is_some_and(|end| end > from)
        })
    }

    /// A last stable offset that was looked at, and where the last record below it ends.
    pub(super) fn known_end(&self) -> (u64, u64) {
        self.state.lock().known_end
    }

    pub(super) fn learn_end(&self, stable: u64, end: u64) {
        let mut state = self.state.lock();
        if stable > state.known_end.0 {
            state.known_end = (stable, end);
        }
    }

    /// From now on records from `from` on are expected. False: they are already.
    pub(super) fn begin(&self, from: u64) -> bool {
        let mut state = self.state.lock();
        state.used = true;
        if state.tail.is_some() {
            return false;
        }
        let tail = Tail { start: from, next: from, end: None, records: VecDeque::new(), bytes: 0 };
        state.tail = Some(tail);
        true
    }

    // For the follower:

    /// Where to begin, if it is still to be followed.
    pub(super) fn start(&self) -> Option<u64> {
        self.state.lock().tail.as_ref().map(|tail| tail.next)
    }

    /// Takes what was delivered; `position`: everything below it was.
    pub(super) fn grow(&self, records: Vec<LogRecord>, position: Option<u64>) {
        let mut state = self.state.lock();
        let Some(tail) = &mut state.tail else { return };
        let before = (tail.next, tail.end);
        for record in records {
            if record.offset < tail.next {
                continue;
            }
            tail.next = record.offset + 1;
            tail.end = Some(tail.next);
            tail.bytes += weight(&record);
            tail.records.push_back(record);
        }
        while tail.bytes > self.bytes_max && tail.records.len() > 1 {
            if let Some(dropped) = tail.records.pop_front() {
                tail.bytes -= weight(&dropped);
                tail.start = dropped.offset + 1;
            }
        }
        tail.next = tail.next.max(position.unwrap_or(0));
        if before != (tail.next, tail.end) {
            drop(state);
            self.grown.notify_waiters();
        }
    }

    /// Whether nobody asked since the last look.
    pub(super) fn is_idle(&self) -> bool {
        let mut state = self.state.lock();
        let used = std::mem::take(&mut state.used) || self.waiting.load(Ordering::Acquire) > 0;
        !used && state.tail.is_some()
    }

    /// Is followed no more. `trouble` is for whoever waits or asks next.
    pub(super) fn forget(&self, trouble: Option<LogError>) {
        let mut state = self.state.lock();
        state.tail = None;
        if trouble.is_some() {
            state.trouble = trouble;
        }
        drop(state);
        self.grown.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use eschaton_ports::Topic;

    use super::*;

    fn record(offset: u64) -> LogRecord {
        LogRecord { offset, at_ms: 0, id: None, trace: None, payload: Bytes::from(vec![0; 1_000]) }
    }

    fn offsets(records: Option<Vec<LogRecord>>) -> Vec<u64> {
        records.into_iter().flatten().map(|record| record.offset).collect()
    }

    #[test]
    fn the_oldest_leave_first_and_gaps_are_passed() {
        let at = TopicPartition { topic: Topic::Ledger, partition: 0 };
        let partition = Partition::new(at, 5_000);
        partition.grow(vec![record(1)], None);
        assert_eq!(partition.read(0, 10, 1 << 20), None, "not followed");
        assert!(partition.begin(5) && !partition.begin(7));
        partition.grow([5, 6, 9, 10].map(record).to_vec(), Some(12));
        assert_eq!(offsets(partition.read(7, 10, 1 << 20)), [9, 10]);
        assert_eq!(offsets(partition.read(5, 10, 1)), [5]);
        assert_eq!((partition.read(4, 1, 1), partition.read(11, 1, 1)), (None, None));
        assert_eq!(partition.followed_end(), Some(11));
        assert!(partition.settled(11, 12) && !partition.settled(11, 13));
        partition.grow([10, 20, 21].map(record).to_vec(), None);
        assert!(!partition.follows(5), "dropped for want of room");
        assert_eq!(offsets(partition.read(10, 10, 1 << 20)), [10, 20, 21]);
    }
}
