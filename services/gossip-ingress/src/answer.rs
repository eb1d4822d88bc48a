use eschaton_types::pb::log::Rejection;
use eschaton_types::{TxError, TxId};

/// What became of one transaction.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Final.
    Accepted {
        /// Which.
        txid: TxId,
        /// Log time, ms.
        at_ms: u64,
    },
    /// Judged and turned down.
    Rejected {
        /// Which.
        txid: TxId,
        /// Why.
        rejection: Rejection,
        /// Log time, ms.
        at_ms: u64,
    },
    /// Durable and not decided yet.
    Pending {
        /// Which.
        txid: TxId,
    },
    /// No valid transaction; nothing was recorded.
    Invalid {
        /// Its id, when it got so far.
        txid: Option<TxId>,
        /// Why.
        error: TxError,
    },
    /// No room; nothing was recorded.
    Busy {
        /// When to come again.
        retry_after_ms: u64,
        /// Which bound was met.
        message: String,
    },
}

/// The log did not answer: it is open whether the batch is on it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the node's log is away ({0}); submit the same bytes again, nothing is paid twice")]
pub struct Unavailable(pub(crate) String);
