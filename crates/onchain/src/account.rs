//! Descriptors of an account (BIP 84, BIP 86 over BIP 44's paths).

use bdk_wallet::KeychainKind;
use bitcoin::Network;
use bitcoin::bip32::{ChildNumber, DerivationPath};
use eschaton_ports::chain::{Account, ChainIdentity, ChainNetwork, Coin, Purpose};

/// Hardened steps to the account: purpose, coin (SLIP 44: 0 and 2, 1 for everything without a price), account 0.
pub(crate) fn path(identity: &ChainIdentity, purpose: Purpose) -> DerivationPath {
    let purpose = match purpose {
        Purpose::Segwit => 84,
        Purpose::Taproot => 86,
    };
    let coin = match (identity.network, identity.coin) {
        (ChainNetwork::Main, Coin::Bitcoin) => 0,
        (ChainNetwork::Main, Coin::Litecoin) => 2,
        _ => 1,
    };
    [purpose, coin, 0].into_iter().map(|index| ChildNumber::Hardened { index }).collect()
}

/// The network as BDK names it. Litecoin's are told apart by their genesis blocks; its key versions are Bitcoin's
/// (`chainparams.cpp` of Litecoin Core: 0488b21e and 043587cf).
pub(crate) fn network(identity: &ChainIdentity) -> Network {
    match identity.network {
        ChainNetwork::Main => Network::Bitcoin,
        ChainNetwork::Test => Network::Testnet,
        ChainNetwork::Regtest => Network::Regtest,
    }
}

/// The account's descriptor for addresses to receive at, or for change.
pub(crate) fn descriptor(account: &Account, keychain: KeychainKind) -> String {
    let (fingerprint, path) = &account.origin;
    let key = format!("[{fingerprint}/{path}]{}/{}/*", account.key, keychain as u8);
    match account.purpose {
        Purpose::Segwit => format!("wpkh({key})"),
        Purpose::Taproot => format!("tr({key})"),
    }
}
