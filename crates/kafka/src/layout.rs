//! Which partitions there are, what they are called in the cluster, and what may be published.

use eschaton_ports::{LogError, NewRecord, RECORD_BYTES_MAX, Topic, TopicPartition};

use crate::KafkaConfig;
use crate::error::invalid;

/// The most bytes of one append or commit, records' envelopes included.
pub const APPEND_BYTES_MAX: usize = 64 << 20;
/// The most records of one append or commit.
pub const APPEND_RECORDS_MAX: usize = 100_000;
/// The most bytes of a claim group's name.
pub const GROUP_NAME_BYTES_MAX: usize = 100;

/// Partitions, numbered from 0 over all topics.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) shards: u32,
    names: [String; Topic::ALL.len()],
}

impl Layout {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        let names = Topic::ALL.map(|topic| format!("{}.{}", config.topic_prefix, topic.name()));
        Self { shards: config.shards, names }
    }

    /// All partitions, in the order of their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = TopicPartition> + use<> {
        let shards = self.shards;
        Topic::ALL.into_iter().flat_map(move |topic| {
            (0..topic.partitions(shards)).map(move |partition| TopicPartition { topic, partition })
        })
    }

    /// A topic's name in the cluster.
    pub(crate) fn name(&self, topic: Topic) -> &str {
        Topic::ALL.iter().position(|other| *other == topic).map_or("", |index| &self.names[index])
    }

    /// A partition from its name and number in the cluster.
    pub(crate) fn parse(&self, name: &str, partition: i32) -> Option<TopicPartition> {
        let topic = *Topic::ALL.get(self.names.iter().position(|known| known == name)?)?;
        Some(TopicPartition { topic, partition: u32::try_from(partition).ok()? })
    }

    /// A partition's number.
    pub(crate) fn index(&self, at: TopicPartition) -> Result<usize, LogError> {
        let unknown = || invalid(format!("there is no partition {at}; the log has {} shards", self.shards));
        if at.partition >= at.topic.partitions(self.shards) {
            return Err(unknown());
        }
        let before: u32 = Topic::ALL
            .into_iter()
            .take_while(|topic| *topic != at.topic)
            .map(|topic| topic.partitions(self.shards))
            .sum();
        usize::try_from(before + at.partition).map_err(|_| unknown())
    }

    /// Refuses what can never be published.
    pub(crate) fn check(&self, records: &[NewRecord]) -> Result<(), LogError> {
        let mut bytes = 0;
        for record in records {
            self.index(record.to)?;
            let length = record.payload.len();
            if length > RECORD_BYTES_MAX {
                return Err(invalid(format!(
                    "a record of {length} bytes to {} is over the {RECORD_BYTES_MAX} that fit; split it",
                    record.to
                )));
            }
            bytes += length + size_of::<NewRecord>();
        }
        if bytes > APPEND_BYTES_MAX || records.len() > APPEND_RECORDS_MAX {
            return Err(invalid(format!(
                "{} records of {bytes} bytes at once are over the {APPEND_RECORDS_MAX} records and \
                 {APPEND_BYTES_MAX} bytes that fit; publish fewer",
                records.len()
            )));
        }
        Ok(())
    }
}

/// Kafka's partition number.
pub(crate) fn number(at: TopicPartition) -> i32 {
    i32::try_from(at.partition).unwrap_or(i32::MAX)
}

/// Kafka's offset, for offsets that it can have.
pub(crate) fn offset(offset: u64) -> rdkafka::Offset {
    rdkafka::Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn partitions_have_numbers_and_names_of_their_own() {
        for shards in [1, 4, 256] {
            let layout = Layout::new(&KafkaConfig::new("a:1", shards));
            assert!(layout.all().enumerate().all(|(number, at)| layout.index(at).unwrap() == number));
            assert!(
                layout.all().all(|at| layout.parse(layout.name(at.topic), number(at)) == Some(at)),
                "names come back"
            );
            assert!(layout.index(TopicPartition { topic: Topic::Decisions, partition: shards }).is_err());
        }
        let layout = Layout::new(&KafkaConfig { topic_prefix: "net".into(), ..KafkaConfig::new("a:1", 1) });
        assert_eq!(layout.name(Topic::Ledger), "net.ledger");
        assert_eq!(layout.parse("other.ledger", 0), None);
    }
}
