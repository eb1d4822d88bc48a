use std::str::FromStr;

use eschaton_headers::Params;
use eschaton_ports::chain::{ChainIdentity, ChainNetwork, Coin};

use crate::ConfigError;

/// The chains that can be named in settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainKind {
    /// `bitcoin`
    Bitcoin,
    /// `bitcoin-testnet3`
    BitcoinTestnet3,
    /// `bitcoin-testnet4`
    BitcoinTestnet4,
    /// `bitcoin-regtest`
    BitcoinRegtest,
    /// `litecoin`
    Litecoin,
    /// `litecoin-testnet4`
    LitecoinTestnet4,
    /// `litecoin-regtest`
    LitecoinRegtest,
}

impl ChainKind {
    const ALL: [(Self, &str); 7] = [
        (Self::Bitcoin, "bitcoin"),
        (Self::BitcoinTestnet3, "bitcoin-testnet3"),
        (Self::BitcoinTestnet4, "bitcoin-testnet4"),
        (Self::BitcoinRegtest, "bitcoin-regtest"),
        (Self::Litecoin, "litecoin"),
        (Self::LitecoinTestnet4, "litecoin-testnet4"),
        (Self::LitecoinRegtest, "litecoin-regtest"),
    ];
}

impl FromStr for ChainKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| ConfigError::Network {
            found: text.to_owned(),
            possible: Self::ALL.map(|(_, name)| name).join(", "),
        })
    }
}

/// The rules of this chain's headers.
pub fn params(kind: ChainKind) -> Params {
    match kind {
        ChainKind::Bitcoin => Params::bitcoin(),
        ChainKind::BitcoinTestnet3 => Params::bitcoin_testnet3(),
        ChainKind::BitcoinTestnet4 => Params::bitcoin_testnet4(),
        ChainKind::BitcoinRegtest => Params::bitcoin_regtest(),
        ChainKind::Litecoin => Params::litecoin(),
        ChainKind::LitecoinTestnet4 => Params::litecoin_testnet4(),
        ChainKind::LitecoinRegtest => Params::litecoin_regtest(),
    }
}

/// What the port says of this chain.
pub fn identity(kind: ChainKind) -> ChainIdentity {
    let coin = match kind {
        ChainKind::Bitcoin
        | ChainKind::BitcoinTestnet3
        | ChainKind::BitcoinTestnet4
        | ChainKind::BitcoinRegtest => Coin::Bitcoin,
        ChainKind::Litecoin | ChainKind::LitecoinTestnet4 | ChainKind::LitecoinRegtest => Coin::Litecoin,
    };
    let network = match kind {
        ChainKind::Bitcoin | ChainKind::Litecoin => ChainNetwork::Main,
        ChainKind::BitcoinRegtest | ChainKind::LitecoinRegtest => ChainNetwork::Regtest,
        ChainKind::BitcoinTestnet3 | ChainKind::BitcoinTestnet4 | ChainKind::LitecoinTestnet4 => {
            ChainNetwork::Test
        }
    };
    ChainIdentity { coin, network, genesis: params(kind).genesis.block_hash() }
}
