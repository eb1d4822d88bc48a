use bytes::Bytes;
use eschaton_proof::{Hash, MapProof, map};
use eschaton_types::TxId;

use crate::{
    LeafUpdate, MerkleError, RowChange, RowKey, Rows,
    branch::Branch,
    bucket::{Batch, Reader, halves, shares, subtree_hash},
    change::merge,
    rows::{bucket_key, fetch, hex},
};

/// A node of the skeleton: 40 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) hash: Hash,
    pub(crate) below: Below,
}

/// Positions in the arena. [`NONE`] stands for the empty subtree; a bucket has [`BUCKET`] twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Below {
    pub(crate) left: u32,
    pub(crate) right: u32,
}

pub(crate) const NONE: u32 = u32::MAX;
pub(crate) const BUCKET: Below = Below { left: NONE - 1, right: NONE - 1 };
pub(crate) const NODES_MAX: usize = 0xffff_fff0;

/// The authenticated output map (see [`eschaton_proof::map`]): its skeleton in memory, its leaves in
/// bucket rows.
///
/// A bucket holds all leaves under a path, in at most 512 bytes; when they need more, it splits in two
/// one bit deeper. So the skeleton is a binary trie whose inner nodes have at least two leaves below,
/// and its hashes are those of the map.
#[derive(Clone, Debug)]
pub struct OutputMap {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: u32,
}

impl Default for OutputMap {
    fn default() -> Self {
        Self { nodes: Vec::new(), root: NONE }
    }
}

/// A bucket as a batch will leave it: entries `from` up to `to`.
struct Touched {
    depth: u16,
    path: TxId,
    from: usize,
    to: usize,
}

/// A checked batch that needs only [`OutputMap::commit`].
pub(crate) struct Plan {
    batch: Batch,
    touched: Vec<Touched>,
}

impl OutputMap {
    /// The map without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its root.
    pub fn root(&self) -> Hash {
        self.hash(self.root)
    }

    /// The row where the leaf of `txid` stands or would stand; none under the empty subtree.
    pub fn row_for(&self, txid: &TxId) -> Option<RowKey> {
        let (node, depth) = self.find(txid);
        (node != NONE).then(|| bucket_key(txid, depth))
    }

    /// The rows that [`Self::apply`] needs for updates of these leaves, each once.
    pub fn rows_for(&self, txids: &[TxId]) -> Vec<RowKey> {
        let mut sorted = txids.to_vec();
        sorted.sort_unstable();
        let mut keys = Vec::new();
        let mut last: Option<(TxId, u16)> = None;
        for txid in sorted {
            if last.is_some_and(|(path, depth)| shares(&txid, &path, depth)) {
                continue;
            }
            let (node, depth) = self.find(&txid);
            last = Some((txid, depth));
            if node != NONE {
                keys.push(bucket_key(&txid, depth));
            }
        }
        keys
    }

    /// Applies updates in any order; several may be for one leaf. Returns the changed rows.
    ///
    /// # Errors
    /// [`MerkleError`] when an update breaks an invariant, when a row of [`Self::rows_for`] is
    /// missing, stale or damaged, or when the arena is full. The map is then unchanged.
    pub fn apply(&mut self, updates: Vec<LeafUpdate>, rows: Rows<'_>) -> Result<Vec<RowChange>, MerkleError> {
        Ok(self.commit(&self.plan(updates, rows)?))
    }

    /// Reads and changes every touched bucket once, without touching the map.
    pub(crate) fn plan(&self, mut updates: Vec<LeafUpdate>, rows: Rows<'_>) -> Result<Plan, MerkleError> {
        updates.sort_unstable_by_key(|update| update.txid);
        let mut plan = Plan { batch: Batch::default(), touched: Vec::new() };
        let mut rest = &updates[..];
        while let Some(first) = rest.first() {
            let (node, depth) = self.find(&first.txid);
            let count = rest.partition_point(|update| shares(&update.txid, &first.txid, depth));
            let (here, after) = rest.split_at(count);
            let row =
                if node == NONE { Bytes::new() } else { self.bucket_row(node, &first.txid, depth, rows)? };
            let from = plan.batch.entries.len();
            merge(&mut plan.batch, Reader::new(first.txid, depth, &row), here)?;
            plan.touched.push(Touched { depth, path: first.txid, from, to: plan.batch.entries.len() });
            rest = after;
        }
        // Splitting a bucket makes at most one chain of nodes and their empty sides for each entry.
        let new_nodes_max = plan.batch.entries.len().saturating_mul(2 * map::DEPTH_MAX);
        if self.nodes.len().saturating_add(new_nodes_max) > NODES_MAX {
            return Err(MerkleError::Full);
        }
        Ok(plan)
    }

    /// Carries a plan out: rehashes every inner node above the touched buckets once.
    pub(crate) fn commit(&mut self, plan: &Plan) -> Vec<RowChange> {
        let mut changes = Vec::with_capacity(plan.touched.len());
        self.root = self.commit_at(self.root, 0, plan, &plan.touched, &mut changes);
        changes
    }

    fn commit_at(
        &mut self,
        node: u32,
        depth: u16,
        plan: &Plan,
        touched: &[Touched],
        changes: &mut Vec<RowChange>,
    ) -> u32 {
        let Some(first) = touched.first() else { return node };
        if first.depth == depth {
            return self.build(node, depth, &plan.batch, first.from..first.to, changes);
        }
        let Below { left, right } = self.nodes[at(node)].below;
        let middle = touched.partition_point(|touched| !map::bit(&touched.path.0, depth.into()));
        let left = self.commit_at(left, depth + 1, plan, &touched[..middle], changes);
        let right = self.commit_at(right, depth + 1, plan, &touched[middle..], changes);
        self.set_inner(node, left, right)
    }

    /// Makes the subtree of these entries at `depth`, in place of `node` (a bucket or nothing).
    fn build(
        &mut self,
        node: u32,
        depth: u16,
        batch: &Batch,
        range: std::ops::Range<usize>,
        changes: &mut Vec<RowChange>,
    ) -> u32 {
        let entries = &batch.entries[range.clone()];
        let Some(first) = entries.first() else { return NONE };
        let key = bucket_key(&first.key, depth);
        if batch.fits(entries, depth) {
            let hash = subtree_hash(entries, depth.into());
            changes.push((key, Some(batch.row(&hash, entries, depth))));
            return self.set(node, Node { hash, below: BUCKET });
        }
        if node != NONE {
            changes.push((key, None));
        }
        let middle = range.start + halves(entries, depth.into()).0.len();
        let left = self.build(NONE, depth + 1, batch, range.start..middle, changes);
        let right = self.build(NONE, depth + 1, batch, middle..range.end, changes);
        self.set_inner(node, left, right)
    }

    pub(crate) fn set_inner(&mut self, node: u32, left: u32, right: u32) -> u32 {
        let hash = map::node_hash(&self.hash(left), &self.hash(right));
        self.set(node, Node { hash, below: Below { left, right } })
    }

    /// Puts a node in its place, or in a new one for [`NONE`].
    pub(crate) fn set(&mut self, at_node: u32, node: Node) -> u32 {
        if at_node != NONE {
            self.nodes[at(at_node)] = node;
            return at_node;
        }
        let place = u32::try_from(self.nodes.len()).expect("plan and loader keep the arena below 2^32 nodes");
        self.nodes.push(node);
        place
    }

    fn hash(&self, node: u32) -> Hash {
        if node == NONE { map::EMPTY } else { self.nodes[at(node)].hash }
    }

    /// The bucket or empty place at the end of a key's path, and its depth.
    fn find(&self, txid: &TxId) -> (u32, u16) {
        let (mut node, mut depth) = (self.root, 0);
        while node != NONE && self.nodes[at(node)].below != BUCKET {
            node = self.child(node, txid, depth).0;
            depth += 1;
        }
        (node, depth)
    }

    /// The child on a key's path, and the other one.
    pub(crate) fn child(&self, node: u32, txid: &TxId, depth: u16) -> (u32, u32) {
        let Below { left, right } = self.nodes[at(node)].below;
        if map::bit(&txid.0, depth.into()) { (right, left) } else { (left, right) }
    }

    /// A bucket's row, if it is of the version that is in memory.
    fn bucket_row(&self, node: u32, path: &TxId, depth: u16, rows: Rows<'_>) -> Result<Bytes, MerkleError> {
        let key = bucket_key(path, depth);
        let row = fetch(rows, &key)?;
        if !row.starts_with(&self.hash(node)) {
            return Err(MerkleError::StaleRow { key: hex(&key) });
        }
        Ok(row)
    }

    /// The part of a key's proof that is in memory.
    pub(crate) fn branch(&self, txid: &TxId) -> Branch {
        let (mut node, mut depth, mut siblings) = (self.root, 0, Vec::new());
        while node != NONE && self.nodes[at(node)].below != BUCKET {
            let (next, other) = self.child(node, txid, depth);
            siblings.push(self.hash(other));
            node = next;
            depth += 1;
        }
        Branch { txid: *txid, depth, hash: self.hash(node), siblings }
    }

    /// The proof of a leaf or of its absence, from the row that [`Self::row_for`] names.
    ///
    /// # Errors
    /// [`MerkleError::MissingRow`], [`MerkleError::StaleRow`] or [`MerkleError::CorruptRow`] when the
    /// row is not the one that belongs to this map.
    pub fn prove(&self, txid: &TxId, rows: Rows<'_>) -> Result<MapProof, MerkleError> {
        self.branch(txid).prove(rows)
    }
}

pub(crate) fn at(node: u32) -> usize {
    usize::try_from(node).expect("positions of the arena are indices")
}
