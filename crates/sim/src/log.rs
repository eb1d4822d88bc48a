//! The log: what it acknowledges stays, commits are atomic and fenced, and everything else goes wrong.

use std::collections::BTreeMap;
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

/// What is on the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogState {
    partitions: BTreeMap<TopicPartition, Vec<LogRecord>>,
    /// By group and partition: epoch of the newest claim, next offset to consume.
    claims: BTreeMap<(String, TopicPartition), (u64, u64)>,
    /// For [`Bug::MissingFsync`]: the lengths and positions that are on the disk.
    synced: Option<Box<LogState>>,
}

impl LogState {
    pub(crate) fn records(&self, at: TopicPartition) -> &[LogRecord] {
        self.partitions.get(&at).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn end(&self, at: TopicPartition) -> u64 {
        offset_of(self.records(at).len())
    }

    /// The next offset that `group` will consume.
    pub(crate) fn position(&self, group: &str, at: TopicPartition) -> u64 {
        self.claims.get(&(group.to_owned(), at)).map_or(0, |(_, next)| *next)
    }

    /// The records from one offset up to another.
    pub(crate) fn span(&self, at: TopicPartition, from: u64, next: u64) -> &[LogRecord] {
        self.records(at).get(place_of(from)..place_of(next)).unwrap_or_default()
    }

    /// With [`Bug::MissingFsync`] only: the disk has caught up.
    pub(crate) fn sync(&mut self) {
        self.synced = None;
        self.synced = Some(Box::new(self.clone()));
    }

    /// With [`Bug::MissingFsync`] only: what was not on the disk is gone.
    pub(crate) fn lose(&mut self) {
        let mut before = self.synced.take().map(|state| *state).unwrap_or_default();
        for (claim, (epoch, _)) in &self.claims {
            before.claims.entry(claim.clone()).or_default().0 = *epoch;
        }
        *self = before;
    }
}

fn offset_of(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(u64::MAX)
}

fn place_of(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl World {
    fn publish(&mut self, record: NewRecord) -> Position {
        let NewRecord { to, at_ms, id, trace, payload } = record;
        let record = LogRecord { offset: self.log.end(to), at_ms, id, trace, payload };
        let offset = record.offset;
        self.note(&Event::Append { to, offset, id, payload: fingerprint(&record.payload) });
        let verdict = self.audit.appended(to, &record);
        self.check(verdict);
        self.log.partitions.entry(to).or_default().push(record);
        Position { at: to, offset }
    }

    fn unavailable(&mut self, applied: bool) -> LogError {
        self.note(&Event::LogUnavailable { applied });
        LogError::Unavailable { detail: format!("simulated; applied: {applied}") }
    }

    fn append(&mut self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        if self.fault(|faults| faults.log_refused) {
            return Err(self.unavailable(false));
        }
        let positions = records.into_iter().map(|record| self.publish(record)).collect();
        self.wake();
        if self.fault(|faults| faults.log_unsure) { Err(self.unavailable(true)) } else { Ok(positions) }
    }

    fn commit(
        &mut self,
        claim: &SimClaim,
        outputs: Vec<NewRecord>,
        advance: &[(TopicPartition, u64)],
    ) -> Result<Vec<Position>, LogError> {
        let newest = claim.positions.iter().all(|(at, _)| {
            self.log.claims.get(&(claim.group.clone(), *at)).is_some_and(|(epoch, _)| *epoch == claim.epoch)
        });
        if !newest && self.bug != Some(Bug::ZombieCommits) {
            self.note(&Event::Fenced { group: claim.group.clone() });
            return Err(LogError::Fenced { group: claim.group.clone() });
        }
        if self.fault(|faults| faults.log_refused) {
            return Err(self.unavailable(false));
        }
        if self.fault(|faults| faults.log_torn) {
            self.tear(claim, outputs);
            return Err(self.unavailable(true));
        }
        let outputs = if self.bug == Some(Bug::ReservationNeverReleased) {
            outputs.into_iter().filter(|output| !is_release(output)).collect()
        } else {
            outputs
        };
        for (at, next) in advance {
            self.note(&Event::Commit { group: claim.group.clone(), at: *at, next: *next });
            let from = self.log.position(&claim.group, *at);
            if *at == (TopicPartition { topic: Topic::Ledger, partition: at.partition }) {
                let verdict =
                    self.audit.committed(*at, from, *next, self.log.span(*at, from, *next), &outputs);
                self.check(verdict);
            }
            self.log.claims.insert((claim.group.clone(), *at), (claim.epoch, *next));
        }
        let positions = outputs.into_iter().map(|output| self.publish(output)).collect();
        let verdict = self.audit.checkpoints(&self.log);
        self.check(verdict);
        self.wake();
        if self.fault(|faults| faults.log_unsure) { Err(self.unavailable(true)) } else { Ok(positions) }
    }

    /// A commit that broke in the middle: of each partition's outputs a prefix is there.
    fn tear(&mut self, claim: &SimClaim, outputs: Vec<NewRecord>) {
        let mut rooms: BTreeMap<TopicPartition, u64> = BTreeMap::new();
        for output in &outputs {
            *rooms.entry(output.to).or_default() += 1;
        }
        for room in rooms.values_mut() {
            *room = self.dice.below(*room + 1);
        }
        self.note(&Event::Torn { group: claim.group.clone(), records: outputs.len() });
        for output in outputs {
            if let Some(room) = rooms.get_mut(&output.to).filter(|room| **room > 0) {
                *room -= 1;
                self.publish(output);
            }
        }
        let verdict = self.audit.checkpoints(&self.log);
        self.check(verdict);
        self.wake();
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
        self.publish(NewRecord { to, at_ms, id, trace, payload });
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
}

#[async_trait]
impl Log for SimLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.0.latency().await;
        let outcome = self.0.world().append(records);
        self.0.latency().await;
        outcome
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
        let records = world.log.records(at).get(place_of(from)..).unwrap_or_default();
        let fits = |record: &&LogRecord| {
            let first = bytes == 0;
            bytes += record.payload.len() + 1;
            first || bytes <= max_bytes
        };
        Ok(records.iter().take(max_records).take_while(fits).cloned().collect())
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
            SimClaim { sim: self.0.clone(), group: group.to_owned(), epoch, positions }
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
        let outcome = self.sim.world().commit(self, outputs, advance);
        self.sim.latency().await;
        outcome
    }
}
