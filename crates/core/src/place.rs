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
    /// What stampers consume: digests, a partition for each shard.
    Stamps = 5,
    /// Where stampers put the digests, and which intervals they closed.
    Stamped = 6,
    /// Rows as stampers left them.
    StampChanges = 7,
    /// What the anchorer consumes; one partition.
    Anchors = 8,
    /// What became of anchors.
    AnchorEvents = 9,
    /// Rows as the anchorer left them.
    AnchorChanges = 10,
}

impl Topic {
    /// All topics.
    ///
    /// Engines number partitions in this order: new topics go to the end.
    pub const ALL: [Topic; 10] = [
        Topic::Ledger,
        Topic::Decisions,
        Topic::Changes,
        Topic::Checkpoints,
        Topic::Stamps,
        Topic::Stamped,
        Topic::StampChanges,
        Topic::Anchors,
        Topic::AnchorEvents,
        Topic::AnchorChanges,
    ];

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
            Topic::Stamps => "stamps",
            Topic::Stamped => "stamped",
            Topic::StampChanges => "stamp-changes",
            Topic::Anchors => "anchors",
            Topic::AnchorEvents => "anchor-events",
            Topic::AnchorChanges => "anchor-changes",
        }
    }

    /// Whether workers record their rows here, and what they tell one another.
    pub fn holds_changes(self) -> bool {
        matches!(self, Topic::Changes | Topic::StampChanges | Topic::AnchorChanges)
    }

    /// Partitions of this topic when ledgers have `shards` shards.
    pub fn partitions(self, shards: u32) -> u32 {
        match self {
            Topic::Ledger
            | Topic::Decisions
            | Topic::Changes
            | Topic::Stamps
            | Topic::Stamped
            | Topic::StampChanges => shards,
            Topic::Checkpoints | Topic::Anchors | Topic::AnchorEvents | Topic::AnchorChanges => 1,
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
///
/// A message that a worker sent after its commit is named by its number among all that this worker sent to this
/// consumer: the source is then the sender's partition of a topic that [holds changes](Topic::holds_changes), `offset`
/// the number from 0, `index` 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Partition of the input.
    pub source: TopicPartition,
    /// Offset of the input.
    pub offset: u64,
    /// Which of the input's outputs.
    pub index: u32,
}
