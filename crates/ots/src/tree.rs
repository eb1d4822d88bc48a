//! Merkle trees as OpenTimestamps makes them: SHA-256 of two neighbours, an odd last one carried up.

use sha2::{Digest, Sha256};

use crate::{Op, Operand, OtsError};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Hash of two neighbours: `sha256(left || right)`, as operations append, prepend and sha256 make it.
pub fn join(left: &Hash, right: &Hash) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    Sha256::digest(both).into()
}

/// The next level: neighbours joined, an odd last one carried up as it is. Writes over `level`, so that a
/// tree is built in the memory of its leaves.
pub fn fold_level(level: &mut Vec<Hash>) {
    let pairs = level.len() / 2;
    for pair in 0..pairs {
        level[pair] = join(&level[2 * pair], &level[2 * pair + 1]);
    }
    if level.len() % 2 == 1 {
        level.swap(pairs, 2 * pairs);
    }
    level.truncate(pairs + level.len() % 2);
}

/// Root of the tree over `level`; none of nothing.
pub fn root(mut level: Vec<Hash>) -> Option<Hash> {
    while level.len() > 1 {
        fold_level(&mut level);
    }
    level.pop()
}

/// A neighbour on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It stands before: prepend it.
    Left(Hash),
    /// It stands after: append it.
    Right(Hash),
}

/// Neighbours of the leaf at `index`, from the leaf up, and the root.
///
/// # Errors
/// [`OtsError::NoLeaves`], [`OtsError::BeyondTree`].
pub fn branch(mut level: Vec<Hash>, index: usize) -> Result<(Vec<Side>, Hash), OtsError> {
    if level.is_empty() {
        return Err(OtsError::NoLeaves);
    }
    if index >= level.len() {
        return Err(OtsError::BeyondTree { index, leaves: level.len() });
    }
    let (mut sides, mut at) = (Vec::new(), index);
    while level.len() > 1 {
        if at % 2 == 1 {
            sides.push(Side::Left(level[at - 1]));
        } else if let Some(right) = level.get(at + 1) {
            sides.push(Side::Right(*right));
        }
        fold_level(&mut level);
        at /= 2;
    }
    Ok((sides, level[0]))
}

/// The operations of a branch.
pub fn branch_ops(sides: &[Side]) -> Vec<Op> {
    sides
        .iter()
        .flat_map(|side| {
            let joined = match side {
                Side::Left(hash) => Op::Prepend(Operand::from(*hash)),
                Side::Right(hash) => Op::Append(Operand::from(*hash)),
            };
            [joined, Op::Sha256]
        })
        .collect()
}
