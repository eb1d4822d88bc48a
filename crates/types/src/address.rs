use std::fmt;

use bech32::{Bech32m, Hrp};
use bytes::Bytes;

use crate::ids::array;
use crate::{Network, TxError};

/// The most keys in one set.
pub const KEYS_MAX: usize = 16;

/// Owner of outputs: a hash of the keys that may spend them, so a key shows only when it signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 32]);

impl Address {
    /// From exactly 32 bytes; `field` names the place in the error.
    pub fn from_slice(bytes: &[u8], field: &'static str) -> Result<Self, TxError> {
        Ok(Self(array(bytes, field)?))
    }

    /// As a shared buffer, for messages.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// The text form: bech32m (BIP 350) with the network's prefix.
    pub fn to_text(self, network: Network) -> String {
        let hrp = Hrp::parse_unchecked(network.prefix());
        bech32::encode::<Bech32m>(hrp, &self.0).expect("32 bytes fit bech32m's length limit")
    }

    /// From the text form. Errors when the checksum, the length or the network is wrong.
    pub fn from_text(text: &str, network: Network) -> Result<Self, TxError> {
        let (hrp, bytes) = bech32::decode(text).map_err(|_| TxError::AddressText)?;
        if !hrp.as_str().eq_ignore_ascii_case(network.prefix()) {
            return Err(TxError::AddressNetwork { expected: network.prefix() });
        }
        let address = Self::from_slice(&bytes, "address")?;
        // `decode` takes bech32 as well; only bech32m has our checksum.
        if address.to_text(network).eq_ignore_ascii_case(text) {
            Ok(address)
        } else {
            Err(TxError::AddressText)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", hex::encode(&self.0[..6]))
    }
}

/// `threshold` of these keys must sign. One key is a set of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<[u8; 32]>,
    threshold: u8,
}

impl KeySet {
    /// Keys are BIP 340 x-only, strictly ascending, 1 to [`KEYS_MAX`]; `threshold` 1 to their number.
    pub fn new(keys: Vec<[u8; 32]>, threshold: u32) -> Result<Self, TxError> {
        if keys.is_empty() || keys.len() > KEYS_MAX || !keys.is_sorted_by(|a, b| a < b) {
            return Err(TxError::KeySet);
        }
        match u8::try_from(threshold) {
            Ok(threshold) if threshold >= 1 && usize::from(threshold) <= keys.len() => {
                Ok(Self { keys, threshold })
            }
            _ => Err(TxError::KeySet),
        }
    }

    /// A set of one.
    pub fn single(key: [u8; 32]) -> Self {
        Self { keys: vec![key], threshold: 1 }
    }

    /// The keys, ascending.
    pub fn keys(&self) -> &[[u8; 32]] {
        &self.keys
    }

    /// How many must sign.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// BLAKE3 derive-key, context `eschaton 2026 address v1`, over threshold (1 byte) || keys.
    pub fn address(&self) -> Address {
        let mut hasher = blake3::Hasher::new_derive_key("eschaton 2026 address v1");
        hasher.update(&[self.threshold]);
        for key in &self.keys {
            hasher.update(key);
        }
        Address(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_its_network_and_catches_typing_errors() {
        let address = KeySet::single([7; 32]).address();
        let text = address.to_text(Network::Dev);
        assert!(text.starts_with("desc1"));
        assert_eq!(Address::from_text(&text, Network::Dev), Ok(address));
        assert_eq!(
            Address::from_text(&text, Network::Main),
            Err(TxError::AddressNetwork { expected: "esc" })
        );
        let typo = text.replacen(&text[10..11], if &text[10..11] == "q" { "p" } else { "q" }, 1);
        assert_ne!(Address::from_text(&typo, Network::Dev), Ok(address));
        let bech32 =
            bech32::encode::<bech32::Bech32>(Hrp::parse_unchecked("desc"), &address.0).expect("short");
        assert_eq!(Address::from_text(&bech32, Network::Dev), Err(TxError::AddressText));
    }

    #[test]
    fn key_sets_are_ordered_and_bounded() {
        assert!(KeySet::new(vec![], 1).is_err());
        assert!(KeySet::new(vec![[1; 32]], 0).is_err());
        assert!(KeySet::new(vec![[1; 32]], 2).is_err());
        assert!(KeySet::new(vec![[2; 32], [1; 32]], 1).is_err());
        assert!(KeySet::new(vec![[1; 32], [1; 32]], 1).is_err());
        assert!(KeySet::new((0..17).map(|n| [n; 32]).collect(), 1).is_err());
        let two = KeySet::new(vec![[1; 32], [2; 32]], 2).expect("valid");
        let one = KeySet::new(vec![[1; 32], [2; 32]], 1).expect("valid");
        assert_ne!(two.address(), one.address(), "the threshold is part of the address");
    }
}
