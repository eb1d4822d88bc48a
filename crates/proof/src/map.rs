//! The output map: a binary compact sparse Merkle tree over BLAKE3, one leaf per transaction, keyed by
//! transaction id from its most significant bit (spec proofs.md, "Trees").
//!
//! The empty subtree hashes to 32 zero bytes; a subtree of exactly one leaf to that leaf, however
//! deep; any other to a node over its halves.

use std::sync::LazyLock;

use bytes::Bytes;
use eschaton_types::{TxId, pb::proof as pb};

use crate::{Hash, LeafValue, ProofError, bytes32, error::malformed, hashes};

/// Deepest place of a leaf: keys have 256 bits.
pub const DEPTH_MAX: usize = 256;

/// Hash of the empty subtree.
pub const EMPTY: Hash = [0; 32];

static LEAF_KEY: LazyLock<Hash> = LazyLock::new(|| blake3::derive_key("eschaton 2026 map leaf v1", b""));
static NODE_KEY: LazyLock<Hash> = LazyLock::new(|| blake3::derive_key("eschaton 2026 map node v1", b""));

/// Hash of a leaf: BLAKE3 keyed for leaves over key || canonical value bytes.
pub fn leaf_hash(key: &TxId, value: &[u8]) -> Hash {
    let mut short = [0; 128];
    let end = 32 + value.len();
    if end <= short.len() {
        short[..32].copy_from_slice(&key.0);
        short[32..end].copy_from_slice(value);
        return blake3::keyed_hash(&LEAF_KEY, &short[..end]).into();
    }
    blake3::Hasher::new_keyed(&LEAF_KEY).update(&key.0).update(value).finalize().into()
}

/// Hash of an inner node: BLAKE3 keyed for nodes over left || right.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut data = [0; 64];
    data[..32].copy_from_slice(left);
    data[32..].copy_from_slice(right);
    blake3::keyed_hash(&NODE_KEY, &data).into()
}

/// Bit `depth` of a key, 0 being the most significant of the first byte. True: the right half. Past
/// the last bit it is false.
pub fn bit(key: &[u8], depth: usize) -> bool {
    key.get(depth / 8).is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}

/// What stands where a key's branch ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// The key's own leaf.
    Leaf(LeafValue),
    /// The leaf of another key with the same bits down to here: the key has no leaf.
    Other {
        /// That key.
        key: TxId,
        /// That leaf's value.
        value: LeafValue,
    },
    /// The empty subtree: the key has no leaf.
    Empty,
}

/// A key's branch of the output map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapProof {
    /// Siblings from the root down, at most [`DEPTH_MAX`].
    pub siblings: Vec<Hash>,
    /// The branch's end.
    pub terminal: Terminal,
}

impl MapProof {
    /// The root that the branch of `key` leads to.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] when the branch has a shape that no map gives: too deep, a last
    /// sibling that is empty (the leaf would stand higher), or another leaf off the key's path.
    pub fn root(&self, key: &TxId) -> Result<Hash, ProofError> {
        let depth = self.siblings.len();
        if depth > DEPTH_MAX || self.siblings.last() == Some(&EMPTY) {
            return Err(malformed("map proof"));
        }
        let end = match &self.terminal {
            Terminal::Leaf(value) => leaf_hash(key, &value.to_bytes()),
            Terminal::Other { key: other, value } => {
                if other == key || shared_bits(other, key) < depth {
                    return Err(malformed("map proof"));
                }
                leaf_hash(other, &value.to_bytes())
            }
            Terminal::Empty => EMPTY,
        };
        Ok(self.siblings.iter().enumerate().rev().fold(end, |below, (depth, sibling)| {
            if bit(&key.0, depth) { node_hash(sibling, &below) } else { node_hash(&below, sibling) }
        }))
    }

    /// As message, with empty siblings left out.
    pub fn to_message(&self) -> pb::MapProof {
        let mut present = vec![0; self.siblings.len().div_ceil(8)];
        let mut siblings = Vec::with_capacity(32 * self.siblings.len());
        for (depth, sibling) in self.siblings.iter().enumerate().filter(|(_, sibling)| **sibling != EMPTY) {
            present[depth / 8] |= 0x80 >> (depth % 8);
            siblings.extend_from_slice(sibling);
        }
        let (value, other_key) = match &self.terminal {
            Terminal::Leaf(value) => (value.to_bytes(), Bytes::new()),
            Terminal::Other { key, value } => (value.to_bytes(), key.to_bytes()),
            Terminal::Empty => (Vec::new(), Bytes::new()),
        };
        pb::MapProof { present: present.into(), siblings: siblings.into(), value: value.into(), other_key }
    }

    /// From a message.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for any form but the one that [`Self::to_message`] gives.
    pub fn from_message(message: &pb::MapProof) -> Result<Self, ProofError> {
        let present = &message.present;
        if present.len() > DEPTH_MAX / 8 || present.last() == Some(&0) {
            return Err(malformed("map proof"));
        }
        let depth =
            (0..present.len() * 8).rev().find(|depth| bit(present, *depth)).map_or(0, |last| last + 1);
        let mut given = hashes(&message.siblings, DEPTH_MAX, "map proof")?.into_iter();
        let mut siblings = Vec::with_capacity(depth);
        for at in 0..depth {
            let sibling =
                if bit(present, at) { given.next().filter(|hash| *hash != EMPTY) } else { Some(EMPTY) };
            siblings.push(sibling.ok_or_else(|| malformed("map proof"))?);
        }
        if given.next().is_some() {
            return Err(malformed("map proof"));
        }
        let terminal = match (message.value.is_empty(), message.other_key.is_empty()) {
            (true, true) => Terminal::Empty,
            (true, false) => return Err(malformed("map proof")),
            (false, true) => Terminal::Leaf(LeafValue::from_bytes(&message.value)?),
            (false, false) => Terminal::Other {
                key: TxId(bytes32(&message.other_key, "map proof")?),
                value: LeafValue::from_bytes(&message.value)?,
            },
        };
        Ok(Self { siblings, terminal })
    }
}

fn shared_bits(a: &TxId, b: &TxId) -> usize {
    (0..DEPTH_MAX).find(|depth| bit(&a.0, *depth) != bit(&b.0, *depth)).unwrap_or(DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::Created;

    fn value(sequence: u64) -> LeafValue {
        LeafValue { created: Some(Created { sequence, outputs: 1 }), spends: Vec::new() }
    }

    #[test]
    fn hashes_are_keyed_blake3() {
        let [leaf, node] = ["eschaton 2026 map leaf v1", "eschaton 2026 map node v1"]
            .map(|context| *blake3::Hasher::new_derive_key(context).finalize().as_bytes());
        for length in [3, 96, 97, 3000] {
            let data = [vec![5; 32], vec![6; length]].concat();
            assert_eq!(leaf_hash(&TxId([5; 32]), &data[32..]), *blake3::keyed_hash(&leaf, &data).as_bytes());
        }
        assert_eq!(
            node_hash(&[5; 32], &[6; 32]),
            *blake3::keyed_hash(&node, &[[5; 32], [6; 32]].concat()).as_bytes()
        );
    }

    #[test]
    fn shapes_that_no_map_gives_are_refused() {
        let key = TxId([0; 32]);
        let other = |byte| Terminal::Other { key: TxId([byte; 32]), value: value(1) };
        let proof =
            |siblings: &[Hash], terminal| MapProof { siblings: siblings.to_vec(), terminal }.root(&key);
        assert!(proof(&[], Terminal::Leaf(value(1))).is_ok());
        assert!(proof(&[[1; 32]; 256], Terminal::Leaf(value(1))).is_ok());
        assert!(proof(&[[1; 32]; 257], Terminal::Leaf(value(1))).is_err(), "too deep");
        assert!(proof(&[[1; 32], EMPTY], Terminal::Leaf(value(1))).is_err(), "leaf too deep");
        assert!(proof(&[[1; 32]; 7], other(1)).is_ok());
        assert!(proof(&[[1; 32]; 8], other(1)).is_err(), "other leaf off the path");
        assert!(proof(&[[1; 32]; 7], other(0)).is_err(), "own leaf as another's");
    }

    proptest! {
        #[test]
        fn messages_have_one_form(
            present in proptest::collection::vec(any::<bool>(), 0..=256),
            end in 0..3,
            noise in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut siblings: Vec<_> = present.iter().map(|there| if *there { [7; 32] } else { EMPTY }).collect();
            while siblings.last() == Some(&EMPTY) {
                siblings.pop();
            }
            let terminal = match end {
                0 => Terminal::Empty,
                1 => Terminal::Leaf(value(9)),
                _ => Terminal::Other { key: TxId([1; 32]), value: value(9) },
            };
            let proof = MapProof { siblings, terminal };
            let message = proof.to_message();
            prop_assert_eq!(MapProof::from_message(&message).unwrap(), proof);
            for change in 0..4 {
                let mut changed = message.clone();
                let noise = Bytes::from(noise.clone());
                match change {
                    0 => changed.present = noise,
                    1 => changed.siblings = noise,
                    2 => changed.value = noise,
                    _ => changed.other_key = noise,
                }
                if let Ok(proof) = MapProof::from_message(&changed) {
                    prop_assert_eq!(proof.to_message(), changed);
                }
            }
        }
    }
}
