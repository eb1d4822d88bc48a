/// Why a proof, checkpoint or key is refused. None is worth retrying unchanged: fetch the proof anew,
/// and when the same node errs again, distrust it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Above a bound, before anything is parsed.
    #[error("{what} has {found} bytes, the most is {max}; ask for one proof at a time")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// No message, cut short, or in another form than the canonical one.
    #[error("{what} is malformed or not canonical; fetch it again")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// A field that the claimed fact needs is missing, or one that it does not need is set.
    #[error("{field} {rule}; fetch the proof again")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The proof speaks of another transaction or output than was asked for.
    #[error("proof is for another {what} than was asked for; ask again")]
    WrongSubject {
        /// Transaction or output.
        what: &'static str,
    },
    /// A position beyond the end of the log.
    #[error("sequence {sequence} is not below the checkpoint's size {size}; use a newer checkpoint")]
    BeyondCheckpoint {
        /// The position.
        sequence: u64,
        /// Transactions in the log.
        size: u64,
    },
    /// The hashes do not lead to the signed root.
    #[error("{tree} path does not lead to the checkpoint's root; fetch a proof for this checkpoint")]
    WrongRoot {
        /// Log or output map.
        tree: &'static str,
    },
    /// The note carries no signature of the expected key.
    #[error("note has no signature by {name}; check that this is the node's verifier key")]
    Unsigned {
        /// Name of the expected key.
        name: String,
    },
    /// The expected key's signature does not verify.
    #[error("signature by {name} does not verify; distrust the source of this checkpoint")]
    BadSignature {
        /// Name of the expected key.
        name: String,
    },
    /// The signer's name and the checkpoint's origin differ.
    #[error("checkpoint's origin is not the key's name {name}; use the key of that origin")]
    WrongOrigin {
        /// Name of the key.
        name: String,
    },
    /// Text that is no verifier key, or no name of one.
    #[error("verifier key must read name+hash+key as the node prints it; copy it again")]
    VerifierKey,
    /// Two validly signed checkpoints of one node contradict each other (invariant P1).
    #[error("checkpoints {old} and {new} fork (invariant P1): {detail}; keep both notes as evidence")]
    Fork {
        /// Number of the older checkpoint.
        old: u64,
        /// Number of the newer one.
        new: u64,
        /// What contradicts.
        detail: &'static str,
    },
    /// The older checkpoint was given as the newer one.
    #[error("old checkpoint {old} is newer than {new}; swap them")]
    Order {
        /// Number of the checkpoint given as old.
        old: u64,
        /// Number of the one given as new.
        new: u64,
    },
}

/// The one way to say that a part is not in canonical form.
pub(crate) fn malformed(what: &'static str) -> ProofError {
    ProofError::Malformed { what }
}
