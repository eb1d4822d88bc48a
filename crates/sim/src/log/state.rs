//! What is on the log, and what of it readers see.

use std::collections::BTreeMap;

use eschaton_core::TopicPartition;
use eschaton_ports::LogRecord;

use super::transaction::Transaction;

/// Committed records by ascending offset, and the offset that is given next: they may lie far apart.
#[derive(Clone, Debug, Default)]
struct Partition {
    records: Vec<LogRecord>,
    next: u64,
}

/// What is on the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogState {
    partitions: BTreeMap<TopicPartition, Partition>,
    /// By group and partition: epoch of the newest claim, next offset to consume.
    pub(super) claims: BTreeMap<(String, TopicPartition), (u64, u64)>,
    /// Transactions that still hold readers back.
    pub(super) open: Vec<Transaction>,
    /// How many transactions there were.
    pub(super) begun: u64,
    /// For [`Bug::MissingFsync`]: what is on the disk.
    ///
    /// [`Bug::MissingFsync`]: crate::bug::Bug::MissingFsync
    synced: Option<Box<LogState>>,
}

impl LogState {
    /// All committed records, those too that readers do not see yet.
    pub(crate) fn records(&self, at: TopicPartition) -> &[LogRecord] {
        self.partitions.get(&at).map_or(&[], |partition| &partition.records)
    }

    /// The offset after the last committed record, whether readers see it or not.
    pub(crate) fn whole_end(&self, at: TopicPartition) -> u64 {
        self.records(at).last().map_or(0, |record| record.offset + 1)
    }

    /// The committed records before the first of any transaction that is not over.
    pub(crate) fn readable(&self, at: TopicPartition) -> &[LogRecord] {
        let stable = self.open.iter().filter_map(|transaction| transaction.holds.get(&at)).min();
        match stable {
            Some(stable) => self.span(at, 0, *stable),
            None => self.records(at),
        }
    }

    /// The offset after the last record that readers see.
    pub(crate) fn end(&self, at: TopicPartition) -> u64 {
        self.readable(at).last().map_or(0, |record| record.offset + 1)
    }

    /// The next offset that `group` will consume.
    pub(crate) fn position(&self, group: &str, at: TopicPartition) -> u64 {
        self.claims.get(&(group.to_owned(), at)).map_or(0, |(_, next)| *next)
    }

    /// The committed records from one offset up to another.
    pub(crate) fn span(&self, at: TopicPartition, from: u64, next: u64) -> &[LogRecord] {
        let records = self.records(at);
        let place = |offset| records.partition_point(|record| record.offset < offset);
        records.get(place(from)..place(next)).unwrap_or_default()
    }

    /// Gives an offset away: to a record, or to a marker that no reader sees.
    pub(super) fn take_offset(&mut self, at: TopicPartition) -> u64 {
        let next = &mut self.partitions.entry(at).or_default().next;
        *next += 1;
        *next - 1
    }

    pub(super) fn put(&mut self, at: TopicPartition, record: LogRecord) {
        let records = &mut self.partitions.entry(at).or_default().records;
        let place = records.partition_point(|other| other.offset < record.offset);
        records.insert(place, record);
    }

    /// With [`Bug::MissingFsync`] only: the disk has caught up.
    ///
    /// [`Bug::MissingFsync`]: crate::bug::Bug::MissingFsync
    pub(crate) fn sync(&mut self) {
        self.synced = None;
        self.synced = Some(Box::new(self.clone()));
    }

    /// With [`Bug::MissingFsync`] only: what was not on the disk is gone.
    ///
    /// [`Bug::MissingFsync`]: crate::bug::Bug::MissingFsync
    pub(crate) fn lose(&mut self) {
        let mut before = self.synced.take().map(|state| *state).unwrap_or_default();
        for (claim, (epoch, _)) in &self.claims {
            before.claims.entry(claim.clone()).or_default().0 = *epoch;
        }
        before.open.clear();
        before.begun = self.begun;
        *self = before;
    }
}
