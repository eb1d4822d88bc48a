/// Why bytes are no timestamp, or why a timestamp cannot be made. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtsError {
    /// The bytes end within a field.
    #[error("the timestamp ends within {field}; it was cut off, get it again")]
    Truncated {
        /// Which field.
        field: &'static str,
    },
    /// Bytes follow where none may.
    #[error("{count} bytes follow the end of {field}; remove them or get the timestamp again")]
    Trailing {
        /// After which field.
        field: &'static str,
        /// How many.
        count: usize,
    },
    /// Not an `.ots` file at all.
    #[error("the file does not begin like an .ots file; give the proof, not the document")]
    Magic,
    /// A major version that did not exist when this was written.
    #[error("the .ots file has format version {version}, known is 1; use a newer program")]
    Version {
        /// Which.
        version: u64,
    },
    /// More bytes than any sound timestamp has.
    #[error("the {what} has {found} bytes, the limit is {max}; it is not a sound one")]
    TooLarge {
        /// File or calendar's answer.
        what: &'static str,
        /// Its bytes.
        found: usize,
        /// The most.
        max: usize,
    },
    /// A number does not fit 64 bits, or is longer than it needs to be.
    #[error("{field} is no LEB128 number of at most 64 bits in shortest form; the timestamp is damaged")]
    Varint {
        /// Which field.
        field: &'static str,
    },
    /// A tag that names no operation.
    #[error("0x{tag:02x} is no known operation; the timestamp is damaged or needs a newer program")]
    UnknownOp {
        /// The tag.
        tag: u8,
    },
    /// The digest's own operation must be a hash.
    #[error("operation 0x{tag:02x} is no hash of a file; the .ots file is damaged")]
    NotAFileHash {
        /// The tag.
        tag: u8,
    },
    /// An operand has 1 to 4,096 bytes.
    #[error("an operand has {found} bytes, allowed are 1 to {max}")]
    Operand {
        /// Its bytes.
        found: u64,
        /// The most.
        max: usize,
    },
    /// A message grew beyond its limit.
    #[error("{op} of a message of {found} bytes exceeds the limit of {max} bytes for a message")]
    Message {
        /// Which operation.
        op: &'static str,
        /// Bytes of the message before it.
        found: usize,
        /// The most that a message may have after it.
        max: usize,
    },
    /// Operations that would give back an empty message.
    #[error("{op} of an empty message is not allowed")]
    EmptyMessage {
        /// Which operation.
        op: &'static str,
    },
    /// An attestation's payload has at most 8,192 bytes.
    #[error("an attestation's payload has {found} bytes, the limit is {max}")]
    Payload {
        /// Its bytes.
        found: u64,
        /// The most.
        max: usize,
    },
    /// A calendar's address has at most 1,000 bytes.
    #[error("a calendar's address has {found} bytes, the limit is {max}")]
    UriLength {
        /// Its bytes.
        found: u64,
        /// The most.
        max: usize,
    },
    /// A calendar's address has letters, digits and `-._/:` alone.
    #[error("a calendar's address contains byte 0x{byte:02x}; allowed are letters, digits and -._/:")]
    UriByte {
        /// The first one that may not be there.
        byte: u8,
    },
    /// An unknown attestation under a tag that is known.
    #[error("attestation tag {tag} is a known one; make that attestation instead")]
    KnownTag {
        /// Hexadecimal tag.
        tag: String,
    },
    /// Operations one after the other.
    #[error("more than {max} operations follow one another; other clients could not read it")]
    Depth {
        /// The most.
        max: usize,
    },
    /// Operations and attestations in all.
    #[error("more than {max} operations and attestations; it is not a sound timestamp")]
    Nodes {
        /// The most.
        max: usize,
    },
    /// One operation twice at one place.
    #[error("an operation or attestation stands twice at one place; the timestamp is damaged")]
    Repeated,
    /// Neither operation nor attestation.
    #[error("a timestamp without attestation cannot be written; stamp it first")]
    Empty,
    /// A digest whose length is not that of its hash.
    #[error("a digest of {found} bytes is none of {hash}, which has {expected}")]
    DigestLength {
        /// Which hash.
        hash: &'static str,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// Two timestamps of different messages.
    #[error("the timestamps are of different messages; merge only proofs of the same digest")]
    OtherMessage,
    /// A commitment that is nowhere in the timestamp.
    #[error(
        "commitment {commitment} is not pending in this timestamp; give the answer to the proof that it is for"
    )]
    NotPending {
        /// Hexadecimal.
        commitment: String,
    },
    /// A tree needs leaves.
    #[error("there is nothing to stamp; give at least one digest")]
    NoLeaves,
    /// A leaf that the tree does not have.
    #[error("leaf {index} is beyond the tree's {leaves} leaves")]
    BeyondTree {
        /// Which was asked for.
        index: usize,
        /// How many there are.
        leaves: usize,
    },
}
