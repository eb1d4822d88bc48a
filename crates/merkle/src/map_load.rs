use eschaton_proof::{Hash, map};
use eschaton_types::TxId;

use crate::{
    MerkleError,
    map::{BUCKET, Below, NODES_MAX, NONE, Node, OutputMap, at},
    rows::{corrupt, parse_bucket_key},
};

/// Rebuilds the map's skeleton from all its bucket rows, in any order, without decoding entries.
#[derive(Debug, Default)]
pub struct MapLoader {
    map: OutputMap,
}

impl MapLoader {
    /// Before the first row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one bucket row.
    ///
    /// # Errors
    /// [`MerkleError::CorruptRow`] when the key is no bucket's or the place is taken by another row,
    /// [`MerkleError::Full`] when memory cannot number the nodes. The loader is then of no more use.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), MerkleError> {
        let map = &mut self.map;
        let (depth, path) = parse_bucket_key(key).ok_or_else(|| corrupt(key))?;
        let hash =
            *value.first_chunk::<32>().filter(|hash| **hash != map::EMPTY).ok_or_else(|| corrupt(key))?;
        if map.nodes.len() + map::DEPTH_MAX > NODES_MAX {
            return Err(MerkleError::Full);
        }
        let inner = Node { hash: map::EMPTY, below: Below { left: NONE, right: NONE } };
        let mut place = map.root;
        let mut parent = NONE;
        for level in 0..=depth {
            let end = level == depth;
            if place == NONE {
                place = map.set(NONE, if end { Node { hash, below: BUCKET } } else { inner.clone() });
                map.link(parent, &path, level, place);
            } else if end || map.nodes[at(place)].below == BUCKET {
                return Err(corrupt(key));
            }
            if !end {
                parent = place;
                place = map.child(place, &path, level).0;
            }
        }
        Ok(())
    }

    /// The map, after the last row.
    ///
    /// # Errors
    /// [`MerkleError::WrongRoot`] when its root is not `root`: rows are missing, stale or damaged.
    pub fn finish(self, root: &Hash) -> Result<OutputMap, MerkleError> {
        let mut map = self.map;
        map.rehash(map.root);
        if map.root() == *root { Ok(map) } else { Err(MerkleError::WrongRoot { tree: "output map" }) }
    }
}

impl OutputMap {
    /// Hangs a node at `level` on the path under its parent.
    fn link(&mut self, parent: u32, path: &TxId, level: u16, node: u32) {
        if parent == NONE {
            self.root = node;
            return;
        }
        let below = &mut self.nodes[at(parent)].below;
        let side = map::bit(&path.0, usize::from(level) - 1);
        *(if side { &mut below.right } else { &mut below.left }) = node;
    }

    fn rehash(&mut self, node: u32) {
        if node == NONE || self.nodes[at(node)].below == BUCKET {
            return;
        }
        let Below { left, right } = self.nodes[at(node)].below;
        self.rehash(left);
        self.rehash(right);
        self.set_inner(node, left, right);
    }
}
