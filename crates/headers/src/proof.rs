//! That a transaction is in a block, for who has the block's header.
//!
//! A Merkle branch alone does not prove it: the tree does not say how deep it is, so that a transaction of 64 bytes may
//! pose as a node or a node as a transaction (CVE-2017-12842), and a list with repeated ends has the root of the list
//! without them (CVE-2012-2459). So the proof carries the coinbase whole, at position 0 under a branch of the same
//! length: nobody can find a node that reads as a coinbase, so the length is the tree's depth.

use bitcoin::hashes::Hash;
use bitcoin::{Transaction, TxMerkleNode, Txid, block::Header, consensus::serialize};

use crate::{ProofError, decode_transaction};

/// The most nodes of a branch: a block of 4,000,000 weight units holds fewer than 2^17 transactions.
pub const BRANCH_MAX: usize = 17;
/// The longest transaction in a proof; half of it is a block full of one.
const TRANSACTION_BYTES_MAX: usize = 4_000_000;
const VERSION: u8 = 1;

type Node = [u8; 32];

fn parent(left: &Node, right: &Node) -> Node {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    bitcoin::hashes::sha256d::Hash::hash(&both).to_byte_array()
}

/// Root of these transactions, and whether two neighbours of a full pair are equal.
pub(crate) fn root_of(ids: &[Txid]) -> Option<(TxMerkleNode, bool)> {
    let mut level: Vec<Node> = ids.iter().map(|id| id.to_byte_array()).collect();
    let mut repeated = false;
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => {
                    repeated |= left == right;
                    parent(left, right)
                }
                [last, ..] => parent(last, last),
                [] => [0; 32],
            })
            .collect();
    }
    level.first().map(|root| (TxMerkleNode::from_byte_array(*root), repeated))
}

/// The neighbours from this leaf up to the root.
fn branch(ids: &[Txid], position: usize) -> Vec<Node> {
    let mut level: Vec<Node> = ids.iter().map(|id| id.to_byte_array()).collect();
    let mut position = position;
    let mut branch = Vec::new();
    while level.len() > 1 {
        let neighbour = level.get(position ^ 1).or_else(|| level.get(position));
        branch.push(neighbour.copied().unwrap_or_default());
        level = level.chunks(2).map(|pair| parent(&pair[0], pair.get(1).unwrap_or(&pair[0]))).collect();
        position /= 2;
    }
    branch
}

/// Where a branch leads from this leaf. A left node may equal its neighbour only at the end of its level, where the node
/// is paired with itself; a right one never may.
fn climb(leaf: Node, position: u32, branch: &[Node]) -> Result<Node, ProofError> {
    let mut node = leaf;
    for (level, neighbour) in branch.iter().enumerate() {
        if position >> level & 1 == 0 {
            node = parent(&node, neighbour);
        } else {
            if node == *neighbour {
                return Err(ProofError::Duplicate);
            }
            node = parent(neighbour, &node);
        }
    }
    Ok(node)
}

/// A proof that a transaction is in the block of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxInBlock {
    /// Serialized as for its txid: without witnesses.
    transaction: Vec<u8>,
    position: u32,
    branch: Vec<Node>,
    coinbase: Vec<u8>,
    coinbase_branch: Vec<Node>,
}

/// The bytes that a txid is the hash of.
fn base(transaction: &Transaction) -> Vec<u8> {
    let mut stripped = transaction.clone();
    for input in &mut stripped.input {
        input.witness = bitcoin::Witness::new();
    }
    serialize(&stripped)
}

impl TxInBlock {
    /// Proves the transaction at this position of a block's list. Fails for a list that no honest block has.
    pub fn build(transactions: &[Transaction], position: usize) -> Result<Self, ProofError> {
        let (Some(transaction), Some(coinbase)) = (transactions.get(position), transactions.first()) else {
            return Err(ProofError::Absent);
        };
        let ids: Vec<Txid> = transactions.iter().map(Transaction::compute_txid).collect();
        if root_of(&ids).is_none_or(|(_, repeated)| repeated) {
            return Err(ProofError::Duplicate);
        }
        let proof = Self {
            transaction: base(transaction),
            position: u32::try_from(position).map_err(|_| ProofError::Absent)?,
            branch: branch(&ids, position),
            coinbase: base(coinbase),
            coinbase_branch: branch(&ids, 0),
        };
        proof.check_form().map(|_| proof)
    }

    /// As [`Self::build`], by the transaction's id.
    pub fn build_for(transactions: &[Transaction], txid: Txid) -> Result<Self, ProofError> {
        let position = transactions.iter().position(|transaction| transaction.compute_txid() == txid);
        Self::build(transactions, position.ok_or(ProofError::Absent)?)
    }

    /// What can be said without a header: both transactions, read.
    fn check_form(&self) -> Result<(Transaction, Transaction), ProofError> {
        if self.branch.len() > BRANCH_MAX || self.branch.len() != self.coinbase_branch.len() {
            return Err(ProofError::Malformed("branches of unequal length"));
        }
        if u64::from(self.position) >> self.branch.len() != 0 {
            return Err(ProofError::Malformed("a position that the tree does not have"));
        }
        if self.transaction.len() == 64 || self.coinbase.len() == 64 {
            return Err(ProofError::Ambiguous);
        }
        let read = |bytes: &[u8], what| {
            let transaction = decode_transaction(bytes).map_err(|_| ProofError::Malformed(what))?;
            // One form: the one that the id is made of.
            if serialize(&transaction) == bytes && bytes == base(&transaction) {
                Ok(transaction)
            } else {
                Err(ProofError::Malformed(what))
            }
        };
        let transaction = read(&self.transaction, "its transaction")?;
        let coinbase = read(&self.coinbase, "its coinbase")?;
        if !coinbase.is_coinbase() {
            return Err(ProofError::Coinbase);
        }
        Ok((transaction, coinbase))
    }

    /// Verifies the proof against a header that the caller believes, for example of a [`crate::HeaderChain`], and gives the
    /// transaction, without witnesses.
    pub fn verify(&self, header: &Header) -> Result<Transaction, ProofError> {
        let (transaction, coinbase) = self.check_form()?;
        let root = header.merkle_root.to_byte_array();
        let found = climb(coinbase.compute_txid().to_byte_array(), 0, &self.coinbase_branch)?;
        if found != root {
            return Err(ProofError::Root);
        }
        let found = climb(transaction.compute_txid().to_byte_array(), self.position, &self.branch)?;
        if found != root {
            return Err(ProofError::Root);
        }
        // Where a level ends with an odd node, that node is its own neighbour, and the positions right of it are not there:
        // a branch that names one meets itself on the right, which `climb` refuses.
        Ok(transaction)
    }

    /// Position of the transaction in the block; the coinbase has 0.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Version, position (4 bytes), number of levels (1), the two branches, then each transaction after its length
    /// (4 bytes). Numbers are big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.position.to_be_bytes());
        // Bounded by `check_form`, which made or read it.
        bytes.push(u8::try_from(self.branch.len()).unwrap_or(u8::MAX));
        for node in self.branch.iter().chain(&self.coinbase_branch) {
            bytes.extend(node);
        }
        for transaction in [&self.coinbase, &self.transaction] {
            bytes.extend(u32::try_from(transaction.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(transaction);
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; nothing else reads.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(ProofError::Malformed("unknown version"));
        }
        let position = u32::from_be_bytes(take(&mut rest)?);
        let [levels] = take(&mut rest)?;
        if usize::from(levels) > BRANCH_MAX {
            return Err(ProofError::Malformed("too many levels"));
        }
        let branch = (0..levels).map(|_| take(&mut rest)).collect::<Result<Vec<Node>, _>>()?;
        let coinbase_branch = (0..levels).map(|_| take(&mut rest)).collect::<Result<Vec<Node>, _>>()?;
        let coinbase = take_long(&mut rest)?;
        let transaction = take_long(&mut rest)?;
        if !rest.is_empty() {
            return Err(ProofError::Malformed("too long"));
        }
        let proof = Self { transaction, position, branch, coinbase, coinbase_branch };
        proof.check_form().map(|_| proof)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ProofError> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(ProofError::Malformed("cut off"))?;
    *rest = left;
    Ok(*taken)
}

fn take_long(rest: &mut &[u8]) -> Result<Vec<u8>, ProofError> {
    let length = u32::from_be_bytes(take(rest)?);
    let length = usize::try_from(length).map_err(|_| ProofError::Malformed("too long"))?;
    if length > TRANSACTION_BYTES_MAX {
        return Err(ProofError::Malformed("a transaction that is too long"));
    }
    let (taken, left) = rest.split_at_checked(length).ok_or(ProofError::Malformed("cut off"))?;
    *rest = left;
    Ok(taken.to_vec())
}
