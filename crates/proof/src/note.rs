//! Signed notes: C2SP signed-note (<https://c2sp.org/signed-note>) with Ed25519.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::{CheckpointBody, ProofError, error::malformed};

/// A note holds at most so many bytes, cosignatures included.
pub const NOTE_BYTES_MAX: usize = 4096;

/// Signature type of plain Ed25519 in C2SP signed-note.
const ED25519: u8 = 1;

/// A checkpoint with the note that proves who said it. Only [`NoteSigner::sign`] and
/// [`VerifierKey::open`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    body: CheckpointBody,
    note: Bytes,
}

impl SignedCheckpoint {
    /// What it says.
    pub fn body(&self) -> &CheckpointBody {
        &self.body
    }

    /// The signed note, to store and to serve.
    pub fn note(&self) -> &Bytes {
        &self.note
    }
}

/// Public half of a node's checkpoint key. Its text is the C2SP verifier key
/// `name+hex(key id)+base64(0x01 || key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: VerifyingKey) -> Result<Self, ProofError> {
        if !valid_name(name) || key.is_weak() {
            return Err(ProofError::VerifierKey);
        }
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        Ok(Self { name: name.to_owned(), id: [digest[0], digest[1], digest[2], digest[3]], key })
    }

    /// From a name and the 32 bytes of an Ed25519 public key.
    ///
    /// # Errors
    /// [`ProofError::VerifierKey`] for a malformed name, and for bytes that are no sound public key.
    pub fn from_public(name: &str, key: &[u8; 32]) -> Result<Self, ProofError> {
        let key = VerifyingKey::from_bytes(key).map_err(|_| ProofError::VerifierKey)?;
        Self::new(name, key)
    }

    /// Joins a checkpoint and this key's signature over its text, made elsewhere, to a note.
    ///
    /// # Errors
    /// [`ProofError::WrongOrigin`] when the body's origin is not this key's name,
    /// [`ProofError::BadSignature`] when the signature is not over this body.
    pub fn seal(&self, body: CheckpointBody, signature: &[u8; 64]) -> Result<SignedCheckpoint, ProofError> {
        let Self { name, id, .. } = self;
        if body.origin != *name {
            return Err(ProofError::WrongOrigin { name: name.clone() });
        }
        let text = body.to_string();
        self.key
            .verify_strict(text.as_bytes(), &Signature::from_bytes(signature))
            .map_err(|_| ProofError::BadSignature { name: name.clone() })?;
        let line = STANDARD.encode([&id[..], signature].concat());
        Ok(SignedCheckpoint { body, note: format!("{text}\n— {name} {line}\n").into() })
    }

    /// The key's name, which is the origin of its checkpoints.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From its text.
    ///
    /// # Errors
    /// [`ProofError::VerifierKey`] for any text but the one that [`fmt::Display`] writes, and for
    /// keys of small order, under which anyone can sign.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let parse = || {
            let (name, rest) = text.split_once('+')?;
            let (_, key) = rest.split_once('+')?;
            let key: [u8; 33] = STANDARD.decode(key).ok()?.try_into().ok()?;
            let key = VerifyingKey::from_bytes(key[1..].try_into().ok()?).ok()?;
            Self::new(name, key).ok().filter(|key| key.to_string() == text)
        };
        parse().ok_or(ProofError::VerifierKey)
    }

    /// Checks a note's signature by this key and reads its checkpoint. Signature lines of others are
    /// allowed and not looked at.
    ///
    /// # Errors
    /// [`ProofError::TooLarge`] above [`NOTE_BYTES_MAX`], [`ProofError::Malformed`] when it is no
    /// note or no checkpoint, [`ProofError::Unsigned`], [`ProofError::BadSignature`] and
    /// [`ProofError::WrongOrigin`] as they say.
    pub fn open(&self, note: &Bytes) -> Result<SignedCheckpoint, ProofError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(ProofError::TooLarge { what: "note", found: note.len(), max: NOTE_BYTES_MAX });
        }
        let (text, signature) = self.split(note)?;
        self.key
            .verify_strict(text.as_bytes(), &signature)
            .map_err(|_| ProofError::BadSignature { name: self.name.clone() })?;
        let body = CheckpointBody::parse(text)?;
        if body.origin != self.name {
            return Err(ProofError::WrongOrigin { name: self.name.clone() });
        }
        Ok(SignedCheckpoint { body, note: note.clone() })
    }

    /// The signed text and this key's one signature.
    fn split<'n>(&self, note: &'n [u8]) -> Result<(&'n str, Signature), ProofError> {
        let wrong = || malformed("note");
        let note = str::from_utf8(note).map_err(|_| wrong())?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(wrong());
        }
        let end = note.rfind("\n\n").ok_or_else(wrong)? + 1;
        let (text, lines) = (&note[..end], &note[end + 1..]);
        let lines = lines.strip_suffix('\n').ok_or_else(wrong)?;
        let mut found = None;
        for line in lines.split('\n') {
            let (name, base64) = line.strip_prefix("— ").and_then(|l| l.split_once(' ')).ok_or_else(wrong)?;
            let bytes = STANDARD.decode(base64).map_err(|_| wrong())?;
            let (id, signature) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
            if !valid_name(name) || signature.is_empty() {
                return Err(wrong());
            }
            if name == self.name && *id == self.id {
                let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
                if found.replace(signature).is_some() {
                    return Err(wrong());
                }
            }
        }
        Ok((text, found.ok_or_else(|| ProofError::Unsigned { name: self.name.clone() })?))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = [ED25519; 33];
        key[1..].copy_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(key))
    }
}

/// Secret half of a node's checkpoint key; wiped when dropped.
pub struct NoteSigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl NoteSigner {
    /// From the key's name and its 32-byte Ed25519 seed (RFC 8032).
    ///
    /// # Errors
    /// [`ProofError::VerifierKey`] when the name is empty or has spaces, control characters or `+`.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, ProofError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, key.verifying_key())?;
        Ok(Self { key, verifier })
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a checkpoint of this key's origin. Ed25519 is deterministic: one body, one note.
    ///
    /// # Errors
    /// [`ProofError::WrongOrigin`] when the body's origin is not this key's name.
    pub fn sign(&self, body: CheckpointBody) -> Result<SignedCheckpoint, ProofError> {
        let signature = self.key.sign(body.to_string().as_bytes());
        self.verifier.seal(body, &signature.to_bytes())
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NoteSigner").field(&self.verifier.to_string()).finish()
    }
}

/// C2SP signed-note: not empty, no space, no plus; and short enough for a note.
fn valid_name(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    !name.is_empty() && name.len() <= 256 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn signed() -> (NoteSigner, SignedCheckpoint) {
        let signer = NoteSigner::new("node.example/log", &[7; 32]).unwrap();
        let body = CheckpointBody {
            origin: "node.example/log".into(),
            number: 0,
            size: 0,
            log_root: crate::tlog::empty_root(),
            map_root: crate::map::EMPTY,
            time_ms: 1,
            previous: [0; 32],
        };
        let signed = signer.sign(body).unwrap();
        (signer, signed)
    }

    #[test]
    fn opens_what_it_signed_and_nothing_else() {
        let (signer, signed) = signed();
        let key = VerifierKey::parse(&signer.verifier().to_string()).unwrap();
        assert_eq!(key.open(signed.note()).unwrap(), signed);
        for at in 0..signed.note().len() {
            for bit in 0..8 {
                let mut note = signed.note().to_vec();
                note[at] ^= 1 << bit;
                assert!(key.open(&note.into()).is_err(), "byte {at}, bit {bit}");
            }
        }
        for length in 0..signed.note().len() {
            assert!(key.open(&signed.note().slice(..length)).is_err());
        }
    }

    #[test]
    fn cosignatures_are_allowed_and_ours_is_needed_once() {
        let (signer, signed) = signed();
        let key = signer.verifier();
        let text = String::from_utf8(signed.note().to_vec()).unwrap();
        let other = "— witness.example AAAAAAAAAAAAAAAA\n";
        assert!(key.open(&format!("{text}{other}").into()).is_ok());
        let ours = text.split_once("\n\n").unwrap().1.to_owned();
        assert!(key.open(&format!("{text}{ours}").into()).is_err(), "twice");
        let alone = text.replace(&ours, other);
        assert_eq!(key.open(&alone.into()).unwrap_err(), ProofError::Unsigned { name: key.name().into() });
        let long = format!("{text}{}", other.repeat(200));
        assert!(matches!(key.open(&long.into()), Err(ProofError::TooLarge { .. })));
        let stranger = NoteSigner::new("node.example/log", &[8; 32]).unwrap();
        assert!(matches!(stranger.verifier().open(signed.note()), Err(ProofError::Unsigned { .. })));
        let elsewhere = NoteSigner::new("other", &[7; 32]).unwrap();
        assert!(matches!(elsewhere.sign(signed.body().clone()), Err(ProofError::WrongOrigin { .. })));
    }

    #[test]
    fn verifier_key_has_one_text() {
        // Example of C2SP signed-note and golang.org/x/mod/sumdb/note.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(VerifierKey::parse(text).unwrap().to_string(), text);
        for bad in [
            text.replace("c74f", "C74F"),
            text.replace("c74f", "c74e"),
            text.replace("+AR", "+AB"),
            text.replace("Peter", "Peter "),
            text.replace("PeterNeumann", ""),
            text.replace("TW", "T"),
            format!("{text}="),
        ] {
            assert_eq!(VerifierKey::parse(&bad), Err(ProofError::VerifierKey), "{bad}");
        }
        assert!(NoteSigner::new("a b", &[1; 32]).is_err());
        assert!(NoteSigner::new("a+b", &[1; 32]).is_err());
    }
}
