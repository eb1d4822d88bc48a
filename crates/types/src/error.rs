use crate::amount::AmountError;

/// Why bytes are no transaction of this network. Each says what is wrong; none is worth retrying
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxError {
    /// Not a message at all, or cut short.
    #[error("malformed or truncated message: {detail}; send the canonical bytes of a Transaction")]
    Malformed {
        /// What the decoder met.
        detail: String,
    },
    /// Above 65,536 bytes.
    #[error("transaction has {bytes} bytes, the most is {max}; split it")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Valid protobuf in another form than the canonical one.
    #[error("{message} is not in canonical form (unknown field, order, default or padding); encode it again")]
    NotCanonical {
        /// Which message.
        message: &'static str,
    },
    /// Body version other than 1.
    #[error("unknown version {version}; this node speaks version 1")]
    UnknownVersion {
        /// What it said.
        version: u32,
    },
    /// For another ledger.
    #[error("transaction is for network {found}, this node serves network {expected}")]
    WrongNetwork {
        /// The transaction's.
        found: u32,
        /// The node's.
        expected: u32,
    },
    /// No network has this number.
    #[error("unknown network number {number}; 1 is main, 2 is test, 3 is dev")]
    UnknownNetwork {
        /// The number.
        number: u32,
    },
    /// No network has this name.
    #[error("unknown network name; use main, test or dev")]
    UnknownNetworkName,
    /// A field of fixed or bounded length has another.
    #[error("{field} has a wrong length or form; encode it as transaction.proto says")]
    Length {
        /// Which.
        field: &'static str,
    },
    /// Too many of something.
    #[error("more than {max} {what}; split the transaction")]
    TooMany {
        /// Inputs, outputs…
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Nothing consumed and no issuer's proof.
    #[error("transaction consumes no input and is no issuance; add an input that is not read-only")]
    NoInputs,
    /// Nothing created.
    #[error("transaction creates no output; add one")]
    NoOutputs,
    /// One outpoint twice.
    #[error("input {input} names an outpoint that an earlier input names; leave it out")]
    DuplicateInput {
        /// Position.
        input: usize,
    },
    /// An amount of zero.
    #[error("output or fee {position} has amount zero; leave it out")]
    ZeroAmount {
        /// Position among the outputs, or among the fees.
        position: usize,
    },
    /// An amount or a sum out of range.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// Fees out of order or one product twice.
    #[error("fees are not strictly ascending by product; sort them and join those of one product")]
    FeeOrder,
    /// Both limits set and empty between them.
    #[error("time lock is empty: not_after is not later than not_before; move one")]
    EmptyTimeLock,
    /// Spendable only so late that no clock reaches it.
    #[error("minimum spend delay is above 100 years; lower it")]
    SpendDelay,
    /// A key set breaks its rules.
    #[error("key set needs 1 to 16 strictly ascending keys and a threshold from 1 to their number")]
    KeySet,
    /// Bytes that are no point on the curve.
    #[error("key {key} of proof {proof} is no valid public key; nobody can spend with it")]
    BadKey {
        /// Which proof.
        proof: usize,
        /// Position in it.
        key: usize,
    },
    /// Number of proofs differs from what the inputs or outputs need.
    #[error("witness has {found} {what} proofs, the transaction needs {needed}")]
    ProofCount {
        /// Owner, confirmation or issuer.
        what: &'static str,
        /// In the witness.
        found: usize,
        /// Needed.
        needed: usize,
    },
    /// The proof's keys hash to another address.
    #[error("{what} proof {position} is for another address: wrong key for the output")]
    WrongKey {
        /// Owner, confirmation or issuer.
        what: &'static str,
        /// Position among the proofs.
        position: usize,
    },
    /// Signatures missing, too many, or out of order.
    #[error("{what} proof {position} must carry exactly its threshold of signatures, ascending by key")]
    SignatureCount {
        /// Owner, confirmation or issuer.
        what: &'static str,
        /// Position among the proofs.
        position: usize,
    },
    /// A signature does not verify (BIP 340).
    #[error(
        "wrong signature in {what} proof {position}; sign this transaction's id with the key that the proof names"
    )]
    BadSignature {
        /// Owner, confirmation, issuer or aggregate.
        what: &'static str,
        /// Position among the proofs.
        position: usize,
    },
    /// Both kinds of proof at once.
    #[error("witness has both per-input proofs and an aggregate; use one")]
    MixedProofs,
    /// An issuance breaks its rules.
    #[error("issuance: {detail}")]
    Issuance {
        /// Which rule.
        detail: &'static str,
    },
    /// No bech32m text.
    #[error("address is mistyped or cut: its checksum does not fit")]
    AddressText,
    /// Address of another network.
    #[error("address is for another network; here they begin with {expected}1")]
    AddressNetwork {
        /// Prefix here.
        expected: &'static str,
    },
    /// A secret key out of range.
    #[error("secret key is zero or above the curve's order")]
    SecretKey,
}
