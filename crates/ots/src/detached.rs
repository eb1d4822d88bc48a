use std::fmt;

use crate::reader::{Reader, write_number};
use crate::timestamp::Timestamp;
use crate::{FileHash, OtsError};

/// Most bytes of an `.ots` file.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// First bytes of every `.ots` file.
pub const MAGIC: [u8; 31] = *b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94";

const VERSION: u64 = 1;

/// An `.ots` file: the digest of another file, and its timestamp.
#[derive(Clone, PartialEq, Eq)]
pub struct DetachedFile {
    hash: FileHash,
    digest: Vec<u8>,
    timestamp: Timestamp,
}

impl fmt::Debug for DetachedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedFile")
            .field("hash", &self.hash)
            .field("digest", &hex::encode(&self.digest))
            .field("timestamp", &self.timestamp)
            .finish()
    }
}

impl DetachedFile {
    /// # Errors
    /// [`OtsError::DigestLength`] when the digest is none of that hash.
    pub fn new(hash: FileHash, digest: &[u8], timestamp: Timestamp) -> Result<Self, OtsError> {
        if digest.len() != hash.digest_len() {
            return Err(OtsError::DigestLength {
                hash: hash.op().name(),
                found: digest.len(),
                expected: hash.digest_len(),
            });
        }
        Ok(Self { hash, digest: digest.to_vec(), timestamp })
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// Each limit and each rule of the format has its own.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OtsError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(OtsError::TooLarge { what: ".ots file", found: bytes.len(), max: FILE_BYTES_MAX });
        }
        let mut reader = Reader(bytes.strip_prefix(&MAGIC).ok_or(OtsError::Magic)?);
        let version = reader.number("the version")?;
        if version != VERSION {
            return Err(OtsError::Version { version });
        }
        let tag = reader.byte("the hash's tag")?;
        let hash = FileHash::ALL
            .into_iter()
            .find(|hash| hash.op().tag() == tag)
            .ok_or(OtsError::NotAFileHash { tag })?;
        let digest = reader.bytes(hash.digest_len(), "the digest")?.to_vec();
        let timestamp = Timestamp::read(&mut reader, &digest)?;
        reader.end("the .ots file")?;
        Ok(Self { hash, digest, timestamp })
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// [`OtsError::Empty`] when a branch ends in no attestation.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OtsError> {
        let mut out = MAGIC.to_vec();
        write_number(VERSION, &mut out);
        out.push(self.hash.op().tag());
        out.extend_from_slice(&self.digest);
        self.timestamp.write(&mut out)?;
        Ok(out)
    }

    /// The hash that made the digest.
    pub fn hash(&self) -> FileHash {
        self.hash
    }

    /// Digest of the file that is timestamped.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// What is known of the digest.
    pub fn timestamp(&self) -> &Timestamp {
        &self.timestamp
    }

    /// Adds what another file knows of the same digest. Tells whether anything was new.
    ///
    /// # Errors
    /// [`OtsError::OtherMessage`]; those of [`Timestamp::merge`].
    pub fn merge(&mut self, other: &Self) -> Result<bool, OtsError> {
        if (self.hash, &self.digest) != (other.hash, &other.digest) {
            return Err(OtsError::OtherMessage);
        }
        self.timestamp.merge(&other.timestamp)
    }

    /// See [`Timestamp::upgrade`].
    ///
    /// # Errors
    /// As there.
    pub fn upgrade(&mut self, commitment: &[u8], answer: &Timestamp) -> Result<bool, OtsError> {
        self.timestamp.upgrade(&self.digest, commitment, answer)
    }

    /// See [`Timestamp::finished`].
    pub fn finished(&self) -> Option<Self> {
        let timestamp = self.timestamp.finished()?;
        Some(Self { hash: self.hash, digest: self.digest.clone(), timestamp })
    }
}
