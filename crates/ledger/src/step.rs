use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use eschaton_core::{CoreError, Effect, LogTime, Rows, Table, Topic, TopicPartition};
use eschaton_types::pb::log::{self as pb, Rejection, State, ledger_input::Kind};
use eschaton_types::pb::state::{OutputRow, TransactionRow};
use eschaton_types::{Input, OutPoint, Transaction, TxId, shard_of};
use prost::Message;

use crate::{Contender, Ledger, judge, keys};

/// One input on its way through a shard.
pub(crate) struct Step<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) rows: &'a mut Rows,
    pub(crate) offset: u64,
    pub(crate) now: LogTime,
    effects: Vec<Effect>,
    /// Jobs that may go on: worked off in a loop, so that a chain of payments needs no deep stack.
    pub(crate) ready: VecDeque<TxId>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(ledger: &'a mut Ledger, rows: &'a mut Rows, offset: u64, now: LogTime) -> Self {
        Self { ledger, rows, offset, now, effects: Vec::new(), ready: VecDeque::new() }
    }

    pub(crate) fn finish(self) -> Vec<Effect> {
        self.effects
    }

    pub(crate) fn shard(&self) -> u32 {
        self.ledger.config.shard
    }

    pub(crate) fn send(&mut self, shard: u32, kind: Kind) {
        let payload = Bytes::from(pb::LedgerInput { kind: Some(kind) }.encode_to_vec());
        self.effects.push(Effect { to: TopicPartition { topic: Topic::Ledger, partition: shard }, payload });
    }

    fn publish(&mut self, decision: &pb::Decision) {
        self.effects.push(Effect {
            to: TopicPartition { topic: Topic::Decisions, partition: self.shard() },
            payload: Bytes::from(decision.encode_to_vec()),
        });
    }

    /// Publishes a decision of this coordinator and keeps it for look-ups.
    fn decide(&mut self, decision: &pb::Decision) {
        let row = TransactionRow {
            state: decision.state,
            rejection: decision.rejection.clone(),
            partition: self.shard(),
            ledger_offset: decision.ledger_offset,
            at_ms: decision.at_ms,
        };
        self.rows.put(Table::Transactions, decision.txid.clone(), Bytes::from(row.encode_to_vec()));
        self.publish(decision);
    }

    fn decision(&self, txid: &TxId, state: State, ledger_offset: u64) -> pb::Decision {
        pb::Decision {
            txid: txid.to_bytes(),
            state: state.into(),
            ledger_offset,
            at_ms: self.now,
            ..pb::Decision::default()
        }
    }

    pub(crate) fn decide_pending(&mut self, txid: &TxId) {
        let decision = self.decision(txid, State::Pending, self.offset);
        self.decide(&decision);
    }

    pub(crate) fn decide_rejected(&mut self, txid: &TxId, arrived: u64, rejection: Rejection) {
        let mut decision = self.decision(txid, State::Rejected, arrived);
        decision.rejection = Some(rejection);
        self.decide(&decision);
    }

    /// Answers a transaction that came again; nothing changes (L3).
    pub(crate) fn repeat(&mut self, txid: &TxId, state: State) {
        let mut decision = self.decision(txid, state, self.offset);
        decision.repeated_answer = true;
        self.publish(&decision);
    }

    /// Answers a transaction that this shard has no say in. No row: the coordinator alone writes that.
    pub(crate) fn turn_away(&mut self, txid: &TxId, rejection: Rejection) {
        let mut decision = self.decision(txid, State::Rejected, self.offset);
        decision.rejection = Some(rejection);
        decision.repeated_answer = true;
        self.publish(&decision);
    }

    /// The coordinator accepts: outputs and fees come to be, the decision is published. Spending the
    /// local inputs is the caller's part, for it holds their rows.
    pub(crate) fn accept(&mut self, tx: &Transaction, arrived: u64) -> Result<(), CoreError> {
        let spendable_at_ms = self.now.checked_add(tx.body.min_spend_delay_ms).ok_or_else(|| {
            CoreError::Invariant { id: "L1", detail: "log time is beyond all calendars".to_owned() }
        })?;
        let shards = self.ledger.config.shards;
        let mut abroad: BTreeMap<u32, Vec<pb::Credit>> = BTreeMap::new();
        for (index, output) in (0u16..).zip(&tx.body.outputs) {
            let outpoint = OutPoint { txid: tx.txid, index };
            let shard = shard_of(&output.owner, shards);
            if shard == self.shard() {
                let row = keys::live(output.amount.units(), output.product, self.now, spendable_at_ms);
                self.create(keys::output(&output.owner, &outpoint), &outpoint, &row);
            } else {
                abroad.entry(shard).or_default().push(pb::Credit {
                    txid: tx.txid.to_bytes(),
                    index: index.into(),
                    owner: output.owner.to_bytes(),
                    product: output.product.to_bytes(),
                    amount: output.amount.units(),
                    created_at_ms: self.now,
                    spendable_at_ms,
                });
            }
        }
        for (shard, credits) in abroad {
            self.send(shard, Kind::Credits(pb::Credits { credits }));
        }
        for fee in &tx.body.fees {
            let row = eschaton_types::pb::state::TotalRow { amount: fee.amount.units() };
            let key = keys::fee(self.shard(), fee.product, &tx.txid);
            self.rows.put(Table::Totals, key, Bytes::from(row.encode_to_vec()));
        }
        let mut decision = self.decision(&tx.txid, State::Accepted, arrived);
        decision.spends = tx
            .body
            .consumed()
            .map(|input| pb::Outpoint {
                txid: input.outpoint.txid.to_bytes(),
                index: input.outpoint.index.into(),
            })
            .collect();
        decision.outputs = u32::try_from(tx.body.outputs.len()).unwrap_or(u32::MAX); // at most 256
        self.decide(&decision);
        Ok(())
    }

    /// A new live output of this shard; wakes who waited for it.
    pub(crate) fn create(&mut self, key: Bytes, outpoint: &OutPoint, row: &OutputRow) {
        self.rows.put(Table::Outputs, key, Bytes::from(row.encode_to_vec()));
        let Some(waiting) = self.ledger.waiting.remove(outpoint) else { return };
        for Contender { txid, .. } in self.ledger.by_arrival(&waiting) {
            if let Some(job) = self.ledger.jobs.get_mut(&txid) {
                let position = job.tx.body.inputs.iter().position(|input| input.outpoint == *outpoint);
                if let Some(position) = position {
                    job.local.insert(position, row.clone());
                    self.ledger.watching.entry(*outpoint).or_default().insert(txid);
                }
                self.rows.put(Table::Pending, keys::pending(self.ledger.config.shard, &txid), job.to_row());
                self.ready.push_back(txid);
            }
        }
    }

    /// Marks a local output spent, and ends every other transaction that saw it live: those that want
    /// it, and those that only read it. `row` is its live row, which the caller read or held.
    pub(crate) fn spend(&mut self, input: &Input, row: &OutputRow, by: &TxId) -> Result<(), CoreError> {
        if !row.spent_by.is_empty() {
            return Err(CoreError::Invariant {
                id: "L2",
                detail: format!("{} would be spent twice, now by {by}", input.outpoint),
            });
        }
        let spent = OutputRow { spent_by: by.to_bytes(), spent_at_ms: self.now, ..row.clone() };
        let key = keys::output(&input.owner, &input.outpoint);
        self.rows.put(Table::Outputs, key, Bytes::from(spent.encode_to_vec()));
        let watching = self.ledger.watching.get(&input.outpoint).into_iter().flatten();
        for Contender { txid, .. } in self.ledger.by_arrival(watching) {
            if txid != *by {
                self.abort(&txid, judge::lost(&input.outpoint, by));
            }
        }
        Ok(())
    }
}
