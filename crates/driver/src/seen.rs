use std::collections::BTreeMap;

use eschaton_core::{RecordId, Topic, TopicPartition};
use eschaton_types::pb::log as pb;

/// The ids that a consumer has passed. Outputs of one source partition arrive in the order of their
/// ids, so the highest says all: a lower or equal one is a repetition by a redelivery, a retry or a
/// zombie, and is dropped.
///
/// Messages that were appended after their commit have numbers without gaps, for an append that fails may have
/// published any of its records: one behind a gap is dropped too, and comes again when what is missing has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<TopicPartition, (u64, u32)>);

impl Seen {
    /// True when the id is new; it has then been passed.
    pub fn pass(&mut self, id: &RecordId) -> bool {
        self.pass_as(id, id.source.topic.holds_changes())
    }

    /// Whether a message without gaps comes before one that is missing.
    pub(crate) fn is_early(&self, id: &RecordId) -> bool {
        let next = self.0.get(&id.source).map_or(0, |(offset, _)| offset.saturating_add(1));
        id.source.topic.holds_changes() && id.offset > next
    }

    /// As [`Self::pass`], with or without gaps.
    pub(crate) fn pass_as(&mut self, id: &RecordId, gapless: bool) -> bool {
        let this = (id.offset, id.index);
        let Some(highest) = self.0.get_mut(&id.source) else {
            let is_new = !gapless || id.offset == 0;
            if is_new {
                self.0.insert(id.source, this);
            }
            return is_new;
        };
        let is_new = if gapless { highest.0.checked_add(1) == Some(id.offset) } else { this > *highest };
        if is_new {
            *highest = this;
        }
        is_new
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

    #[test]
    fn what_comes_behind_a_gap_comes_again() {
        let source = TopicPartition { topic: Topic::Changes, partition: 3 };
        let id = |offset| RecordId { source, offset, index: 0 };
        let mut seen = Seen::default();
        assert!(!seen.pass(&id(1)), "number 0 is missing");
        for number in 0..3 {
            assert!(seen.pass(&id(number)));
            assert!(!seen.pass(&id(number)));
        }
        assert!(seen.is_early(&id(4)) && !seen.pass(&id(4)));
        assert!(!seen.is_early(&id(3)) && !seen.is_early(&id(2)));
        let mut again = Seen::from_messages(&seen.to_messages()).expect("known topics");
        assert!(again.pass(&id(3)) && again.pass(&id(4)));
    }
}
