//! The life of an undecided transaction: waiting, queued, window, held, settled.

use std::collections::BTreeSet;

use eschaton_core::{CoreError, Table};
use eschaton_types::pb::log::{Grant, Reason, Refuse, Rejection, Reserve, Settle, ledger_input::Kind};
use eschaton_types::pb::state::Stage;
use eschaton_types::{OutPoint, TxId};

use crate::job::{Job, shards_of};
use crate::step::Step;
use crate::weigh::{Verdict, judge as weigh_contenders};
use crate::{judge, keys};

impl Step<'_> {
    fn save(&mut self, job: Job) {
        let key = keys::pending(self.shard(), &job.txid());
        self.rows.put(Table::Pending, key, job.to_row());
        self.ledger.index(&job);
        self.ledger.jobs.insert(job.txid(), job);
    }

    /// Takes a job out for good or for a change of stage; gives what it held.
    fn take(&mut self, txid: &TxId) -> Option<(Job, Vec<OutPoint>)> {
        let job = self.ledger.jobs.remove(txid)?;
        let held = self.ledger.unindex(&job);
        self.rows.delete(Table::Pending, keys::pending(self.shard(), txid));
        Some((job, held))
    }

    /// A new job: bounded, announced, and moved on as far as it goes.
    pub(crate) fn enter(&mut self, job: Job) -> Result<(), CoreError> {
        if self.ledger.jobs.len() >= self.ledger.config.pending_max {
            let rejection = judge::reject(
                Reason::Overloaded,
                "too many transactions are undecided; submit it again later",
            );
            self.turn_down(&job, rejection);
            return Ok(());
        }
        let missing = self.ledger.missing(&job);
        let crowd = self.ledger.config.contenders_max;
        if missing.iter().any(|outpoint| self.ledger.waiting.get(outpoint).is_some_and(|w| w.len() >= crowd))
        {
            self.turn_down(&job, judge::reject(Reason::TooManyContenders, CROWDED));
            return Ok(());
        }
        let txid = job.txid();
        let announce = job.coordinator == self.shard();
        self.save(job);
        if missing.is_empty() {
            self.claim(txid)?;
        }
        // One that was decided at once needs no announcement before its decision.
        if announce && self.ledger.jobs.contains_key(&txid) {
            self.decide_pending(&txid);
        }
        Ok(())
    }

    /// Moves on what became free or complete.
    pub(crate) fn run_ready(&mut self) -> Result<(), CoreError> {
        while let Some(txid) = self.ready.pop_front() {
            let Some(job) = self.ledger.jobs.get(&txid) else { continue };
            if !matches!(job.stage, Stage::Waiting | Stage::Queued) || !self.ledger.missing(job).is_empty() {
                continue;
            }
            let shards = self.ledger.config.shards;
            let inputs = Job::inputs_of(&job.tx, self.shard(), shards);
            let mut verdict = Ok(());
            for (position, input) in inputs {
                if let Some(row) = job.local.get(&position) {
                    verdict = verdict.and_then(|()| judge::input(position, input, row, self.now));
                }
            }
            if verdict.is_ok() && shards_of(&job.tx, shards).len() == 1 {
                verdict = judge::balance(&job.tx.body, &job.facts());
            }
            match verdict {
                Ok(()) => self.claim(txid)?,
                Err(rejection) => self.abort(&txid, rejection),
            }
        }
        Ok(())
    }

    /// Claims all of a job's outputs, or none and queues.
    fn claim(&mut self, txid: TxId) -> Result<(), CoreError> {
        let Some((mut job, held)) = self.take(&txid) else { return Ok(()) };
        debug_assert!(held.is_empty(), "a job that claims holds nothing");
        let wanted = self.ledger.claimed_by(&job);
        let taken: Vec<_> =
            wanted.iter().filter(|outpoint| self.ledger.claims.contains_key(outpoint)).collect();
        if !taken.is_empty() {
            let crowd = self.ledger.config.contenders_max;
            if taken.iter().any(|outpoint| self.ledger.queued.get(outpoint).is_some_and(|q| q.len() >= crowd))
            {
                self.turn_down(&job, judge::reject(Reason::TooManyContenders, CROWDED));
                return Ok(());
            }
            job.stage = Stage::Queued;
            self.save(job);
            return Ok(());
        }
        let consumes = Job::inputs_of(&job.tx, self.shard(), self.ledger.config.shards)
            .any(|(_, input)| !input.read_only);
        if self.ledger.config.window_ms > 0 && consumes {
            job.stage = Stage::Window;
            job.window_began_ms = self.now;
            job.window_ends_ms = self.now.saturating_add(self.ledger.config.window_ms);
            self.save(job);
            return Ok(());
        }
        self.hold(job)
    }

    /// The local inputs are this job's: ask the next shard, answer the one that asked, or finish.
    fn hold(&mut self, mut job: Job) -> Result<(), CoreError> {
        job.stage = Stage::Held;
        job.window_ends_ms = 0;
        let txid = job.txid();
        if job.coordinator != self.shard() {
            let (shard, attempt) = (self.shard(), job.attempt);
            let grant = Grant { txid: txid.to_bytes(), shard, facts: job.facts(), attempt };
            self.send(job.coordinator, Kind::Grant(grant));
            self.save(job);
            return Ok(());
        }
        let own = self.shard();
        job.to_ask =
            shards_of(&job.tx, self.ledger.config.shards).into_iter().filter(|s| *s != own).collect();
        job.deadline_ms = self.now.saturating_add(self.ledger.config.reserve_ms);
        self.save(job);
        self.ask_next(&txid)
    }

    pub(crate) fn ask_next(&mut self, txid: &TxId) -> Result<(), CoreError> {
        let Some(job) = self.ledger.jobs.get(txid) else { return Ok(()) };
        let Some(next) = job.to_ask.first().copied() else { return self.conclude(txid) };
        let (coordinator, attempt) = (self.shard(), job.attempt);
        let reserve = Reserve { transaction: job.tx.bytes.clone(), coordinator, attempt };
        self.send(next, Kind::Reserve(reserve));
        Ok(())
    }

    /// The coordinator holds everything: accept, or find out why not.
    fn conclude(&mut self, txid: &TxId) -> Result<(), CoreError> {
        let Some(job) = self.ledger.jobs.get(txid) else { return Ok(()) };
        let mut facts = job.facts();
        facts.extend(job.granted.iter().cloned());
        let verdict =
            judge::time_lock(&job.tx.body, self.now).and_then(|()| judge::balance(&job.tx.body, &facts));
        if let Err(rejection) = verdict {
            self.abort(txid, rejection);
            return Ok(());
        }
        let Some((job, held)) = self.take(txid) else { return Ok(()) };
        for shard in shards_of(&job.tx, self.ledger.config.shards) {
            if shard != self.shard() {
                self.send(shard, Kind::Settle(Settle { txid: txid.to_bytes(), commit: true }));
            }
        }
        self.spend_held(&job, held)?;
        self.accept(&job.tx, job.arrived)
    }

    /// Spends what a job consumes here; what was only read is free again.
    pub(crate) fn spend_held(&mut self, job: &Job, held: Vec<OutPoint>) -> Result<(), CoreError> {
        let txid = job.txid();
        let mut spent = BTreeSet::new();
        for (position, input) in Job::inputs_of(&job.tx, self.shard(), self.ledger.config.shards) {
            if input.read_only {
                continue;
            }
            let row = job.local.get(&position).ok_or_else(|| CoreError::Invariant {
                id: "L2",
                detail: format!("{txid} settles without the row of {}", input.outpoint),
            })?;
            self.spend(input, row, &txid)?;
            spent.insert(input.outpoint);
        }
        self.free(held.into_iter().filter(|outpoint| !spent.contains(outpoint)), None);
        Ok(())
    }

    /// Lets those go on who wanted these outputs, `first` before the others.
    fn free(&mut self, outpoints: impl Iterator<Item = OutPoint>, first: Option<TxId>) {
        let mut next: Vec<(bool, u64, TxId)> = Vec::new();
        for outpoint in outpoints {
            for txid in self.ledger.queued.get(&outpoint).into_iter().flatten() {
                let arrived = self.ledger.jobs.get(txid).map_or(u64::MAX, |job| job.arrived);
                next.push((Some(*txid) != first, arrived, *txid));
            }
        }
        next.sort_unstable();
        next.dedup();
        self.ready.extend(next.into_iter().map(|(_, _, txid)| txid));
    }

    /// Ends a job without effect on money; releases what it held here and elsewhere.
    pub(crate) fn abort(&mut self, txid: &TxId, rejection: Rejection) {
        self.abort_for(txid, rejection, None);
    }

    fn abort_for(&mut self, txid: &TxId, rejection: Rejection, winner: Option<TxId>) {
        let Some((job, held)) = self.take(txid) else { return };
        if job.coordinator == self.shard() && job.stage == Stage::Held {
            let not_asked = job.to_ask.get(1..).unwrap_or_default();
            for shard in shards_of(&job.tx, self.ledger.config.shards) {
                if shard != self.shard() && !not_asked.contains(&shard) {
                    self.send(shard, Kind::Settle(Settle { txid: txid.to_bytes(), commit: false }));
                }
            }
        }
        self.turn_down(&job, rejection);
        self.free(held.into_iter(), winner);
    }

    /// Another shard's coordinator gave up.
    pub(crate) fn release(&mut self, txid: &TxId) {
        if let Some((_, held)) = self.take(txid) {
            self.free(held.into_iter(), None);
        }
    }

    pub(crate) fn take_for_settlement(&mut self, txid: &TxId) -> Option<(Job, Vec<OutPoint>)> {
        self.take(txid)
    }

    fn turn_down(&mut self, job: &Job, rejection: Rejection) {
        if job.coordinator == self.shard() {
            self.decide_rejected(&job.txid(), job.arrived, rejection);
        } else {
            self.refuse(job, rejection);
        }
    }

    pub(crate) fn refuse(&mut self, job: &Job, rejection: Rejection) {
        let (shard, attempt) = (self.shard(), job.attempt);
        let refuse = Refuse { txid: job.txid().to_bytes(), shard, rejection: Some(rejection), attempt };
        self.send(job.coordinator, Kind::Refuse(refuse));
    }

    /// Everything that falls due by now, in order of time, then of id.
    pub(crate) fn run_timers(&mut self) -> Result<(), CoreError> {
        while let Some((at, txid)) = self.ledger.timers.first().copied() {
            if at > self.now {
                break;
            }
            self.ledger.timers.remove(&(at, txid));
            let Some(job) = self.ledger.jobs.get(&txid) else { continue };
            if job.stage == Stage::Window {
                self.end_window(&txid)?;
            } else {
                let rejection = match job.stage {
                    Stage::Waiting => judge::reject(
                        Reason::UnknownInput,
                        "an input did not appear in time; check the outpoint and its owner, then submit again",
                    ),
                    _ => judge::reject(
                        Reason::TimedOut,
                        "its inputs could not all be held in time; nothing was spent; submit it again",
                    ),
                };
                self.abort(&txid, rejection);
            }
            self.run_ready()?;
        }
        Ok(())
    }

    fn end_window(&mut self, txid: &TxId) -> Result<(), CoreError> {
        let Some(job) = self.ledger.jobs.get(txid) else { return Ok(()) };
        let last_ms = job.window_began_ms.saturating_add(self.ledger.config.window_max_ms);
        let last = self.now >= last_ms;
        let mut close = false;
        let mut winner = None;
        let consumed: Vec<_> = Job::inputs_of(&job.tx, self.shard(), self.ledger.config.shards)
            .filter(|(_, input)| !input.read_only)
            .map(|(_, input)| input.outpoint)
            .collect();
        for outpoint in consumed {
            let queued = self.ledger.queued.get(&outpoint).into_iter().flatten();
            let contenders = self.ledger.by_arrival(std::iter::once(txid).chain(queued));
            if contenders.len() == 1 {
                continue;
            }
            match weigh_contenders(&outpoint, &contenders, self.ledger.weigh.as_ref(), last) {
                Some(Verdict::TooClose) => close = true,
                Some(Verdict::Winner(heaviest)) if heaviest != *txid => {
                    winner.get_or_insert((heaviest, outpoint));
                }
                Some(Verdict::Winner(_)) | None => {}
            }
        }
        if let Some((heavier, outpoint)) = winner {
            let rejection = judge::reject(
                Reason::ConflictLost,
                format!("transaction {heavier} outweighs it for {outpoint}; choose another output"),
            );
            self.abort_for(txid, rejection, Some(heavier));
            return Ok(());
        }
        let Some((mut job, _)) = self.take(txid) else { return Ok(()) };
        if close {
            job.window_ends_ms = self.now.saturating_add(self.ledger.config.window_ms).min(last_ms);
            self.save(job);
            return Ok(());
        }
        self.hold(job)
    }
}

const CROWDED: &str =
    "too many transactions contend for one of its inputs; wait for their outcome, then submit again";
