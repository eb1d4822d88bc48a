//! The wallet file's text: JSON, one version.

use eschaton_types::{Address, Network};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::Sealed;
use super::{ADDRESSES_MAX, WalletError};

const FORMAT: &str = "eschaton-wallet";
const VERSION: u32 = 1;

/// The file as it stands on the disk. Addresses are in the clear even when the keys are sealed, so
/// that looking up balances needs no passphrase.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WalletFile {
    format: String,
    version: u32,
    network: String,
    addresses: Vec<String>,
    secrets: Secrets,
}

/// Secret keys in the order of the addresses.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "protection", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Secrets {
    /// In hexadecimal; the file's mode 0600 is all that protects them.
    FileMode {
        /// 64 digits each.
        keys: Vec<Zeroizing<String>>,
    },
    /// Encrypted.
    Passphrase(Sealed),
}

/// What a file says, checked.
pub(super) struct Content {
    pub(super) network: Network,
    pub(super) addresses: Vec<Address>,
    pub(super) secrets: Secrets,
}

impl Content {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WalletError> {
        let wrong = |detail: String| WalletError::Content { detail };
        let file: WalletFile = serde_json::from_slice(bytes).map_err(|error| {
            // The text of a parse error may quote a value, and a value may be a key.
            wrong(format!("it is no wallet JSON (line {}, column {})", error.line(), error.column()))
        })?;
        if file.format != FORMAT {
            return Err(wrong(format!("its format is not {FORMAT}")));
        }
        if file.version != VERSION {
            return Err(WalletError::Version { found: file.version });
        }
        let network: Network =
            file.network.parse().map_err(|_| wrong("its network is unknown".to_owned()))?;
        if file.addresses.is_empty() || file.addresses.len() > ADDRESSES_MAX {
            return Err(wrong(format!("it must have 1 to {ADDRESSES_MAX} addresses")));
        }
        let addresses = file
            .addresses
            .iter()
            .map(|text| Address::from_text(text, network).map_err(|error| wrong(error.to_string())))
            .collect::<Result<_, _>>()?;
        Ok(Self { network, addresses, secrets: file.secrets })
    }

    pub(super) fn write(&self) -> Result<Zeroizing<Vec<u8>>, WalletError> {
        let file = WalletFile {
            format: FORMAT.to_owned(),
            version: VERSION,
            network: self.network.name().to_owned(),
            addresses: self.addresses.iter().map(|address| address.to_text(self.network)).collect(),
            secrets: self.secrets.clone(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|error| WalletError::Content {
            detail: format!("it cannot be written as JSON ({error})"),
        })?;
        bytes.push(b'\n');
        Ok(Zeroizing::new(bytes))
    }

    /// What sealed keys are bound to: network and addresses.
    pub(super) fn bound(network: Network, addresses: &[Address]) -> Vec<u8> {
        let mut bound = b"eschaton wallet v1".to_vec();
        bound.extend_from_slice(&network.number().to_be_bytes());
        for address in addresses {
            bound.extend_from_slice(&address.0);
        }
        bound
    }
}
