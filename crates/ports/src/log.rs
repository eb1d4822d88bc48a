use async_trait::async_trait;
use bytes::Bytes;

use crate::membership::{Membership, Owner, Sole};

pub use eschaton_core::{Position, RecordId, Topic, TopicPartition};

/// The most bytes of one record's payload: a transaction and its envelope fit many times over.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// W3C trace context, carried so that one payment is one trace across services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Trace id.
    pub trace_id: u128,
    /// Parent span id.
    pub span_id: u64,
    /// 1: sampled.
    pub flags: u8,
}

/// A record to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRecord {
    /// Where to.
    pub to: TopicPartition,
    /// The writer's time, ms since 1970. Workers give log time, edges the wall clock.
    pub at_ms: u64,
    /// Set by workers; absent from edges, whose records are commands and repeatable.
    pub id: Option<RecordId>,
    /// Set when the trace is sampled.
    pub trace: Option<TraceContext>,
    /// At most [`RECORD_BYTES_MAX`].
    pub payload: Bytes,
}

/// A published record.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// Its place in the partition.
    pub offset: u64,
    /// See [`NewRecord::at_ms`].
    pub at_ms: u64,
    /// See [`NewRecord::id`].
    pub id: Option<RecordId>,
    /// See [`NewRecord::trace`].
    pub trace: Option<TraceContext>,
    /// The bytes.
    pub payload: Bytes,
}

/// Why the log did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Another owner claimed the partitions: stop, change nothing more. Never retry.
    #[error("claim {group} was taken by a newer owner; this worker must stop")]
    Fenced {
        /// The claim's group.
        group: String,
    },
    /// Passing trouble. The operation may or may not have happened: reopen the claim, then look.
    #[error("log is not available: {detail}; retry")]
    Unavailable {
        /// What the engine said.
        detail: String,
    },
    /// The engine cannot go on.
    #[error("log failed: {detail}; stop the node and see to its disk")]
    Fatal {
        /// What the engine said.
        detail: String,
    },
    /// The caller's fault.
    #[error("log refuses: {detail}")]
    Invalid {
        /// Why.
        detail: String,
    },
}

/// The truth: partitioned, ordered, durable.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Publishes records; they are durable when this returns, and their positions come in the records'
    /// order. Records to one partition keep their order. `Invalid`: none was published. Any other error
    /// leaves it open which were: repeat, consumers tolerate it. Readers may see some before others, for
    /// what is appended are commands, each complete in itself; what belongs together is a commit.
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError>;

    /// Whether readers of a partition wait for commits that are under way to it, and with them for what was appended
    /// behind. Workers then send what they tell one another after their commits instead of with them, or each would
    /// wait for the others' commits.
    fn commits_hold_readers(&self) -> bool {
        false
    }

    /// Committed records at or after `from`, in order, at most `max_records` and about `max_bytes`
    /// (one record always fits). Empty at the end; never waits.
    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError>;

    /// Returns when some partition holds a committed record at or after its offset.
    async fn wait(&self, from: &[(TopicPartition, u64)]) -> Result<(), LogError>;

    /// The offset after the last committed record. The next one's is this or, in an engine that leaves gaps,
    /// a higher one.
    async fn end(&self, at: TopicPartition) -> Result<u64, LogError>;

    /// Takes over consumption of these partitions for `group` and fences the former owner. What the
    /// former owner has in flight either committed before this returns, or never will.
    async fn claim(&self, group: &str, partitions: &[TopicPartition]) -> Result<Box<dyn Claim>, LogError>;

    /// Joins the processes of `group`, which share out the `partitions` partitions of `topic` among
    /// themselves. Membership says who should claim what; only claims keep a former owner from publishing.
    /// A log that one process has to itself gives it everything.
    async fn join(
        &self,
        group: &str,
        topic: Topic,
        partitions: u32,
    ) -> Result<Box<dyn Membership>, LogError> {
        let _ = (group, topic);
        Ok(Box::new(Sole(Some(partitions))))
    }

    /// The processes of `group` and what each has at the moment; those that have nothing too. None in a log
    /// that one process has to itself.
    async fn owners(&self, group: &str) -> Result<Vec<Owner>, LogError> {
        let _ = group;
        Ok(Vec::new())
    }
}

/// Ownership of a group's partitions.
#[async_trait]
pub trait Claim: Send + 'static {
    /// The next offset to consume of each claimed partition, as last committed (0 at first).
    fn positions(&self) -> Vec<(TopicPartition, u64)>;

    /// Publishes outputs AND advances positions, atomically and durably; gives the outputs' positions.
    /// `Fenced` when a newer claim exists: nothing was published.
    async fn commit(
        &mut self,
        outputs: Vec<NewRecord>,
        advance: &[(TopicPartition, u64)],
    ) -> Result<Vec<Position>, LogError>;
}
