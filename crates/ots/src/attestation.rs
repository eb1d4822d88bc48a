use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;

use crate::OtsError;

/// Most bytes of an attestation's payload.
pub const PAYLOAD_MAX: usize = 8192;
/// Most bytes of a calendar's address.
pub const URI_MAX: usize = 1000;

const PENDING: [u8; 8] = [0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];
const BITCOIN: [u8; 8] = [0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01];
const LITECOIN: [u8; 8] = [0x06, 0x86, 0x9a, 0x0d, 0x73, 0xd7, 0x1b, 0x45];

/// A chain whose block headers attest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Bitcoin.
    Bitcoin,
    /// Litecoin.
    Litecoin,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bitcoin => "Bitcoin",
            Self::Litecoin => "Litecoin",
        })
    }
}

/// A calendar's address: letters, digits and `-._/:`, at most [`URI_MAX`] bytes. Nothing else may stand in
/// it, so that a proof cannot make a client send queries, credentials or odd bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalendarUri(String);

impl CalendarUri {
    /// # Errors
    /// [`OtsError::UriLength`], [`OtsError::UriByte`].
    pub fn new(uri: &str) -> Result<Self, OtsError> {
        Self::from_bytes(uri.as_bytes())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, OtsError> {
        if bytes.len() > URI_MAX {
            return Err(OtsError::UriLength {
                found: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                max: URI_MAX,
            });
        }
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/:".contains(byte);
        match bytes.iter().find(|byte| !allowed(byte)) {
            Some(byte) => Err(OtsError::UriByte { byte: *byte }),
            None => Ok(Self(bytes.iter().copied().map(char::from).collect())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CalendarUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An attestation of a kind that this crate does not know: kept as it is, proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unknown {
    tag: [u8; 8],
    payload: Bytes,
}

impl Unknown {
    /// # Errors
    /// [`OtsError::KnownTag`] for a tag that means something here, [`OtsError::Payload`] for too many bytes.
    pub fn new(tag: [u8; 8], payload: impl Into<Bytes>) -> Result<Self, OtsError> {
        let payload = payload.into();
        if [PENDING, BITCOIN, LITECOIN].contains(&tag) {
            return Err(OtsError::KnownTag { tag: hex::encode(tag) });
        }
        if payload.len() > PAYLOAD_MAX {
            return Err(OtsError::Payload {
                found: u64::try_from(payload.len()).unwrap_or(u64::MAX),
                max: PAYLOAD_MAX,
            });
        }
        Ok(Self { tag, payload })
    }

    /// The tag that is not known.
    pub fn tag(&self) -> [u8; 8] {
        self.tag
    }

    /// What stands under it.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// What is said of a message at the end of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attestation {
    /// The message is the Merkle root, in internal byte order, of the block at this height.
    Block {
        /// On which chain.
        chain: Chain,
        /// Height of the block.
        height: u64,
    },
    /// The calendar at this address has the message and promises more.
    Pending(CalendarUri),
    /// Something else.
    Unknown(Unknown),
}

impl Attestation {
    /// A Bitcoin block.
    pub fn bitcoin(height: u64) -> Self {
        Self::Block { chain: Chain::Bitcoin, height }
    }

    /// A Litecoin block.
    pub fn litecoin(height: u64) -> Self {
        Self::Block { chain: Chain::Litecoin, height }
    }

    /// A calendar's promise.
    ///
    /// # Errors
    /// As [`CalendarUri::new`].
    pub fn pending(uri: &str) -> Result<Self, OtsError> {
        Ok(Self::Pending(CalendarUri::new(uri)?))
    }

    /// The eight bytes that name its kind.
    pub fn tag(&self) -> [u8; 8] {
        match self {
            Self::Block { chain: Chain::Bitcoin, .. } => BITCOIN,
            Self::Block { chain: Chain::Litecoin, .. } => LITECOIN,
            Self::Pending(_) => PENDING,
            Self::Unknown(unknown) => unknown.tag,
        }
    }

    pub(crate) fn known_chain(tag: [u8; 8]) -> Option<Chain> {
        match tag {
            BITCOIN => Some(Chain::Bitcoin),
            LITECOIN => Some(Chain::Litecoin),
            _ => None,
        }
    }

    pub(crate) fn is_pending_tag(tag: [u8; 8]) -> bool {
        tag == PENDING
    }
}

/// By tag, then by content: the order in which siblings are written.
impl Ord for Attestation {
    fn cmp(&self, other: &Self) -> Ordering {
        let content = || match (self, other) {
            (Self::Block { height: one, .. }, Self::Block { height: two, .. }) => one.cmp(two),
            (Self::Pending(one), Self::Pending(two)) => one.cmp(two),
            (Self::Unknown(one), Self::Unknown(two)) => one.payload.cmp(&two.payload),
            // Different kinds have different tags, so this is never asked.
            _ => Ordering::Equal,
        };
        self.tag().cmp(&other.tag()).then_with(content)
    }
}

impl PartialOrd for Attestation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
