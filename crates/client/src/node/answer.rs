//! The node's answers, checked and in the money's own types.

use std::time::Duration;

use bytes::Bytes;
use eschaton_api::ingress::{Outcome, SubmitResult};
use eschaton_api::query;
use eschaton_types::{Address, Amount, OUTPUTS_MAX, OutPoint, Product, Transaction, TxError, TxId};
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use super::NodeError;
use crate::Coin;

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What became of a transaction that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// Final.
    Accepted {
        /// Log time, milliseconds since 1970.
        at_ms: u64,
    },
    /// Judged and turned down; see [`crate::Verdict::of`] for whether it may be accepted later.
    Rejected {
        /// A name of `eschaton.log.v1.Reason`.
        reason: String,
        /// Why, and what to do.
        message: String,
        /// What spent the input, where that is the reason.
        spent_by: Option<TxId>,
        /// Log time, milliseconds since 1970.
        at_ms: u64,
    },
    /// Durable and not decided.
    Pending,
    /// No valid transaction; nothing was recorded.
    Invalid {
        /// Why.
        message: String,
    },
}

/// A transaction as the node has it.
#[derive(Clone, Debug)]
pub struct TransactionRow {
    /// Its latest state: never [`Submitted::Invalid`].
    pub state: Submitted,
    /// Its bytes, decoded; their hash is the id that was asked for.
    pub transaction: Transaction,
    /// Log time of the state, milliseconds since 1970.
    pub at_ms: u64,
}

/// An output as the node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRow {
    /// The output.
    pub coin: Coin,
    /// Who spent it and when (log time, ms since 1970); none while live.
    pub spent: Option<(TxId, u64)>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Of which transaction.
    pub txid: TxId,
    /// What: never [`Submitted::Invalid`].
    pub state: Submitted,
    /// Log time, milliseconds since 1970.
    pub at_ms: u64,
}

fn wrong(error: &TxError) -> NodeError {
    NodeError::Answer { detail: error.to_string() }
}

pub(super) fn txid(bytes: &[u8]) -> Result<TxId, NodeError> {
    TxId::from_slice(bytes, "transaction id (32 bytes)").map_err(|error| wrong(&error))
}

fn spender(bytes: &[u8]) -> Result<Option<TxId>, NodeError> {
    if bytes.is_empty() { Ok(None) } else { txid(bytes).map(Some) }
}

/// The pause that a node asks for (gRFC A6): outer none when it says nothing, inner none for a value
/// that forbids another attempt.
pub(super) fn pushback(status: &Status) -> Option<Option<Duration>> {
    let value = status.metadata().get(PUSHBACK)?;
    let ms = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    Some(ms.map(Duration::from_millis))
}

/// Turns the outcome BUSY into the status it stands for, so that it is retried like one.
pub(super) fn busy(answer: Response<SubmitResult>) -> Result<Response<SubmitResult>, Status> {
    let result = answer.get_ref();
    if result.outcome() != Outcome::Busy {
        return Ok(answer);
    }
    let mut metadata = MetadataMap::new();
    metadata.insert(PUSHBACK, result.retry_after_ms.into());
    Err(Status::with_metadata(Code::ResourceExhausted, result.message.clone(), metadata))
}

pub(super) fn submitted(result: SubmitResult, asked: &TxId) -> Result<Submitted, NodeError> {
    if result.outcome() != Outcome::Invalid && txid(&result.txid)? != *asked {
        return Err(NodeError::Answer { detail: "it is about another transaction".to_owned() });
    }
    Ok(match result.outcome() {
        Outcome::Accepted => Submitted::Accepted { at_ms: result.at_ms },
        Outcome::Rejected => Submitted::Rejected {
            spent_by: spender(&result.spent_by)?,
            reason: result.reason,
            message: result.message,
            at_ms: result.at_ms,
        },
        Outcome::Pending => Submitted::Pending,
        Outcome::Invalid => Submitted::Invalid { message: result.message },
        Outcome::Busy | Outcome::Unspecified => {
            return Err(NodeError::Answer { detail: format!("outcome {} is unknown", result.outcome) });
        }
    })
}

/// A state by its name in `eschaton.query.v1`.
fn state(
    name: &str,
    reason: String,
    message: String,
    spent_by: &[u8],
    at_ms: u64,
) -> Result<Submitted, NodeError> {
    match name {
        "ACCEPTED" => Ok(Submitted::Accepted { at_ms }),
        "REJECTED" => Ok(Submitted::Rejected { reason, message, spent_by: spender(spent_by)?, at_ms }),
        "PENDING" => Ok(Submitted::Pending),
        other => Err(NodeError::Answer { detail: format!("state `{other}` is unknown") }),
    }
}

pub(super) fn transaction(info: query::TransactionInfo, asked: &TxId) -> Result<TransactionRow, NodeError> {
    let transaction = Transaction::decode(info.transaction).map_err(|error| wrong(&error))?;
    if transaction.txid != *asked {
        return Err(NodeError::Answer { detail: "its transaction has another id than asked for".to_owned() });
    }
    let state = state(&info.state, info.reason, info.message, &info.spent_by, info.at_ms)?;
    Ok(TransactionRow { state, transaction, at_ms: info.at_ms })
}

pub(super) fn decided(event: query::DecisionEvent) -> Result<Decided, NodeError> {
    Ok(Decided {
        txid: txid(&event.txid)?,
        state: state(&event.state, event.reason, event.message, &Bytes::new(), event.at_ms)?,
        at_ms: event.at_ms,
    })
}

pub(super) fn output(info: &query::OutputInfo, owner: Address) -> Result<OutputRow, NodeError> {
    let index = u16::try_from(info.index).ok().filter(|index| usize::from(*index) < OUTPUTS_MAX);
    let index =
        index.ok_or_else(|| NodeError::Answer { detail: "an output's index is above 255".to_owned() })?;
    let coin = Coin {
        outpoint: OutPoint { txid: txid(&info.txid)?, index },
        owner,
        product: Product::from_slice(&info.product).map_err(|error| wrong(&error))?,
        amount: Amount::new(info.amount).map_err(|error| wrong(&error.into()))?,
        created_at_ms: info.created_at_ms,
        spendable_at_ms: info.spendable_at_ms,
    };
    Ok(OutputRow { coin, spent: spender(&info.spent_by)?.map(|txid| (txid, info.spent_at_ms)) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pushback_is_read_as_grpc_says() {
        let status = |value: Option<&str>| {
            let mut metadata = MetadataMap::new();
            if let Some(value) = value {
                metadata.insert(PUSHBACK, value.parse().unwrap());
            }
            Status::with_metadata(Code::Unavailable, "", metadata)
        };
        assert_eq!(pushback(&status(None)), None);
        assert_eq!(pushback(&status(Some("250"))), Some(Some(Duration::from_millis(250))));
        assert_eq!(pushback(&status(Some("-1"))), Some(None));
    }

    #[test]
    fn busy_is_retried_with_its_time() {
        let mut result =
            SubmitResult { retry_after_ms: 40, message: "full".into(), ..SubmitResult::default() };
        result.set_outcome(Outcome::Busy);
        let status = busy(Response::new(result)).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(pushback(&status), Some(Some(Duration::from_millis(40))));
    }

    #[test]
    fn an_answer_about_another_transaction_is_none() {
        let mut result = SubmitResult { txid: TxId([1; 32]).to_bytes(), at_ms: 5, ..SubmitResult::default() };
        result.set_outcome(Outcome::Accepted);
        assert_eq!(submitted(result.clone(), &TxId([1; 32])).unwrap(), Submitted::Accepted { at_ms: 5 });
        assert!(submitted(result.clone(), &TxId([2; 32])).is_err());
        result.set_outcome(Outcome::Unspecified);
        assert!(submitted(result, &TxId([1; 32])).is_err());
    }
}
