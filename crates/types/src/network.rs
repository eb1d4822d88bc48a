use crate::TxError;

/// A ledger of its own. A transaction names its network, so none can be replayed on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// Real money.
    Main,
    /// Public tests.
    Test,
    /// One developer's machine; the node itself issues coins on request.
    Dev,
}

impl Network {
    /// The number in messages.
    pub fn number(self) -> u32 {
        match self {
            Self::Main => 1,
            Self::Test => 2,
            Self::Dev => 3,
        }
    }

    /// From the number in messages.
    pub fn from_number(number: u32) -> Result<Self, TxError> {
        match number {
            1 => Ok(Self::Main),
            2 => Ok(Self::Test),
            3 => Ok(Self::Dev),
            _ => Err(TxError::UnknownNetwork { number }),
        }
    }

    /// The human-readable part of addresses (BIP 350).
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Main => "esc",
            Self::Test => "tesc",
            Self::Dev => "desc",
        }
    }

    /// The name that options and status use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Test => "test",
            Self::Dev => "dev",
        }
    }
}

impl std::str::FromStr for Network {
    type Err = TxError;

    fn from_str(name: &str) -> Result<Self, TxError> {
        [Self::Main, Self::Test, Self::Dev]
            .into_iter()
            .find(|network| network.name() == name)
            .ok_or(TxError::UnknownNetworkName)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
