use eschaton_ports::{LogError, NewRecord, RECORD_BYTES_MAX, Topic, TopicPartition};

use super::queue::{APPEND_BYTES_MAX, invalid};

/// Which partitions there are, numbered from 0.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    shards: u32,
}

impl Layout {
    pub(super) fn new(shards: u32) -> Self {
        Self { shards }
    }

    /// All partitions, in the order of their numbers.
    pub(super) fn all(self) -> impl Iterator<Item = TopicPartition> {
        Topic::ALL.into_iter().flat_map(move |topic| {
            (0..topic.partitions(self.shards)).map(move |partition| TopicPartition { topic, partition })
        })
    }

    /// A partition's number.
    pub(super) fn index(self, at: TopicPartition) -> Option<usize> {
        if at.partition >= at.topic.partitions(self.shards) {
            return None;
        }
        let before: u32 = Topic::ALL
            .into_iter()
            .take_while(|topic| *topic != at.topic)
            .map(|topic| topic.partitions(self.shards))
            .sum();
        usize::try_from(before + at.partition).ok()
    }

    /// What a request to publish these weighs, in bytes; refuses what can never be published.
    pub(super) fn check(self, records: &[NewRecord]) -> Result<usize, LogError> {
        let mut bytes = 0;
        for record in records {
            self.index(record.to).ok_or_else(|| unknown(record.to))?;
            let length = record.payload.len();
            if length > RECORD_BYTES_MAX {
                return Err(invalid(format!(
                    "a record of {length} bytes to {} is over the {RECORD_BYTES_MAX} that fit; split it",
                    record.to
                )));
            }
            bytes += length + size_of::<NewRecord>();
        }
        if bytes > APPEND_BYTES_MAX {
            return Err(invalid(format!(
                "{} records of {bytes} bytes at once are over the {APPEND_BYTES_MAX} that fit; publish fewer",
                records.len()
            )));
        }
        Ok(bytes)
    }
}

pub(super) fn unknown(at: TopicPartition) -> LogError {
    invalid(format!("there is no partition {at}; the log was made with fewer shards"))
}
