//! What other shards say.

use eschaton_core::{CoreError, Table};
use eschaton_types::TxId;
use eschaton_types::pb::log::{Grant, Reason, Refuse};
use eschaton_types::pb::state::Stage;

use crate::job::Job;
use crate::ledger::Credit;
use crate::step::Step;
use crate::{judge, keys};

impl Step<'_> {
    pub(crate) fn granted(&mut self, grant: Grant) -> Result<(), CoreError> {
        let txid = parse(&grant.txid)?;
        let key = keys::pending(self.shard(), &txid);
        let Some(job) = self.ledger.jobs.get_mut(&txid) else { return Ok(()) };
        // Anything else is late: that attempt was given up and its hold is being released.
        let asked = job.attempt == grant.attempt && job.to_ask.first() == Some(&grant.shard);
        if job.stage != Stage::Held || !asked {
            return Ok(());
        }
        job.to_ask.remove(0);
        job.granted.extend(grant.facts);
        self.rows.put(Table::Pending, key, job.to_row());
        self.ask_next(&txid)
    }

    pub(crate) fn refused(&mut self, refuse: Refuse) -> Result<(), CoreError> {
        let txid = parse(&refuse.txid)?;
        let asked = |job: &Job| job.attempt == refuse.attempt && job.to_ask.first() == Some(&refuse.shard);
        if self.ledger.jobs.get(&txid).is_some_and(asked) {
            let rejection = refuse
                .rejection
                .unwrap_or_else(|| judge::reject(Reason::TimedOut, "another shard refused; submit it again"));
            self.abort(&txid, rejection);
        }
        Ok(())
    }

    pub(crate) fn settled(&mut self, txid: TxId, commit: bool) -> Result<(), CoreError> {
        if !commit {
            self.release(&txid);
            return Ok(());
        }
        match self.take_for_settlement(&txid) {
            Some((job, held)) if job.stage == Stage::Held => self.spend_held(&job, held),
            _ => Err(CoreError::Invariant {
                id: "L4",
                detail: format!("{txid} settles on shard {} which does not hold its inputs", self.shard()),
            }),
        }
    }

    pub(crate) fn credited(&mut self, credits: Vec<Credit>) {
        for credit in credits {
            let key = keys::output(&credit.owner, &credit.outpoint);
            let row = keys::live(credit.amount, credit.product, credit.created_at_ms, credit.spendable_at_ms);
            self.create(key, &credit.outpoint, &row);
        }
    }
}

fn parse(txid: &[u8]) -> Result<TxId, CoreError> {
    TxId::from_slice(txid, "txid").map_err(|error| CoreError::Input { detail: error.to_string() })
}
