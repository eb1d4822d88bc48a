//! What an error of a transaction means for its claim.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{code, words, words_of};

/// Why a transaction was not committed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Trying the same call again may help.
    Retriable(String),
    /// The transaction must be aborted; then the producer goes on.
    Abort {
        /// What happened.
        detail: String,
        /// The group's membership changed under it: the same transaction may succeed at once.
        repeat: bool,
    },
    /// A newer owner has raised the epoch.
    Fenced,
    /// The producer is of no more use, and what became of the transaction is open.
    Lost(String),
}

/// Reads an error of a transaction that has been open for `open`. `fatal` is what the client calls its own end.
pub(super) fn classify(
    error: &KafkaError,
    fatal: Option<(RDKafkaErrorCode, String)>,
    open: Duration,
    transaction_timeout: Duration,
) -> Failure {
    let detail = words(error);
    let transaction = match error {
        KafkaError::Transaction(error) => Some(error),
        _ => None,
    };
    let code = code(error);
    if fatal.is_some() || transaction.is_some_and(|error| error.is_fatal()) {
        let fenced = code.is_some_and(is_fence) || fatal.as_ref().is_some_and(|(code, _)| is_fence(*code));
        // The coordinator also raises the epoch when it aborts a transaction that was open for too long.
        return match fenced {
            true if open < transaction_timeout => Failure::Fenced,
            true => Failure::Lost(format!("the transaction outlived its time-out: {detail}")),
            false => Failure::Lost(fatal.map_or(detail, |(code, reason)| words_of(Some(code), reason))),
        };
    }
    match transaction {
        Some(error) if error.txn_requires_abort() => {
            Failure::Abort { detail, repeat: code.is_some_and(is_regrouping) }
        }
        Some(error) if error.is_retriable() => Failure::Retriable(detail),
        Some(_) => Failure::Lost(detail),
        // A record that was not delivered: the transaction cannot be committed any more.
        None => Failure::Abort { detail, repeat: false },
    }
}

fn is_fence(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

fn is_regrouping(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::IllegalGeneration | Code::RebalanceInProgress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undelivered_record_asks_for_an_abort_and_a_fenced_client_for_an_end() {
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(30));
        assert!(matches!(classify(&error, None, short, long), Failure::Abort { repeat: false, .. }));
        let fenced = || Some((RDKafkaErrorCode::Fenced, "newer".to_owned()));
        assert_eq!(classify(&error, fenced(), short, long), Failure::Fenced);
        assert!(matches!(classify(&error, fenced(), long, long), Failure::Lost(_)), "its own lateness");
        let broken = Some((RDKafkaErrorCode::OutOfOrderSequenceNumber, "sequence".to_owned()));
        assert_eq!(classify(&error, broken, short, long), Failure::Lost("sequence".to_owned()));
    }
}
