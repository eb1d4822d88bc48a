use std::collections::BTreeMap;

use eschaton_core::{RecordId, Topic, TopicPartition};
use eschaton_types::pb::log as pb;

/// The ids that a consumer has passed. Outputs of one source partition arrive in the order of their
/// ids, so the highest says all: a lower or equal one is a repetition by a redelivery, a retry or a
/// zombie, and is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<TopicPartition, (u64, u32)>);

impl Seen {
    /// True when the id is new; it has then been passed.
    pub fn pass(&mut self, id: &RecordId) -> bool {
        let this = (id.offset, id.index);
        match self.0.get_mut(&id.source) {
            Some(highest) if this <= *highest => false,
            Some(highest) => {
                *highest = this;
                true
            }
            None => {
                self.0.insert(id.source, this);
                true
            }
        }
    }

    /// As it stands in a `WorkerRow`.
    pub fn to_messages(&self) -> Vec<pb::RecordId> {
        self.0
            .iter()
            .map(|(source, (offset, index))| pb::RecordId {
                topic: source.topic.number(),
                partition: source.partition,
                offset: *offset,
                index: *index,
            })
            .collect()
    }

    /// From a `WorkerRow`. `None` for a topic that this version does not know.
    pub fn from_messages(messages: &[pb::RecordId]) -> Option<Self> {
        messages
            .iter()
            .map(|id| {
                let topic = Topic::ALL.into_iter().find(|topic| topic.number() == id.topic)?;
                Some((TopicPartition { topic, partition: id.partition }, (id.offset, id.index)))
            })
            .collect::<Option<_>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_what_it_passed_and_survives_a_row() {
        let source = |partition| TopicPartition { topic: Topic::Ledger, partition };
        let id = |partition, offset, index| RecordId { source: source(partition), offset, index };
        let mut seen = Seen::default();
        assert!(seen.pass(&id(0, 5, 0)));
        assert!(seen.pass(&id(0, 5, 2)));
        assert!(!seen.pass(&id(0, 5, 1)));
        assert!(!seen.pass(&id(0, 5, 2)));
        assert!(seen.pass(&id(1, 0, 0)));
        let mut again = Seen::from_messages(&seen.to_messages()).expect("known topics");
        assert_eq!(again, seen);
        assert!(!again.pass(&id(1, 0, 0)));
        assert!(again.pass(&id(0, 6, 0)));
    }
}
