//! What stands on the log after all: every decision once, every output spent once, nothing accepted taken back.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use eschaton_node::{NodeConfig, open_engines};
use eschaton_ports::{RecordId, Topic, TopicPartition};
use eschaton_types::pb::log::{Decision, State};
use prost::Message;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Decisions {
    pub(crate) records: u64,
    /// Transactions accepted for the first time.
    pub(crate) accepted: u64,
    /// Records whose id came before, or that have none.
    pub(crate) repeated_ids: u64,
    /// Transactions that were accepted for the first time more than once.
    pub(crate) accepted_again: u64,
    /// Outputs that a second accepted transaction spends.
    pub(crate) spent_twice: u64,
    /// Decisions of a transaction that was accepted before, which say anything else (L3).
    pub(crate) taken_back: u64,
}

impl Decisions {
    pub(crate) fn is_sound(&self) -> bool {
        self.repeated_ids == 0 && self.accepted_again == 0 && self.spent_twice == 0 && self.taken_back == 0
    }
}

/// What was seen so far. A transaction's decisions stand in one partition, its coordinator's, so their order is known.
#[derive(Default)]
struct Seen {
    found: Decisions,
    ids: HashSet<RecordId>,
    accepted: HashSet<Bytes>,
    spenders: HashMap<(Bytes, u32), Bytes>,
}

impl Seen {
    fn add(&mut self, id: Option<RecordId>, decision: Decision) {
        self.found.records += 1;
        self.found.repeated_ids += u64::from(!id.is_some_and(|id| self.ids.insert(id)));
        if decision.state() != State::Accepted {
            self.found.taken_back += u64::from(self.accepted.contains(&decision.txid));
            return;
        }
        if decision.repeated_answer {
            return;
        }
        self.found.accepted += 1;
        self.found.accepted_again += u64::from(!self.accepted.insert(decision.txid.clone()));
        for outpoint in decision.spends {
            let former = self.spenders.insert((outpoint.txid, outpoint.index), decision.txid.clone());
            self.found.spent_twice += u64::from(former.is_some());
        }
    }
}

/// Reads every decision.
pub(crate) async fn count(config: &NodeConfig) -> anyhow::Result<Decisions> {
    let (log, _) = open_engines(config, "loadtest").await?;
    let mut seen = Seen::default();
    for partition in 0..config.shards {
        let at = TopicPartition { topic: Topic::Decisions, partition };
        let mut next = 0;
        loop {
            let records = log.read(at, next, 4_096, 4 << 20).await?;
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
            for record in records {
                seen.add(record.id, Decision::decode(record.payload)?);
            }
        }
    }
    Ok(seen.found)
}

#[cfg(test)]
mod tests {
    use eschaton_types::pb::log::Outpoint;

    use super::*;

    fn decision(txid: u8, state: State) -> Decision {
        let spends = vec![Outpoint { txid: Bytes::from_static(b"output"), index: 3 }];
        Decision { txid: Bytes::from(vec![txid; 32]), state: state.into(), spends, ..Decision::default() }
    }

    fn id(offset: u64) -> Option<RecordId> {
        let source = TopicPartition { topic: Topic::Ledger, partition: 0 };
        Some(RecordId { source, offset, index: 0 })
    }

    #[test]
    fn each_kind_of_unsoundness_is_counted() {
        let mut seen = Seen::default();
        seen.add(id(1), decision(1, State::Pending));
        seen.add(id(2), decision(1, State::Accepted));
        seen.add(id(3), Decision { repeated_answer: true, ..decision(1, State::Accepted) });
        assert!(seen.found.is_sound() && seen.found.accepted == 1 && seen.found.records == 3);
        seen.add(id(3), decision(2, State::Rejected));
        assert_eq!(seen.found.repeated_ids, 1);
        seen.add(id(4), decision(1, State::Rejected));
        assert_eq!(seen.found.taken_back, 1);
        seen.add(id(5), decision(2, State::Accepted));
        assert_eq!((seen.found.spent_twice, seen.found.accepted_again), (1, 0));
        seen.add(None, Decision { spends: Vec::new(), ..decision(2, State::Accepted) });
        assert_eq!((seen.found.repeated_ids, seen.found.accepted_again), (2, 1));
    }
}
