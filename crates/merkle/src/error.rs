use eschaton_proof::ProofError;
use eschaton_types::{OutPoint, TxId};

/// Why the trees refuse. After any error they are unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MerkleError {
    /// Invariant P2: the trees hold exactly the accepted transactions, each once.
    #[error(
        "P2 broken: transaction {txid} is in the log at {first} and comes again at {again}; halt the prover"
    )]
    AppliedTwice {
        /// Which.
        txid: TxId,
        /// Log position that it has.
        first: u64,
        /// Log position that it would get.
        again: u64,
    },
    /// Invariant L2: at most one accepted spender per output.
    #[error(
        "L2 broken: output {outpoint} is spent at {first} and again at {again}; halt and keep the log as evidence"
    )]
    SpentTwice {
        /// Which output.
        outpoint: OutPoint,
        /// Log position of the spender that stands.
        first: u64,
        /// Log position that the other spender would get.
        again: u64,
    },
    /// Invariant L1: nothing is spent that was not created.
    #[error(
        "L1 broken: output {outpoint} is spent at {spender}, its transaction has {outputs} outputs; halt the prover"
    )]
    SpentMissing {
        /// Which output.
        outpoint: OutPoint,
        /// Log position of the spender.
        spender: u64,
        /// How many outputs the transaction has.
        outputs: u16,
    },
    /// The caller did not provide a row that was asked for.
    #[error(
        "row {key} is missing; prefetch every row that was asked for, and rebuild the trees if the store lacks it"
    )]
    MissingRow {
        /// Hexadecimal row key.
        key: String,
    },
    /// A bucket row is of another version of the map than memory: too old, or already too new.
    #[error("row {key} is of another version of the map; begin the proof anew at the newest checkpoint")]
    StaleRow {
        /// Hexadecimal row key.
        key: String,
    },
    /// A row does not have the form that this crate writes.
    #[error("row {key} is damaged; restore the store or rebuild the trees from the log")]
    CorruptRow {
        /// Hexadecimal row key.
        key: String,
    },
    /// The bucket rows do not give the recorded root: some are missing, doubled or damaged.
    #[error(
        "rows of the {tree} do not give its recorded root; restore the store or rebuild the trees from the log"
    )]
    WrongRoot {
        /// Log or output map.
        tree: &'static str,
    },
    /// A position at or beyond a log's end, or sizes in the wrong order.
    #[error("position {position} is beyond the log's size {size}; use a newer checkpoint")]
    BeyondLog {
        /// Position or size asked for.
        position: u64,
        /// Size of the log.
        size: u64,
    },
    /// The output map is proven at the newest checkpoint only.
    #[error("checkpoint {number} is not of the trees' present state; use the newest one")]
    OldCheckpoint {
        /// Number of the checkpoint given.
        number: u64,
    },
    /// Nothing to prove inclusion of.
    #[error("transaction {txid} is not in the log at this checkpoint; ask again at a later one")]
    NotIncluded {
        /// Which.
        txid: TxId,
    },
    /// More nodes than the arena can number, or a log of 2^64.
    #[error("the trees are full; start another prover for part of the keys")]
    Full,
    /// Pieces that no proof can be made of, such as a body of another transaction.
    #[error(transparent)]
    Proof(#[from] ProofError),
}
