use bytes::Bytes;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Keccak256;

use crate::OtsError;

/// Most bytes of a message, before and after an operation.
pub const MESSAGE_MAX: usize = 4096;
/// Most bytes that an operation appends or prepends.
pub const OPERAND_MAX: usize = 4096;

/// What is appended or prepended: 1 to [`OPERAND_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operand(Bytes);

impl Operand {
    /// # Errors
    /// [`OtsError::Operand`] for no bytes or too many.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, OtsError> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > OPERAND_MAX {
            return Err(OtsError::Operand {
                found: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                max: OPERAND_MAX,
            });
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for Operand {
    fn from(hash: [u8; 32]) -> Self {
        Self(Bytes::copy_from_slice(&hash))
    }
}

impl From<[u8; 16]> for Operand {
    fn from(nonce: [u8; 16]) -> Self {
        Self(Bytes::copy_from_slice(&nonce))
    }
}

/// One step from a message to the next. In order of tags, then operands: the order in which siblings are
/// written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Tag 0x02.
    Sha1,
    /// Tag 0x03.
    Ripemd160,
    /// Tag 0x08.
    Sha256,
    /// Tag 0x67: Keccak as it was before SHA-3, with Ethereum's padding.
    Keccak256,
    /// Tag 0xf0.
    Append(Operand),
    /// Tag 0xf1.
    Prepend(Operand),
    /// Tag 0xf2: the bytes backwards.
    Reverse,
    /// Tag 0xf3: the bytes as lower-case hexadecimal.
    Hexlify,
}

impl Op {
    /// The byte that names it.
    pub fn tag(&self) -> u8 {
        match self {
            Self::Sha1 => 0x02,
            Self::Ripemd160 => 0x03,
            Self::Sha256 => 0x08,
            Self::Keccak256 => 0x67,
            Self::Append(_) => 0xf0,
            Self::Prepend(_) => 0xf1,
            Self::Reverse => 0xf2,
            Self::Hexlify => 0xf3,
        }
    }

    /// As other programs call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Ripemd160 => "ripemd160",
            Self::Sha256 => "sha256",
            Self::Keccak256 => "keccak256",
            Self::Append(_) => "append",
            Self::Prepend(_) => "prepend",
            Self::Reverse => "reverse",
            Self::Hexlify => "hexlify",
        }
    }

    /// What is appended or prepended.
    pub fn operand(&self) -> Option<&Operand> {
        match self {
            Self::Append(operand) | Self::Prepend(operand) => Some(operand),
            _ => None,
        }
    }

    /// The operation without operand that a tag names; none for other tags.
    pub(crate) fn unary(tag: u8) -> Option<Self> {
        [Self::Sha1, Self::Ripemd160, Self::Sha256, Self::Keccak256, Self::Reverse, Self::Hexlify]
            .into_iter()
            .find(|op| op.tag() == tag)
    }

    /// The message after this step.
    ///
    /// # Errors
    /// [`OtsError::Message`] when a limit is passed, [`OtsError::EmptyMessage`] where the reference
    /// implementation refuses an empty message.
    pub fn apply(&self, message: &[u8]) -> Result<Vec<u8>, OtsError> {
        let too_long = || OtsError::Message { op: self.name(), found: message.len(), max: MESSAGE_MAX };
        let grown = match self {
            Self::Append(operand) | Self::Prepend(operand) => message.len() + operand.0.len(),
            Self::Hexlify => message.len() * 2,
            _ => message.len(),
        };
        if grown > MESSAGE_MAX {
            return Err(too_long());
        }
        if message.is_empty() && matches!(self, Self::Reverse | Self::Hexlify) {
            return Err(OtsError::EmptyMessage { op: self.name() });
        }
        Ok(match self {
            Self::Sha1 => Sha1::digest(message).to_vec(),
            Self::Ripemd160 => Ripemd160::digest(message).to_vec(),
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Keccak256 => Keccak256::digest(message).to_vec(),
            Self::Append(operand) => [message, &operand.0].concat(),
            Self::Prepend(operand) => [&operand.0, message].concat(),
            Self::Reverse => message.iter().rev().copied().collect(),
            Self::Hexlify => hex::encode(message).into_bytes(),
        })
    }
}

/// The hash that made a file's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileHash {
    /// 20 bytes.
    Sha1,
    /// 20 bytes.
    Ripemd160,
    /// 32 bytes; what every client makes today.
    Sha256,
    /// 32 bytes.
    Keccak256,
}

impl FileHash {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Ripemd160, Self::Sha256, Self::Keccak256];

    /// The operation that makes it.
    pub fn op(self) -> Op {
        match self {
            Self::Sha1 => Op::Sha1,
            Self::Ripemd160 => Op::Ripemd160,
            Self::Sha256 => Op::Sha256,
            Self::Keccak256 => Op::Keccak256,
        }
    }

    /// Bytes of a digest.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha256 | Self::Keccak256 => 32,
        }
    }
}
