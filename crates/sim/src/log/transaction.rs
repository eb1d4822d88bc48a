//! Commits as transactions: records are written first and decided afterwards. Until then readers see nothing
//! from the first of them on, whoever wrote it; each partition's end of a transaction takes an offset.

use std::collections::BTreeMap;

use eschaton_core::{Position, Topic, TopicPartition};
use eschaton_ports::{LogError, LogRecord, NewRecord};

use super::{SimClaim, fingerprint, is_release};
use crate::bug::Bug;
use crate::event::Event;
use crate::world::World;

/// One that is not over, or whose end some partitions do not show yet.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    id: u64,
    claim: Holder,
    outputs: Vec<NewRecord>,
    /// Of the outputs that are written.
    offsets: Vec<u64>,
    advance: Vec<(TopicPartition, u64)>,
    /// Readers of these partitions see nothing from these offsets on.
    pub(super) holds: BTreeMap<TopicPartition, u64>,
    until_ms: u64,
    stage: Stage,
}

/// Whose transaction it is.
#[derive(Clone, Debug)]
struct Holder {
    group: String,
    epoch: u64,
    claimed: Vec<TopicPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// At its time-out it is aborted.
    Open,
    /// Its owner asked for the commit and heard nothing: it ends one way or the other.
    Asked,
    /// Some partitions do not show it yet.
    Committed,
}

impl World {
    /// The claim's owner, or why not.
    fn owner(&mut self, claim: &SimClaim) -> Result<(), LogError> {
        if self.is_newest(&claim.group, &claim.positions, claim.epoch) || self.bug == Some(Bug::ZombieCommits)
        {
            return Ok(());
        }
        self.note(&Event::Fenced { group: claim.group.clone() });
        Err(LogError::Fenced { group: claim.group.clone() })
    }

    fn is_newest(&self, group: &str, positions: &[(TopicPartition, u64)], epoch: u64) -> bool {
        let newest =
            |at: &TopicPartition| self.log.claims.get(&(group.to_owned(), *at)).map(|(epoch, _)| *epoch);
        positions.iter().all(|(at, _)| newest(at) == Some(epoch))
    }

    /// Opens a transaction.
    pub(super) fn begin(
        &mut self,
        claim: &SimClaim,
        outputs: Vec<NewRecord>,
        advance: &[(TopicPartition, u64)],
    ) -> Result<u64, LogError> {
        self.owner(claim)?;
        if claim.void {
            return Err(self.unavailable(false));
        }
        let keep =
            |output: &NewRecord| self.bug != Some(Bug::ReservationNeverReleased) || !is_release(output);
        let outputs: Vec<_> = outputs.into_iter().filter(keep).collect();
        let claimed = claim.positions.iter().map(|(at, _)| *at).collect();
        self.log.begun += 1;
        let id = self.log.begun;
        self.log.open.push(Transaction {
            id,
            claim: Holder { group: claim.group.clone(), epoch: claim.epoch, claimed },
            outputs,
            offsets: Vec::new(),
            advance: advance.to_vec(),
            holds: BTreeMap::new(),
            until_ms: self.now_ms + self.profile.transaction_ms,
            stage: Stage::Open,
        });
        Ok(id)
    }

    /// Writes some of its records; `all` those that are left. Others' records may come between.
    pub(super) fn write_records(&mut self, id: u64, all: bool) {
        let Some(place) = self.log.open.iter().position(|transaction| transaction.id == id) else { return };
        let mut transaction = self.log.open.remove(place);
        let left = transaction.outputs.len() - transaction.offsets.len();
        let count = if all { left } else { self.dice.index(left + 1) };
        for output in transaction.outputs.iter().skip(transaction.offsets.len()).take(count) {
            let offset = self.log.take_offset(output.to);
            transaction.holds.entry(output.to).or_insert(offset);
            transaction.offsets.push(offset);
        }
        if self.bug == Some(Bug::ReadsPastOpen) {
            transaction.holds.clear();
        }
        self.log.open.push(transaction);
    }

    /// Ends it as its owner wants, or as misfortune does.
    pub(super) fn end(&mut self, claim: &mut SimClaim, id: u64) -> Result<Vec<Position>, LogError> {
        self.owner(claim)?;
        let place = |world: &Self| world.log.open.iter().position(|transaction| transaction.id == id);
        if let Some(place) = place(self)
            && self.fault(|faults| faults.log_refused)
        {
            self.abort(place);
            return Err(self.unavailable(false));
        }
        self.write_records(id, true);
        let Some(place) = place(self) else {
            // It took too long and was aborted.
            claim.void = true;
            return Err(self.unavailable(false));
        };
        if self.fault(|faults| faults.log_torn) {
            claim.void = true;
            self.tear(place);
            return Err(self.unavailable(true));
        }
        let unsure = self.fault(|faults| faults.log_unsure);
        claim.void = unsure;
        if unsure && self.profile.transactional && self.dice.percent(50) {
            if let Some(transaction) = self.log.open.get_mut(place) {
                transaction.stage = Stage::Asked;
            }
            self.note(&Event::LeftOpen { group: claim.group.clone() });
            return Err(self.unavailable(false));
        }
        let positions = self.commit(place);
        if unsure { Err(self.unavailable(true)) } else { Ok(positions) }
    }

    fn commit(&mut self, place: usize) -> Vec<Position> {
        let mut transaction = self.log.open.remove(place);
        let Holder { group, epoch, .. } = transaction.claim.clone();
        let outputs = std::mem::take(&mut transaction.outputs);
        for (at, next) in &transaction.advance {
            self.note(&Event::Commit { group: group.clone(), at: *at, next: *next });
            let from = self.log.position(&group, *at);
            if at.topic == Topic::Ledger {
                let consumed = self.log.span(*at, from, *next);
                let verdict = self.audit.committed(*at, from, *next, consumed, &outputs);
                self.check(verdict);
            }
            self.log.claims.insert((group.clone(), *at), (epoch, *next));
        }
        let mut positions = Vec::with_capacity(outputs.len());
        for (output, offset) in outputs.into_iter().zip(std::mem::take(&mut transaction.offsets)) {
            positions.push(Position { at: output.to, offset });
            self.publish(output, offset);
        }
        self.mark_ends(&transaction);
        let (linger, dice) = (self.faults && self.profile.transactional, &mut self.dice);
        transaction.holds.retain(|_, _| linger && dice.percent(20));
        if !transaction.holds.is_empty() {
            transaction.stage = Stage::Committed;
            transaction.until_ms = self.now_ms + self.dice.between(1, 40);
            self.log.open.push(transaction);
        }
        self.follow();
        positions
    }

    /// Nothing of it is ever seen. Its offsets are used up.
    fn abort(&mut self, place: usize) {
        let transaction = self.log.open.remove(place);
        self.note(&Event::Aborted {
            group: transaction.claim.group.clone(),
            records: transaction.offsets.len(),
        });
        self.mark_ends(&transaction);
        self.wake();
    }

    /// A commit that broke in the middle: of each partition's outputs a prefix is there, the positions are not.
    fn tear(&mut self, place: usize) {
        let transaction = self.log.open.remove(place);
        let mut rooms: BTreeMap<TopicPartition, u64> = BTreeMap::new();
        for output in &transaction.outputs {
            *rooms.entry(output.to).or_default() += 1;
        }
        for room in rooms.values_mut() {
            *room = self.dice.below(*room + 1);
        }
        self.note(&Event::Torn {
            group: transaction.claim.group.clone(),
            records: transaction.outputs.len(),
        });
        self.mark_ends(&transaction);
        for (output, offset) in transaction.outputs.into_iter().zip(transaction.offsets) {
            if let Some(room) = rooms.get_mut(&output.to).filter(|room| **room > 0) {
                *room -= 1;
                self.publish(output, offset);
            }
        }
        self.follow();
    }

    /// The end of a transaction takes an offset in each partition that it touched.
    fn mark_ends(&mut self, transaction: &Transaction) {
        if self.profile.transactional {
            for at in transaction.holds.keys() {
                self.log.take_offset(*at);
            }
        }
    }

    /// Before a claim is given: what its former owners began ends.
    pub(super) fn settle(&mut self, group: &str, partitions: &[TopicPartition]) {
        while let Some(place) = self.log.open.iter().position(|transaction| {
            let Holder { group: of, claimed, .. } = &transaction.claim;
            of == group && claimed.iter().any(|at| partitions.contains(at))
        }) {
            self.finish(place);
        }
    }

    /// Transactions whose time is over end.
    pub(crate) fn time_out(&mut self) {
        let now_ms = self.now_ms;
        while let Some(place) = self.log.open.iter().position(|transaction| transaction.until_ms <= now_ms) {
            self.finish(place);
        }
    }

    /// When the next transaction ends by itself.
    pub(crate) fn next_time_out(&self) -> Option<u64> {
        self.log.open.iter().map(|transaction| transaction.until_ms).min()
    }

    fn finish(&mut self, place: usize) {
        let Some(transaction) = self.log.open.get(place) else { return };
        match transaction.stage {
            Stage::Open => self.abort(place),
            Stage::Asked if self.dice.percent(50) => self.abort(place),
            Stage::Asked => {
                self.commit(place);
            }
            Stage::Committed => {
                self.log.open.remove(place);
                self.wake();
            }
        }
    }

    /// A record becomes one for good.
    pub(super) fn publish(&mut self, record: NewRecord, offset: u64) {
        let to = record.to;
        let record = as_record(record, offset);
        self.note(&Event::Append { to, offset, id: record.id, payload: fingerprint(&record.payload) });
        let verdict = self.audit.appended(to, &record);
        self.check(verdict);
        if self.log.open.iter().any(|open| open.holds.get(&to).is_some_and(|first| *first < offset)) {
            self.audit.saw("records held back");
        }
        self.log.put(to, record);
    }

    fn follow(&mut self) {
        let verdict = self.audit.checkpoints(&self.log);
        self.check(verdict);
        self.wake();
    }
}

fn as_record(record: NewRecord, offset: u64) -> LogRecord {
    let NewRecord { at_ms, id, trace, payload, .. } = record;
    LogRecord { offset, at_ms, id, trace, payload }
}
