use async_trait::async_trait;
use bitcoin::bip32::{KeySource, Xpub};
use bitcoin::psbt::Psbt;

use crate::SignerError;

/// Which scripts an account's addresses have. The path of its keys follows from it: `purpose'/coin'/account'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// P2WPKH, BIP 84.
    Segwit,
    /// P2TR spent by its key, BIP 86.
    Taproot,
}

/// The public side of an account: enough to know its addresses, not to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its scripts.
    pub purpose: Purpose,
    /// Fingerprint of the master key, and the path from there.
    pub origin: KeySource,
    /// The account's key.
    pub key: Xpub,
}

/// Signs on-chain transactions with the keys of one account.
#[async_trait]
pub trait ChainSigner: Send + Sync + 'static {
    /// The public side.
    fn account(&self) -> Account;
    /// Adds the signatures that its keys can give (BIP 174, BIP 371). Callers pass only what is durable: outputs that this
    /// transaction spends are reserved for it.
    async fn sign(&self, psbt: Psbt) -> Result<Psbt, SignerError>;
}
