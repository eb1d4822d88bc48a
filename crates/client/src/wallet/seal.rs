//! Passphrase protection: Argon2id (RFC 9106) makes a key, XChaCha20-Poly1305 seals.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Passphrase, WalletError, random};

/// Parameters that a file may ask for at most, so that a hostile one cannot stall its reader.
const MEMORY_MAX_KIB: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// Sealed bytes with what opens them, the passphrase apart. Byte strings are in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    argon2id: Cost,
    salt: String,
    nonce: String,
    sealed: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
const COST: Cost = Cost { memory_kib: 65_536, passes: 3, lanes: 4 };

impl Sealed {
    /// Seals `secret`; `bound` must be given again, unchanged, to open it.
    pub(super) fn seal(passphrase: &Passphrase, secret: &[u8], bound: &[u8]) -> Result<Self, WalletError> {
        let (salt, nonce) = (random::<16>()?, random::<24>()?);
        let cipher = cipher(passphrase, COST, &salt)?;
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: bound })
            .map_err(|_| WalletError::Content { detail: "its keys cannot be sealed".to_owned() })?;
        Ok(Self {
            argon2id: COST,
            salt: hex::encode(salt),
            nonce: hex::encode(nonce),
            sealed: hex::encode(sealed),
        })
    }

    /// The secret, or an error when the passphrase is wrong or any byte was changed.
    pub(super) fn open(
        &self,
        passphrase: &Passphrase,
        bound: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WalletError> {
        let wrong = |detail: &str| WalletError::Content { detail: detail.to_owned() };
        let mut salt = [0; 16];
        let mut nonce = [0; 24];
        hex::decode_to_slice(&self.salt, &mut salt)
            .map_err(|_| wrong("its salt is not 32 hexadecimal digits"))?;
        hex::decode_to_slice(&self.nonce, &mut nonce)
            .map_err(|_| wrong("its nonce is not 48 hexadecimal digits"))?;
        let sealed = hex::decode(&self.sealed).map_err(|_| wrong("its sealed keys are not hexadecimal"))?;
        cipher(passphrase, self.argon2id, &salt)?
            .decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad: bound })
            .map(Zeroizing::new)
            .map_err(|_| WalletError::WrongPassphrase)
    }
}

fn cipher(passphrase: &Passphrase, cost: Cost, salt: &[u8]) -> Result<XChaCha20Poly1305, WalletError> {
    let wrong = || WalletError::Content { detail: "its argon2id parameters are out of bounds".to_owned() };
    if cost.memory_kib > MEMORY_MAX_KIB || cost.passes > PASSES_MAX || cost.lanes > LANES_MAX {
        return Err(wrong());
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| wrong())?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.bytes(), salt, key.as_mut_slice())
        .map_err(|_| wrong())?;
    Ok(XChaCha20Poly1305::new(&Key::from(*key)))
}
