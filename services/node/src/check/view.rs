//! A log that is only looked at, up to fixed ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use eschaton_ports::{Claim, Log, LogError, LogRecord, NewRecord, Position, Topic, TopicPartition};

/// Claims on it fence nobody and publish nothing, so workers can be opened over it beside those that are at work.
pub(super) struct LogView {
    log: Arc<dyn Log>,
    /// Where a claim begins.
    positions: BTreeMap<TopicPartition, u64>,
    /// What lies beyond is not seen.
    ends: BTreeMap<TopicPartition, u64>,
    counted: Topic,
    read: Arc<AtomicU64>,
}

impl LogView {
    /// Counts the records that are read of topic `counted`.
    pub(super) fn new(
        log: Arc<dyn Log>,
        positions: BTreeMap<TopicPartition, u64>,
        ends: BTreeMap<TopicPartition, u64>,
        counted: Topic,
    ) -> Self {
        Self { log, positions, ends, counted, read: Arc::default() }
    }

    /// Records of the counted topic, as they are read.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }
}

fn refuse<T>() -> Result<T, LogError> {
    Err(LogError::Invalid { detail: "a verification publishes nothing".to_owned() })
}

#[async_trait]
impl Log for LogView {
    /// Only what a worker sends once more when it opens: it is on the log, or its owner will see to it.
    async fn append(&self, _: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }

    fn commits_hold_readers(&self) -> bool {
        self.log.commits_hold_readers()
    }

    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let mut records = self.log.read(at, from, max_records, max_bytes).await?;
        if let Some(end) = self.ends.get(&at) {
            records.retain(|record| record.offset < *end);
        }
        if at.topic == self.counted {
            self.read.fetch_add(u64::try_from(records.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        Ok(records)
    }

    async fn wait(&self, from: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        self.log.wait(from).await
    }

    async fn end(&self, at: TopicPartition) -> Result<u64, LogError> {
        match self.ends.get(&at) {
            Some(end) => Ok(*end),
            None => self.log.end(at).await,
        }
    }

    async fn claim(&self, _: &str, partitions: &[TopicPartition]) -> Result<Box<dyn Claim>, LogError> {
        let position = |at: &TopicPartition| (*at, self.positions.get(at).copied().unwrap_or(0));
        Ok(Box::new(NoClaim(partitions.iter().map(position).collect())))
    }
}

struct NoClaim(Vec<(TopicPartition, u64)>);

#[async_trait]
impl Claim for NoClaim {
    fn positions(&self) -> Vec<(TopicPartition, u64)> {
        self.0.clone()
    }

    /// To publish nothing is how a worker asks whether it still owns its claim.
    async fn commit(
        &mut self,
        outputs: Vec<NewRecord>,
        advance: &[(TopicPartition, u64)],
    ) -> Result<Vec<Position>, LogError> {
        if outputs.is_empty() && advance.is_empty() { Ok(Vec::new()) } else { refuse() }
    }
}
