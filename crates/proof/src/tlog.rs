//! The log tree: RFC 6962 with SHA-256. A leaf's data is the 32-byte transaction id; its index is the
//! transaction's sequence number.

use eschaton_types::TxId;
use sha2::{Digest, Sha256};

use crate::{Hash, ProofError, error::malformed};

/// A path holds at most so many hashes: a log has fewer than 2^64 leaves.
pub const PATH_MAX: usize = 64;

/// Root of the log without leaves: SHA-256 of nothing (RFC 6962, section 2.1).
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hash of a leaf: SHA-256(0x00 || data) (RFC 6962, section 2.1).
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(data);
    hasher.finalize().into()
}

/// Hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962, section 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut data = [1; 65];
    data[1..33].copy_from_slice(left);
    data[33..].copy_from_slice(right);
    Sha256::digest(data).into()
}

/// Checks that `txid` is leaf `index` of the log of `size` leaves under `root`. `path` has the leaf's
/// sibling first.
///
/// # Errors
/// [`ProofError::BeyondCheckpoint`] when `index` is not below `size`, [`ProofError::Malformed`] for
/// a path above [`PATH_MAX`], [`ProofError::WrongRoot`] when it has the wrong length or hash.
pub fn verify_inclusion(
    txid: &TxId,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::BeyondCheckpoint { sequence: index, size });
    }
    bounded(path)?;
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf_hash(txid.as_ref());
    for sibling in path {
        if last == 0 {
            return Err(wrong());
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            (node, last) = risen(node, last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(wrong()) }
}

/// Checks that the log of `new_size` leaves under `new_root` begins with the log of `old_size` leaves
/// under `old_root` (RFC 6962, section 2.1.2). Every log extends the empty one, with an empty path.
///
/// # Errors
/// [`ProofError::WrongRoot`] for any sizes, roots and path that do not
/// fit, [`ProofError::Malformed`] for a path above [`PATH_MAX`].
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    bounded(path)?;
    let right = |fits| if fits { Ok(()) } else { Err(wrong()) };
    if old_size == 0 {
        let new_fits = new_size > 0 || *new_root == empty_root();
        return right(path.is_empty() && *old_root == empty_root() && new_fits);
    }
    if old_size >= new_size {
        return right(old_size == new_size && path.is_empty() && old_root == new_root);
    }
    // Both walks start at the largest complete subtree that ends the old log.
    let rise = old_size.trailing_zeros();
    let (mut node, mut last) = ((old_size - 1) >> rise, (new_size - 1) >> rise);
    let (start, rest) =
        if old_size.is_power_of_two() { (old_root, path) } else { path.split_first().ok_or_else(wrong)? };
    let (mut old, mut new) = (*start, *start);
    for sibling in rest {
        if last == 0 {
            return Err(wrong());
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            (node, last) = risen(node, last);
        } else {
            new = node_hash(&new, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    right(last == 0 && old == *old_root && new == *new_root)
}

/// A last node without right sibling rises unchanged to where it is a right child. Neither is zero.
fn risen(node: u64, last: u64) -> (u64, u64) {
    let levels = node.trailing_zeros();
    (node >> levels, last >> levels)
}

fn bounded(path: &[Hash]) -> Result<(), ProofError> {
    if path.len() > PATH_MAX { Err(malformed("log path")) } else { Ok(()) }
}

fn wrong() -> ProofError {
    ProofError::WrongRoot { tree: "log" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight leaves and roots that Certificate Transparency's own tests publish.
    const VECTORS: [(&str, &str); 8] = [
        ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (
            "606162636465666768696a6b6c6d6e6f",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ),
    ];

    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&root(left), &root(right))
            }
        }
    }

    #[test]
    fn hashes_are_those_of_certificate_transparency() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex::encode(empty_root()), empty);
        let mut leaves = Vec::new();
        for (data, expected) in VECTORS {
            leaves.push(hex::decode(data).map(|data| leaf_hash(&data)).unwrap_or_default());
            assert_eq!(hex::encode(root(&leaves)), expected);
        }
    }

    #[test]
    fn extreme_sizes_and_paths_are_refused_without_panic() {
        let (txid, hash) = (TxId([1; 32]), [2; 32]);
        for length in 0..70 {
            let path = vec![[3; 32]; length];
            for size in [0, 1, 2, 3, 1 << 63, u64::MAX - 1, u64::MAX] {
                for at in [0, 1, 2, 1 << 63, (1 << 63) - 1, u64::MAX - 1, u64::MAX] {
                    assert!(verify_inclusion(&txid, at, size, &path, &hash).is_err());
                    assert!(verify_consistency(at, &[4; 32], size, &hash, &path).is_err());
                }
            }
        }
        for size in [0, 1, u64::MAX] {
            assert!(verify_consistency(size, &hash, size, &hash, &[]).is_ok() == (size > 0));
            let new = if size == 0 { empty_root() } else { hash };
            assert!(verify_consistency(0, &empty_root(), size, &new, &[]).is_ok());
        }
    }
}
