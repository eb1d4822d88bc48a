use std::fmt;

use bytes::Bytes;

use crate::{Address, Network, OUTPUTS_MAX, TxError};

/// Identifies a transaction: BLAKE3 in derive-key mode, context
/// `eschaton 2026 transaction id v1`, over the canonical bytes of its body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TxId(pub [u8; 32]);

impl TxId {
    /// The id of these body bytes.
    pub fn of_body(body: &[u8]) -> Self {
        Self(blake3::derive_key("eschaton 2026 transaction id v1", body))
    }

    /// From exactly 32 bytes; `field` names the place in the error.
    pub fn from_slice(bytes: &[u8], field: &'static str) -> Result<Self, TxError> {
        Ok(Self(array(bytes, field)?))
    }

    /// As a shared buffer, for messages.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, TxError> {
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id)
            .map_err(|_| TxError::Length { field: "transaction id (64 hexadecimal digits)" })?;
        Ok(Self(id))
    }
}

impl AsRef<[u8]> for TxId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxId({})", &hex::encode(&self.0[..6]))
    }
}

/// Names one output: the transaction and its position there (spec: `utxo_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutPoint {
    /// Transaction that created the output.
    pub txid: TxId,
    /// Position among its outputs, below 256.
    pub index: u16,
}

impl OutPoint {
    /// `txid:index`, the form that the CLI shows and takes.
    pub fn parse(text: &str) -> Result<Self, TxError> {
        let wrong = TxError::Length { field: "outpoint (transaction id, a colon, a position below 256)" };
        let (txid, index) = text.split_once(':').ok_or_else(|| wrong.clone())?;
        let index = index.parse().ok().filter(|index| usize::from(*index) < OUTPUTS_MAX);
        Ok(Self { txid: TxId::from_hex(txid)?, index: index.ok_or(wrong)? })
    }
}

impl fmt::Display for OutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.txid, self.index)
    }
}

/// An asset. The native coin, or 32 bytes that commit to the issuer's address and the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Product {
    /// The network's own coin; empty bytes in messages.
    #[default]
    Native,
    /// Issued by the holder of an address.
    Issued([u8; 32]),
}

impl Product {
    /// The product that `issuer` may issue on `network`: BLAKE3 derive-key, context
    /// `eschaton 2026 product v1`, over network number (4, big-endian) || address (32).
    pub fn of_issuer(network: Network, issuer: &Address) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("eschaton 2026 product v1");
        hasher.update(&network.number().to_be_bytes());
        hasher.update(&issuer.0);
        Self::Issued(*hasher.finalize().as_bytes())
    }

    /// From message bytes: none, or 32.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, TxError> {
        if bytes.is_empty() { Ok(Self::Native) } else { Ok(Self::Issued(array(bytes, "product")?)) }
    }

    /// Message bytes.
    pub fn to_bytes(self) -> Bytes {
        match self {
            Self::Native => Bytes::new(),
            Self::Issued(id) => Bytes::copy_from_slice(&id),
        }
    }

    /// `native`, or 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, TxError> {
        if text == "native" {
            return Ok(Self::Native);
        }
        let wrong = |_| TxError::Length { field: "product (`native`, or 64 hexadecimal digits)" };
        TxId::from_hex(text).map(|id| Self::Issued(id.0)).map_err(wrong)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Issued(id) => f.write_str(&hex::encode(id)),
        }
    }
}

/// The shard that owns an address's outputs: its first eight bytes, big-endian, modulo `shards`.
/// Addresses are hashes, so shards fill evenly.
pub fn shard_of(owner: &Address, shards: u32) -> u32 {
    let head = u64::from_be_bytes([
        owner.0[0], owner.0[1], owner.0[2], owner.0[3], owner.0[4], owner.0[5], owner.0[6], owner.0[7],
    ]);
    u32::try_from(head % u64::from(shards.max(1))).unwrap_or(0) // below `shards`, so it always fits
}

pub(crate) fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], TxError> {
    bytes.try_into().map_err(|_| TxError::Length { field })
}
