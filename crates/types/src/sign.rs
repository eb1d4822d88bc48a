use secp256k1::musig::{AggregatedNonce, KeyAggCache, Session, SessionSecretRand, new_nonce_pair};
use secp256k1::{Keypair, SecretKey};

use crate::{Address, Aggregate, KeySet, OwnerProof, TxError, TxId};

pub use secp256k1::PublicKey;

/// A secret key with its public half. Never printed: its `Debug` shows the public key.
#[derive(Clone, Copy)]
pub struct Key(Keypair);

impl Key {
    /// From 32 secret bytes. Errors for zero and for values above the curve's order.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, TxError> {
        let secret = SecretKey::from_secret_bytes(secret).map_err(|_| TxError::SecretKey)?;
        Ok(Self(Keypair::from_secret_key(&secret)))
    }

    /// The secret bytes, for a wallet file of mode 0600.
    pub fn secret_bytes(&self) -> [u8; 32] {
        self.0.secret_key().to_secret_bytes()
    }

    /// BIP 340 x-only public key.
    pub fn x_only(&self) -> [u8; 32] {
        self.0.x_only_public_key().0.to_byte_array()
    }

    /// The address of this key alone.
    pub fn address(&self) -> Address {
        KeySet::single(self.x_only()).address()
    }

    /// BIP 340 signature over 32 bytes, without auxiliary randomness (deterministic).
    pub fn sign(&self, message: &[u8; 32]) -> [u8; 64] {
        secp256k1::schnorr::sign_no_aux_rand(message, &self.0).to_byte_array()
    }

    /// Proof that this key's address agrees to a transaction.
    pub fn prove(&self, txid: &TxId) -> OwnerProof {
        OwnerProof { keys: KeySet::single(self.x_only()), signatures: vec![(0, self.sign(&txid.0))] }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", hex::encode(self.x_only()))
    }
}

impl OwnerProof {
    /// Proof of a key set from some of its keys. Errors when they are not `threshold` of the set's.
    pub fn sign(keys: &KeySet, signers: &[Key], txid: &TxId) -> Result<Self, TxError> {
        let mut signatures = Vec::with_capacity(signers.len());
        for signer in signers {
            let position = keys.keys().binary_search(&signer.x_only()).map_err(|_| TxError::KeySet)?;
            signatures.push((u8::try_from(position).map_err(|_| TxError::KeySet)?, signer.sign(&txid.0)));
        }
        signatures.sort_by_key(|(position, _)| *position);
        if signatures.len() != usize::from(keys.threshold()) {
            return Err(TxError::SignatureCount { what: "owner", position: 0 });
        }
        Ok(Self { keys: keys.clone(), signatures })
    }
}

/// One MuSig2 signature (BIP 327) of all keys, in the consumed inputs' order, when one wallet holds
/// them all. `seeds`: 32 fresh random bytes for each key; a repeated seed leaks the key.
pub fn musig_sign(keys: &[Key], seeds: &[[u8; 32]], txid: &TxId) -> Result<Aggregate, TxError> {
    if keys.is_empty() || keys.len() != seeds.len() {
        return Err(TxError::ProofCount { what: "aggregate", found: seeds.len(), needed: keys.len() });
    }
    let publics: Vec<_> = keys.iter().map(|key| key.0.public_key()).collect();
    let references: Vec<_> = publics.iter().collect();
    let cache = KeyAggCache::new(&references);
    let (mut secrets, mut nonces) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
    for ((key, public), seed) in keys.iter().zip(&publics).zip(seeds) {
        let seed = SessionSecretRand::assume_unique_per_nonce_gen(*seed, &key.0.secret_key());
        let (secret, nonce) =
            new_nonce_pair(seed, Some(&cache), Some(key.0.secret_key()), *public, Some(&txid.0), None);
        secrets.push(secret);
        nonces.push(nonce);
    }
    let references: Vec<_> = nonces.iter().collect();
    let session = Session::new(&cache, AggregatedNonce::new(&references), &txid.0);
    let partials: Vec<_> = secrets
        .into_iter()
        .zip(keys)
        .map(|(secret, key)| session.partial_sign(secret, &key.0, &cache))
        .collect();
    let references: Vec<_> = partials.iter().collect();
    let signature = session.partial_sig_agg(&references).assume_valid().to_byte_array();
    Ok(Aggregate { keys: publics.iter().map(|key| key.serialize()).collect(), signature })
}
