use std::collections::BTreeSet;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{OutPoint, Transaction, Txid};
use eschaton_ports::chain::{Acceptance, Broadcast, ChainError, PACKAGE_TXS_MAX, RejectClass};
use serde_json::{Value, json};

use crate::RpcChain;
use crate::call::{CallError, NO_METHOD};
use crate::reject::{Verdict, verdict};
use crate::status::Place;

/// Blocks that are searched to tell an output that was spent from one that never was, on nodes without an index: a day.
const RECENT_BLOCKS: u32 = 144;
/// Highest rate that a node is asked to take, in coins for a kilobyte: Bitcoin Core's own default.
const RATE_MAX: f64 = 0.1;

fn rejected(class: RejectClass, detail: &str) -> ChainError {
    ChainError::Rejected { class, detail: detail.to_owned() }
}

fn inputs(transaction: &Transaction) -> Vec<OutPoint> {
    transaction.input.iter().map(|input| input.previous_output).collect()
}

impl RpcChain {
    pub(crate) async fn broadcast_one(&self, transaction: &Transaction) -> Result<Broadcast, ChainError> {
        let txid = transaction.compute_txid();
        let before = self.place(txid).await?;
        if let Place::Block(_) = before {
            return Ok(Broadcast::InBlock);
        }
        // Also when it is known: the node passes it on once more.
        match self.call("sendrawtransaction", json!([serialize_hex(transaction)])).await {
            Ok(_) if before == Place::Mempool => Ok(Broadcast::Known),
            Ok(_) => Ok(Broadcast::Accepted),
            Err(CallError::Rpc { code, message }) => match self.judge(transaction, &message).await? {
                Ok(done) => Ok(done),
                Err(class) => Err(rejected(class, &format!("{message} ({code})"))),
            },
            Err(CallError::Chain(error)) => Err(error),
        }
    }

    /// What a node's reason means for this transaction.
    async fn judge(
        &self,
        transaction: &Transaction,
        reason: &str,
    ) -> Result<Result<Broadcast, RejectClass>, ChainError> {
        match verdict(reason) {
            Verdict::Known => Ok(Ok(Broadcast::Known)),
            Verdict::InBlock => Ok(Ok(Broadcast::InBlock)),
            Verdict::Refused(class) => Ok(Err(class)),
            Verdict::NoInput => self.why_no_input(transaction).await,
        }
    }

    async fn why_no_input(
        &self,
        transaction: &Transaction,
    ) -> Result<Result<Broadcast, RejectClass>, ChainError> {
        let mut missing = Vec::new();
        for input in inputs(transaction) {
            if self.was_spent(input).await? {
                return Ok(Err(RejectClass::AlreadySpent));
            }
            if self.unspent(input, false).await?.is_none() {
                missing.push(input);
            }
        }
        let (itself, rival) = self.recently(transaction.compute_txid(), &missing, RECENT_BLOCKS).await?;
        Ok(match (itself, rival) {
            (true, _) => Ok(Broadcast::InBlock),
            (_, true) => Err(RejectClass::AlreadySpent),
            _ => Err(RejectClass::MissingInputs),
        })
    }

    pub(crate) async fn test_accept(&self, transaction: &Transaction) -> Result<Acceptance, ChainError> {
        // btcd demands the second parameter.
        let params = json!([[serialize_hex(transaction)], RATE_MAX]);
        let result = match self.call("testmempoolaccept", params).await {
            Ok(result) => result,
            Err(CallError::Rpc { code: NO_METHOD, .. }) => {
                let call = "test a transaction without taking it";
                return Err(ChainError::Unsupported { node: self.caller.node(), call });
            }
            Err(CallError::Rpc { code, message }) => {
                let Err(class) = self.judge(transaction, &message).await? else {
                    return Ok(Acceptance::Accepted);
                };
                return Ok(Acceptance::Rejected { class, detail: format!("{message} ({code})") });
            }
            Err(CallError::Chain(error)) => return Err(error),
        };
        let result = result.get(0).ok_or_else(|| self.caller.lying("a test without result"))?;
        if result.get("allowed").and_then(Value::as_bool) == Some(true) {
            return Ok(Acceptance::Accepted);
        }
        let reason = result.get("reject-reason").and_then(Value::as_str).unwrap_or("no reason");
        Ok(match self.judge(transaction, reason).await? {
            Ok(_) => Acceptance::Accepted,
            Err(class) => Acceptance::Rejected { class, detail: reason.to_owned() },
        })
    }

    pub(crate) async fn broadcast_all(
        &self,
        transactions: &[Transaction],
    ) -> Result<Vec<Broadcast>, ChainError> {
        check_package(transactions)?;
        let mut done = Vec::new();
        let mut new = Vec::new();
        for transaction in transactions {
            let place = self.place(transaction.compute_txid()).await?;
            match place {
                Place::Block(_) => done.push(Broadcast::InBlock),
                Place::Mempool => done.push(Broadcast::Known),
                Place::Nowhere => done.push(Broadcast::Accepted),
            }
            if !matches!(place, Place::Block(_)) {
                new.push(transaction);
            }
        }
        if let [last] = new[..]
            && let Some(outcome) = done.last_mut()
        {
            *outcome = self.broadcast_one(last).await?;
            return Ok(done);
        }
        if new.is_empty() {
            return Ok(done);
        }
        let hex: Vec<String> = new.iter().map(|transaction| serialize_hex(*transaction)).collect();
        let answer = match self.call("submitpackage", json!([hex])).await {
            Ok(answer) => answer,
            Err(CallError::Rpc { code: NO_METHOD, .. }) => {
                let call = "take a package of transactions";
                return Err(ChainError::Unsupported { node: self.caller.node(), call });
            }
            Err(CallError::Rpc { code, message }) => {
                let class = match verdict(&message) {
                    Verdict::Refused(class) => class,
                    _ => RejectClass::Other,
                };
                return Err(rejected(class, &format!("{message} ({code})")));
            }
            Err(CallError::Chain(error)) => return Err(error),
        };
        if answer.get("package_msg").and_then(Value::as_str) == Some("success") {
            return Ok(done);
        }
        Err(self.package_error(&new, &answer).await?)
    }

    /// The first reason that says more than that the package as a whole was refused.
    async fn package_error(&self, new: &[&Transaction], answer: &Value) -> Result<ChainError, ChainError> {
        let package = answer.get("package_msg").and_then(Value::as_str).unwrap_or("no reason");
        for transaction in new {
            let result =
                answer.get("tx-results").and_then(|all| all.get(transaction.compute_wtxid().to_string()));
            let reason = result.and_then(|result| result.get("error")).and_then(Value::as_str);
            if let Some(reason) = reason
                && let Err(class) = self.judge(transaction, reason).await?
                && class != RejectClass::Other
            {
                return Ok(rejected(class, &format!("{}: {reason}", transaction.compute_txid())));
            }
        }
        let class = match verdict(package) {
            Verdict::Refused(class) => class,
            _ => RejectClass::Other,
        };
        Ok(rejected(class, package))
    }
}

/// A package is parents and the one child that spends them all.
fn check_package(transactions: &[Transaction]) -> Result<(), ChainError> {
    let invalid = |detail: String| Err(ChainError::Invalid { detail });
    let Some((child, parents)) = transactions.split_last() else {
        return invalid("a package without transactions".to_owned());
    };
    if transactions.len() > PACKAGE_TXS_MAX {
        return invalid(format!("a package of {}; possible are {PACKAGE_TXS_MAX}", transactions.len()));
    }
    let spent: BTreeSet<Txid> = child.input.iter().map(|input| input.previous_output.txid).collect();
    let idle = parents.iter().find(|parent| !spent.contains(&parent.compute_txid()));
    match idle {
        Some(parent) => {
            invalid(format!("the package's last transaction does not spend {}", parent.compute_txid()))
        }
        None => Ok(()),
    }
}
