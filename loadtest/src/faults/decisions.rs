//! What stands on the log after all: every decision once, every output spent once.

use std::collections::HashSet;

use eschaton_node::{NodeConfig, open_engines};
use eschaton_ports::{Topic, TopicPartition};
use eschaton_types::pb::log::{Decision, State};
use prost::Message;

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
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
}

impl Decisions {
    pub(crate) fn is_sound(&self) -> bool {
        self.repeated_ids == 0 && self.accepted_again == 0 && self.spent_twice == 0
    }
}

/// Reads every decision.
pub(crate) async fn count(config: &NodeConfig) -> anyhow::Result<Decisions> {
    let (log, _) = open_engines(config, "loadtest").await?;
    let mut found = Decisions::default();
    let (mut ids, mut accepted, mut spent) = (HashSet::new(), HashSet::new(), HashSet::new());
    for partition in 0..config.shards {
        let at = TopicPartition { topic: Topic::Decisions, partition };
        let mut next = 0;
        loop {
            let records = log.read(at, next, 4_096, 4 << 20).await?;
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
            for record in records {
                found.records += 1;
                found.repeated_ids += u64::from(!record.id.is_some_and(|id| ids.insert(id)));
                let decision = Decision::decode(record.payload)?;
                if decision.state() != State::Accepted || decision.repeated_answer {
                    continue;
                }
                found.accepted += 1;
                found.accepted_again += u64::from(!accepted.insert(decision.txid));
                for outpoint in decision.spends {
                    let again = !spent.insert((outpoint.txid, outpoint.index));
                    found.spent_twice += u64::from(again);
                }
            }
        }
    }
    Ok(found)
}
