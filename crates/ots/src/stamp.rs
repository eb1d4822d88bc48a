use sha2::{Digest, Sha256};

use crate::tree::{self, Hash};
use crate::{DetachedFile, FileHash, Op, Operand, OtsError, Timestamp};

/// Random bytes that hide a digest from whoever sees the commitment.
pub type Nonce = [u8; 16];

/// `sha256(digest || nonce)`: what leaves the machine instead of a digest.
pub fn commitment(digest: &[u8], nonce: &Nonce) -> Hash {
    Sha256::new().chain_update(digest).chain_update(nonce).finalize().into()
}

/// The operations from a digest to its [`commitment`].
pub fn commitment_ops(nonce: &Nonce) -> [Op; 2] {
    [Op::Append(Operand::from(*nonce)), Op::Sha256]
}

/// Many files that are stamped with one request: the SHA-256 of each with a nonce of its own, joined into one
/// Merkle tree, as the stock client does it. Its root is what calendars are asked to stamp.
#[derive(Clone, Debug)]
pub struct Stamping {
    files: Vec<(Hash, Nonce)>,
    /// Every level of the tree, leaves first; the last has one hash.
    levels: Vec<Vec<Hash>>,
}

impl Stamping {
    /// `files` are SHA-256 digests, each with fresh random bytes.
    ///
    /// # Errors
    /// [`OtsError::NoLeaves`] without files.
    pub fn new(files: Vec<(Hash, Nonce)>) -> Result<Self, OtsError> {
        if files.is_empty() {
            return Err(OtsError::NoLeaves);
        }
        let mut level: Vec<Hash> = files.iter().map(|(digest, nonce)| commitment(digest, nonce)).collect();
        let mut levels = Vec::new();
        while level.len() > 1 {
            levels.push(level.clone());
            tree::fold_level(&mut level);
        }
        levels.push(level);
        Ok(Self { files, levels })
    }

    /// What to submit.
    pub fn root(&self) -> Hash {
        // A tree has a level and its last level has a hash, see `new`.
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    /// How many files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Never: a tree needs leaves.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The `.ots` file of one file, out of what calendars answered for the root.
    ///
    /// # Errors
    /// [`OtsError::BeyondTree`], and the limits' errors.
    pub fn file(&self, index: usize, of_root: &Timestamp) -> Result<DetachedFile, OtsError> {
        let (digest, nonce) =
            self.files.get(index).ok_or(OtsError::BeyondTree { index, leaves: self.files.len() })?;
        let mut ops = commitment_ops(nonce).to_vec();
        let mut at = index;
        for level in &self.levels {
            let side = if at % 2 == 1 {
                Some(tree::Side::Left(level[at - 1]))
            } else {
                level.get(at + 1).map(|right| tree::Side::Right(*right))
            };
            ops.extend(side.into_iter().flat_map(|side| tree::branch_ops(&[side])));
            at /= 2;
        }
        let timestamp = Timestamp::path(ops, of_root.clone())?;
        DetachedFile::new(FileHash::Sha256, digest, timestamp)
    }
}
