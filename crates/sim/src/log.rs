//! The log: what it acknowledges stays, commits are atomic and fenced, and everything else goes wrong.

mod state;
mod transaction;

use std::hash::{DefaultHasher, Hash, Hasher};

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_core::{Position, Topic, TopicPartition};
use eschaton_ports::{Claim, Log, LogError, LogRecord, NewRecord};
use eschaton_types::pb::log::{LedgerInput, Settle, ledger_input::Kind};
use prost::Message;

use crate::bug::Bug;
use crate::event::Event;
use crate::world::{Sim, World};

pub(crate) use state::LogState;

impl World {
    fn unavailable(&mut self, applied: bool) -> LogError {
        self.note(&Event::LogUnavailable { applied });
        LogError::Unavailable { detail: format!("simulated; applied: {applied}") }
    }

    /// Publishes records that were appended together. One that fails may have published any of them.
    fn append(&mut self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        let torn = self.fault(|faults| faults.log_torn);
        let records: Vec<_> = records.into_iter().filter(|_| !torn || self.dice.percent(50)).collect();
        let mut positions = Vec::with_capacity(records.len());
        for record in records {
            let at = record.to;
            let offset = self.log.take_offset(at);
            positions.push(Position { at, offset });
            self.publish(record, offset);
        }
        self.wake();
        if torn {
            self.note(&Event::TornAppend { published: positions.len() });
        }
        if torn || self.fault(|faults| faults.log_unsure) {
            Err(self.unavailable(true))
        } else {
            Ok(positions)
        }
    }

    /// Delivers an old record of a worker once more.
    pub(crate) fn duplicate(&mut self) {
        let topic = self.dice.pick(&[Topic::Ledger, Topic::Ledger, Topic::Decisions], Topic::Ledger);
        let partition = u32::try_from(self.dice.below(self.profile.shards.into())).unwrap_or(0);
        let to = TopicPartition { topic, partition };
        let place = self.dice.index(self.log.records(to).len());
        let Some(record) = self.log.records(to).get(place).filter(|record| record.id.is_some()).cloned()
        else {
            return;
        };
        let LogRecord { at_ms, id, trace, payload, .. } = record;
        let offset = self.log.take_offset(to);
        self.publish(NewRecord { to, at_ms, id, trace, payload }, offset);
        self.wake();
    }
}

fn is_release(output: &NewRecord) -> bool {
    output.to.topic == Topic::Ledger
        && LedgerInput::decode(output.payload.clone())
            .is_ok_and(|input| matches!(input.kind, Some(Kind::Settle(Settle { commit: false, .. }))))
}

pub(crate) fn fingerprint(bytes: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The log as its users see it.
pub(crate) struct SimLog(pub(crate) Sim);

struct SimClaim {
    sim: Sim,
    group: String,
    epoch: u64,
    positions: Vec<(TopicPartition, u64)>,
    /// It cannot tell what became of its last transaction.
    void: bool,
}

#[async_trait]
impl Log for SimLog {
    async fn append(&self, mut records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.0.latency().await;
        let later = {
            let mut world = self.0.world();
            if world.fault(|faults| faults.log_refused) {
                return Err(world.unavailable(false));
            }
            let first = world.dice.index(records.len()) + 1;
            records.split_off(first.min(records.len()))
        };
        let mut outcome = self.0.world().append(records);
        if !later.is_empty() {
            // Readers see some before others.
            self.0.latency().await;
            let rest = self.0.world().append(later);
            outcome = outcome.and_then(|first| Ok([first, rest?].concat()));
        }
        self.0.latency().await;
        outcome
    }

    fn commits_hold_readers(&self) -> bool {
        self.0.world().profile.transactional
    }

    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        self.0.latency().await;
        let mut world = self.0.world();
        if world.fault(|faults| faults.log_refused) {
            return Err(world.unavailable(false));
        }
        let mut bytes = 0;
        let records = world.log.readable(at).iter().skip_while(|record| record.offset < from);
        let fits = |record: &&LogRecord| {
            let first = bytes == 0;
            bytes += record.payload.len() + 1;
            first || bytes <= max_bytes
        };
        Ok(records.take(max_records).take_while(fits).cloned().collect())
    }

    async fn wait(&self, from: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        self.0.until(|world| from.iter().any(|(at, from)| world.log.end(*at) > *from)).await;
        Ok(())
    }

    async fn end(&self, at: TopicPartition) -> Result<u64, LogError> {
        self.0.latency().await;
        Ok(self.0.world().log.end(at))
    }

    async fn claim(&self, group: &str, partitions: &[TopicPartition]) -> Result<Box<dyn Claim>, LogError> {
        self.0.latency().await;
        let claim = {
            let mut world = self.0.world();
            if world.fault(|faults| faults.log_refused) {
                return Err(world.unavailable(false));
            }
            if world.bug != Some(Bug::ZombieCommits) && world.bug != Some(Bug::ClaimLeavesOpen) {
                world.settle(group, partitions);
            }
            let key = |at: &TopicPartition| (group.to_owned(), *at);
            let newest = partitions.iter().filter_map(|at| world.log.claims.get(&key(at)));
            let epoch = newest.map(|(epoch, _)| *epoch).max().unwrap_or(0) + 1;
            let mut positions = Vec::with_capacity(partitions.len());
            for at in partitions {
                let claim = world.log.claims.entry(key(at)).or_default();
                claim.0 = epoch;
                positions.push((*at, claim.1));
            }
            world.note(&Event::Claim { group: group.to_owned(), epoch });
            SimClaim { sim: self.0.clone(), group: group.to_owned(), epoch, positions, void: false }
        };
        self.0.latency().await;
        Ok(Box::new(claim))
    }
}

#[async_trait]
impl Claim for SimClaim {
    fn positions(&self) -> Vec<(TopicPartition, u64)> {
        self.positions.clone()
    }

    async fn commit(
        &mut self,
        outputs: Vec<NewRecord>,
        advance: &[(TopicPartition, u64)],
    ) -> Result<Vec<Position>, LogError> {
        self.sim.latency().await;
        let (id, slowly) = {
            let mut world = self.sim.world();
            (world.begin(self, outputs, advance)?, world.profile.transactional)
        };
        if slowly {
            self.sim.latency().await;
            self.sim.world().write_records(id, false);
            self.sim.latency().await;
        }
        let sim = self.sim.clone();
        let outcome = sim.world().end(self, id);
        self.sim.latency().await;
        outcome
    }
}
