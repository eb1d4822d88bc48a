//! A transaction arrives, from ingress or from the shard that coordinates it.

use std::collections::BTreeMap;

use bytes::Bytes;
use eschaton_core::{CoreError, Table};
use eschaton_types::pb::log::{Reason, Rejection, State};
use eschaton_types::pb::state::{OutputRow, Stage, TotalRow, TransactionRow};
use eschaton_types::{Amount, OutPoint, Transaction};
use prost::Message;

use crate::job::{Job, facts, shards_of};
use crate::step::Step;
use crate::{judge, keys};

/// What the local inputs of a transaction turned out to be.
struct Local {
    rows: BTreeMap<usize, OutputRow>,
    unknown: Vec<OutPoint>,
    /// An input is spent by this very transaction: it was accepted before.
    repeated: bool,
    refused: Option<Rejection>,
}

impl Step<'_> {
    pub(crate) fn submit(&mut self, tx: Transaction) -> Result<(), CoreError> {
        let txid = tx.txid;
        if self.ledger.jobs.contains_key(&txid) {
            self.repeat(&txid, State::Pending);
            return Ok(());
        }
        let shards = shards_of(&tx, self.ledger.config.shards);
        if shards.first() != Some(&self.shard()) {
            let rejection = judge::reject(
                Reason::UnknownInput,
                "it reached a shard that does not coordinate it; submit it again",
            );
            self.turn_away(&txid, rejection);
            return Ok(());
        }
        let single = shards.len() == 1;
        if (!single || tx.is_issuance()) && self.accepted_before(&tx)? {
            self.repeat(&txid, State::Accepted);
            return Ok(());
        }
        if tx.is_issuance() {
            return self.issue(&tx);
        }
        let local = self.look_at_inputs(&tx)?;
        if local.repeated {
            self.repeat(&txid, State::Accepted);
            return Ok(());
        }
        let early = local.refused.map_or(Ok(()), Err).and_then(|()| judge::time_lock(&tx.body, self.now));
        let early = early.and_then(|()| {
            if single && local.unknown.is_empty() {
                judge::balance(&tx.body, &facts(&local.rows))
            } else {
                Ok(())
            }
        });
        if let Err(rejection) = early {
            self.decide_rejected(&txid, self.offset, rejection);
            return Ok(());
        }
        let free = tx.body.consumed().all(|input| !self.ledger.claims.contains_key(&input.outpoint));
        if single && free && local.unknown.is_empty() && self.ledger.config.window_ms == 0 {
            for (position, input) in tx.body.inputs.iter().enumerate() {
                if let (false, Some(row)) = (input.read_only, local.rows.get(&position)) {
                    self.spend(input, row, &txid)?;
                }
            }
            return self.accept(&tx, self.offset);
        }
        let deadline_ms = self.now.saturating_add(self.ledger.config.wait_ms);
        let job = self.job(tx, self.shard(), self.offset, deadline_ms, local.rows);
        self.enter(job)
    }

    pub(crate) fn reserve(
        &mut self,
        tx: Transaction,
        coordinator: u32,
        attempt: u64,
    ) -> Result<(), CoreError> {
        if self.ledger.jobs.contains_key(&tx.txid) {
            return Ok(());
        }
        let local = self.look_at_inputs(&tx)?;
        if local.repeated {
            return Ok(());
        }
        let job = self.job(tx, coordinator, attempt, 0, local.rows);
        match local.refused {
            Some(rejection) => {
                self.refuse(&job, rejection);
                Ok(())
            }
            None => self.enter(job),
        }
    }

    fn job(
        &self,
        tx: Transaction,
        coordinator: u32,
        attempt: u64,
        deadline_ms: u64,
        local: BTreeMap<usize, OutputRow>,
    ) -> Job {
        Job {
            tx,
            arrived: self.offset,
            coordinator,
            attempt,
            stage: Stage::Waiting,
            deadline_ms,
            window_ends_ms: 0,
            window_began_ms: 0,
            local,
            granted: Vec::new(),
            to_ask: Vec::new(),
        }
    }

    fn look_at_inputs(&self, tx: &Transaction) -> Result<Local, CoreError> {
        let mut local = Local { rows: BTreeMap::new(), unknown: Vec::new(), repeated: false, refused: None };
        for (position, input) in Job::inputs_of(tx, self.shard(), self.ledger.config.shards) {
            let key = keys::output(&input.owner, &input.outpoint);
            let Some(value) = self.rows.get(Table::Outputs, &key)? else {
                local.unknown.push(input.outpoint);
                continue;
            };
            let row: OutputRow = keys::decode(Table::Outputs, value)?;
            if row.spent_by == tx.txid.as_ref() {
                local.repeated = true;
            } else if let Err(rejection) = judge::input(position, input, &row, self.now) {
                local.refused.get_or_insert(rejection);
            }
            local.rows.insert(position, row);
        }
        Ok(local)
    }

    fn accepted_before(&self, tx: &Transaction) -> Result<bool, CoreError> {
        match self.rows.get(Table::Transactions, &keys::transaction(&tx.txid))? {
            Some(value) => {
                let row: TransactionRow = keys::decode(Table::Transactions, value)?;
                Ok(row.state() == State::Accepted)
            }
            None => Ok(false),
        }
    }

    /// Units out of nothing. Ingress has checked that the issuer may; the supply is bounded here.
    fn issue(&mut self, tx: &Transaction) -> Result<(), CoreError> {
        if let Err(rejection) = judge::time_lock(&tx.body, self.now) {
            self.decide_rejected(&tx.txid, self.offset, rejection);
            return Ok(());
        }
        let product = tx.body.outputs.first().map(|output| output.product).unwrap_or_default();
        let key = keys::issued(self.shard(), product);
        let before = match self.rows.get(Table::Totals, &key)? {
            Some(value) => keys::decode::<TotalRow>(Table::Totals, value)?.amount,
            None => 0,
        };
        let total = Amount::new(before).and_then(|before| {
            Amount::sum(std::iter::once(before).chain(tx.body.outputs.iter().map(|o| o.amount)))
        });
        let Ok(total) = total else {
            let message = format!("product {product} has {before} of at most 10^18 units; issue less");
            self.decide_rejected(&tx.txid, self.offset, judge::reject(Reason::SupplyExceeded, message));
            return Ok(());
        };
        self.rows.put(Table::Totals, key, Bytes::from(TotalRow { amount: total.units() }.encode_to_vec()));
        self.accept(tx, self.offset)
    }
}
