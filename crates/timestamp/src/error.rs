use eschaton_ots::OtsError;

/// Why a core cannot go on, or a proof cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// A record that does not decode. Records are checked before they reach the log.
    #[error("record does not decode: {detail}; a newer version wrote it, or the log is damaged")]
    Record {
        /// What was met.
        detail: String,
    },
    /// The caller did not provide a row that was asked for.
    #[error(
        "row {key} is missing; provide every row that was asked for, and rebuild the store if it lacks it"
    )]
    MissingRow {
        /// Hexadecimal key.
        key: String,
    },
    /// A row does not have the form that this crate writes, or contradicts another.
    #[error("row {key} is damaged; rebuild the store from the log")]
    CorruptRow {
        /// Hexadecimal key.
        key: String,
    },
    /// A named invariant does not hold.
    #[error("invariant {id} broken: {detail}; stop and keep the data directory for inquiry")]
    Invariant {
        /// Name, as in ARCHITECTURE.md.
        id: &'static str,
        /// What was found.
        detail: String,
    },
    /// The interval is not closed yet.
    #[error("the interval of that digest is still open; ask again when it is closed")]
    Open,
    /// A number ran out.
    #[error("{what} are used up; start another aggregator")]
    Full {
        /// Which.
        what: &'static str,
    },
    /// A digest that no record may hold.
    #[error("a digest has {found} bytes, allowed are 1 to {max}")]
    Digest {
        /// Its bytes.
        found: usize,
        /// The most.
        max: usize,
    },
    /// Bytes that are no transaction, or none that can carry an anchor.
    #[error("not a transaction for an anchor: {0}")]
    Transaction(#[from] TransactionError),
    /// A timestamp's own rules.
    #[error(transparent)]
    Timestamp(#[from] OtsError),
}

/// Why bytes are no transaction that anchors a root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The bytes end too early or too late, or a number is not in its shortest form.
    #[error("it does not parse at {field}; give the raw transaction as the node has it")]
    Malformed {
        /// Where.
        field: &'static str,
    },
    /// A proof would grow beyond its limits.
    #[error("it has {found} bytes without witnesses, the limit is {max}; spend fewer outputs in one anchor")]
    TooLarge {
        /// Its bytes.
        found: usize,
        /// The most.
        max: usize,
    },
    /// No output carries the root.
    #[error("no output is OP_RETURN with root {root}; the builder made it for another anchor")]
    NoCommitment {
        /// Hexadecimal.
        root: String,
    },
    /// A branch does not lead to the header's Merkle root.
    #[error("its branch does not lead to the Merkle root of block {height}; the node lies or is damaged")]
    WrongBranch {
        /// The block's height.
        height: u64,
    },
}
