use std::fmt;

/// A named sequence of records, split into partitions. The numbers are on disk: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Topic {
    /// What ledger shards consume.
    Ledger = 1,
    /// What ledger shards decided.
    Decisions = 2,
    /// Rows as ledger shards left them.
    Changes = 3,
    /// The prover's checkpoints; one partition.
    Checkpoints = 4,
}

impl Topic {
    /// All topics.
    pub const ALL: [Topic; 4] = [Topic::Ledger, Topic::Decisions, Topic::Changes, Topic::Checkpoints];

    /// The number in record ids.
    pub fn number(self) -> u32 {
        u32::from(self as u8)
    }

    /// The name in engines, metrics and status.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Ledger => "ledger",
            Topic::Decisions => "decisions",
            Topic::Changes => "changes",
            Topic::Checkpoints => "checkpoints",
        }
    }

    /// Partitions of this topic when ledgers have `shards` shards.
    pub fn partitions(self, shards: u32) -> u32 {
        match self {
            Topic::Ledger | Topic::Decisions | Topic::Changes => shards,
            Topic::Checkpoints => 1,
        }
    }
}

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic.
    pub topic: Topic,
    /// Partition, from 0.
    pub partition: u32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.name(), self.partition)
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which partition.
    pub at: TopicPartition,
    /// From 0. An engine may leave gaps; order is what counts.
    pub offset: u64,
}

/// Names an output by the input that caused it: consumers drop an id that they have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Partition of the input.
    pub source: TopicPartition,
    /// Offset of the input.
    pub offset: u64,
    /// Which of the input's outputs.
    pub index: u32,
}
