//! Keys in a file that only their owner may read.

mod file;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eschaton_types::{Address, Key, Network};
use zeroize::{Zeroize, Zeroizing};

use crate::files::{self, FileError, FileLock, Kind};
use crate::outbox::Outbox;
use file::{Content, Secrets};
use seal::Sealed;

/// The most addresses of one wallet.
pub const ADDRESSES_MAX: usize = 1_000;
const WALLET: Kind = Kind {
    what: "wallet",
    advice: "make one with `eschaton wallet new`, or name yours with --wallet",
    max: 1 << 20,
};
const PASSPHRASE_FILE: Kind =
    Kind { what: "passphrase file", advice: "give the path of an existing file", max: PASSPHRASE_BYTES_MAX };
const PASSPHRASE_BYTES_MAX: u64 = 1_024;

/// Why a wallet cannot be made, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file says something that no wallet says.
    #[error("the wallet file is damaged or not one: {detail}; restore it from its backup")]
    Content {
        /// What.
        detail: String,
    },
    /// From a later program.
    #[error("the wallet file has version {found}, this program knows 1; use a newer program")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Sealed, and no passphrase at hand.
    #[error("the wallet is encrypted; set ESCHATON_WALLET_PASSPHRASE or give --passphrase-file")]
    PassphraseNeeded,
    /// It does not open.
    #[error(
        "the passphrase does not open this wallet, or the file was changed; try the right one or the backup"
    )]
    WrongPassphrase,
    /// No passphrase at all, or one too long.
    #[error("a passphrase has 1 to {PASSPHRASE_BYTES_MAX} bytes; choose one of that length")]
    PassphraseLength,
    /// The bound on addresses.
    #[error("the wallet has {ADDRESSES_MAX} addresses, the most it may have; make another wallet")]
    TooManyAddresses,
    /// No key for it.
    #[error("the wallet has no key for the address {address}; use the wallet that owns it")]
    ForeignAddress {
        /// Which, as text.
        address: String,
    },
    /// The operating system's.
    #[error("the system gave no randomness ({detail}); no key is made without it, try again")]
    Randomness {
        /// What it said.
        detail: String,
    },
}

/// Opens an encrypted wallet. Wiped when dropped; never shown.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// From its bytes, 1 to 1,024.
    pub fn new(bytes: Vec<u8>) -> Result<Self, WalletError> {
        let bytes = Zeroizing::new(bytes);
        match u64::try_from(bytes.len()) {
            Ok(1..=PASSPHRASE_BYTES_MAX) => Ok(Self(bytes)),
            _ => Err(WalletError::PassphraseLength),
        }
    }

    /// From a file that only its owner may read; one line end at its end is not part of it.
    pub fn from_file(path: &Path) -> Result<Self, WalletError> {
        let mut bytes = files::read_private(path, &PASSPHRASE_FILE)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self::new(bytes)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A wallet file: its addresses are at hand, its keys only after [`Wallet::unlock`].
pub struct Wallet {
    path: PathBuf,
    content: Content,
}

/// A wallet's keys by address.
pub struct Keyring(BTreeMap<Address, Key>);

impl Keyring {
    /// The key of an address.
    pub fn get(&self, address: &Address) -> Option<&Key> {
        self.0.get(address)
    }

    /// All keys, by address.
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &Key)> {
        self.0.iter()
    }
}

impl FromIterator<Key> for Keyring {
    fn from_iter<T: IntoIterator<Item = Key>>(keys: T) -> Self {
        Self(keys.into_iter().map(|key| (key.address(), key)).collect())
    }
}

impl Wallet {
    /// A new wallet with one fresh key. Its file is durable on return and has mode 0600; an existing
    /// file is never replaced. Missing folders are made, private to their owner.
    pub fn create(
        path: &Path,
        network: Network,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, WalletError> {
        files::private_parent(path)?;
        let key = fresh_key()?;
        let addresses = vec![key.address()];
        let secrets = protect(network, &addresses, &[key], passphrase)?;
        let content = Content { network, addresses, secrets };
        files::create(path, &content.write()?)?;
        Ok(Self { path: path.to_owned(), content })
    }

    /// Reads a wallet. Refuses a file that others may read.
    pub fn open(path: &Path) -> Result<Self, WalletError> {
        let bytes = Zeroizing::new(files::read_private(path, &WALLET)?);
        Ok(Self { path: path.to_owned(), content: Content::read(&bytes)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which ledger its addresses are of.
    pub fn network(&self) -> Network {
        self.content.network
    }

    /// Its addresses, oldest first.
    pub fn addresses(&self) -> &[Address] {
        &self.content.addresses
    }

    /// The latest address.
    pub fn latest_address(&self) -> Address {
        // Neither `create` nor `open` makes a wallet without addresses.
        self.content.addresses.last().copied().unwrap_or(Address([0; 32]))
    }

    /// True when a passphrase seals the keys.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.content.secrets, Secrets::Passphrase(_))
    }

    /// In words, what protects the keys.
    pub fn protection(&self) -> &'static str {
        if self.is_encrypted() {
            "passphrase (argon2id, xchacha20-poly1305) and file mode 0600"
        } else {
            "file mode 0600 alone"
        }
    }

    /// The keys. Checks that they are those of the addresses.
    pub fn unlock(&self, passphrase: Option<&Passphrase>) -> Result<Keyring, WalletError> {
        Ok(self.keys(passphrase)?.into_iter().collect())
    }

    /// Makes a fresh key and its address; both are durable on return.
    pub fn add_address(&mut self, passphrase: Option<&Passphrase>) -> Result<Address, WalletError> {
        let _lock = self.lock()?;
        // Another command may have added a key since this one read the file; losing it would lose
        // what was paid to it.
        let mut current = Self::open(&self.path)?;
        if current.content.addresses.len() >= ADDRESSES_MAX {
            return Err(WalletError::TooManyAddresses);
        }
        let mut keys = current.keys(passphrase)?;
        let key = fresh_key()?;
        keys.push(key);
        current.content.addresses.push(key.address());
        let seal_with = passphrase.filter(|_| current.is_encrypted());
        current.content.secrets =
            protect(current.content.network, &current.content.addresses, &keys, seal_with)?;
        files::replace(&self.path, &current.content.write()?)?;
        self.content = current.content;
        Ok(key.address())
    }

    /// Keeps other commands from changing the wallet or choosing its outputs meanwhile.
    pub fn lock(&self) -> Result<FileLock, WalletError> {
        Ok(files::lock(&self.path)?)
    }

    /// Payments that are signed and not known to be decided.
    pub fn outbox(&self) -> Outbox {
        Outbox::new(files::beside(&self.path, ".outbox"))
    }

    fn keys(&self, passphrase: Option<&Passphrase>) -> Result<Vec<Key>, WalletError> {
        let wrong = |detail: &str| WalletError::Content { detail: detail.to_owned() };
        let Content { network, addresses, secrets } = &self.content;
        let mut raw = Zeroizing::new(Vec::new());
        match secrets {
            Secrets::FileMode { keys } => {
                for key in keys {
                    let mut secret = Zeroizing::new([0; 32]);
                    hex::decode_to_slice(key.as_str(), secret.as_mut_slice())
                        .map_err(|_| wrong("a key is not 64 hexadecimal digits"))?;
                    raw.extend_from_slice(secret.as_slice());
                }
            }
            Secrets::Passphrase(sealed) => {
                let passphrase = passphrase.ok_or(WalletError::PassphraseNeeded)?;
                raw = sealed.open(passphrase, &Content::bound(*network, addresses))?;
            }
        }
        let (secrets, rest) = raw.as_chunks::<32>();
        let keys: Vec<Key> = secrets
            .iter()
            .map(|secret| Key::from_secret(*secret).map_err(|error| wrong(&error.to_string())))
            .collect::<Result<_, _>>()?;
        if !rest.is_empty() || !keys.iter().map(Key::address).eq(addresses.iter().copied()) {
            return Err(wrong("its keys are not those of its addresses"));
        }
        Ok(keys)
    }
}

fn protect(
    network: Network,
    addresses: &[Address],
    keys: &[Key],
    passphrase: Option<&Passphrase>,
) -> Result<Secrets, WalletError> {
    let Some(passphrase) = passphrase else {
        let keys = keys.iter().map(|key| Zeroizing::new(hex::encode(key.secret_bytes()))).collect();
        return Ok(Secrets::FileMode { keys });
    };
    let mut raw = Zeroizing::new(Vec::with_capacity(keys.len() * 32));
    for key in keys {
        raw.extend_from_slice(&key.secret_bytes());
    }
    Ok(Secrets::Passphrase(Sealed::seal(passphrase, &raw, &Content::bound(network, addresses))?))
}

fn fresh_key() -> Result<Key, WalletError> {
    let mut secret = random::<32>()?;
    // Out of range with a chance of 2^-127; then something is wrong with the randomness.
    let key = Key::from_secret(secret).map_err(|error| WalletError::Randomness { detail: error.to_string() });
    secret.zeroize();
    key
}

#[allow(
    clippy::disallowed_methods,
    reason = "keys of a wallet come from the system, and nothing replays them"
)]
fn random<const N: usize>() -> Result<[u8; N], WalletError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| WalletError::Randomness { detail: error.to_string() })?;
    Ok(bytes)
}
