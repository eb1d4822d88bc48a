use async_trait::async_trait;
use bitcoin::NetworkKind;
use bitcoin::bip32::{Xpriv, Xpub};
use bitcoin::psbt::Psbt;
use bitcoin::secp256k1::{All, Secp256k1};
use eschaton_ports::SignerError;
use eschaton_ports::chain::{Account, ChainIdentity, ChainNetwork, ChainSigner, Purpose};

use crate::account;

/// Signs with keys that follow from one secret (BIP 32), which is in this process's memory.
pub struct SeedSigner {
    secp: Secp256k1<All>,
    master: Xpriv,
    account: Account,
}

impl SeedSigner {
    /// The account of this chain and purpose. The seed is BIP 32's: 32 random bytes.
    ///
    /// # Errors
    /// `Refused` for the one seed in 2^127 that gives no key.
    pub fn new(seed: &[u8; 32], identity: &ChainIdentity, purpose: Purpose) -> Result<Self, SignerError> {
        let secp = Secp256k1::new();
        let kind = match identity.network {
            ChainNetwork::Main => NetworkKind::Main,
            ChainNetwork::Test | ChainNetwork::Regtest => NetworkKind::Test,
        };
        let refused = |error: bitcoin::bip32::Error| SignerError::Refused {
            detail: format!("the seed gives no key: {error}"),
        };
        let master = Xpriv::new_master(kind, seed).map_err(refused)?;
        let path = account::path(identity, purpose);
        let key = master.derive_priv(&secp, &path).map_err(refused)?;
        let key = Xpub::from_priv(&secp, &key);
        let account = Account { purpose, origin: (master.fingerprint(&secp), path), key };
        Ok(Self { secp, master, account })
    }
}

impl Drop for SeedSigner {
    fn drop(&mut self) {
        self.master.private_key.non_secure_erase();
    }
}

#[async_trait]
impl ChainSigner for SeedSigner {
    fn account(&self) -> Account {
        self.account.clone()
    }

    async fn sign(&self, mut psbt: Psbt) -> Result<Psbt, SignerError> {
        match psbt.sign(&self.master, &self.secp) {
            Ok(_) => Ok(psbt),
            Err((_, errors)) => {
                let detail = errors.iter().map(|(input, error)| format!("input {input}: {error}"));
                Err(SignerError::Refused { detail: detail.collect::<Vec<_>>().join(", ") })
            }
        }
    }
}
