//! Transactions in blocks: branches of Bitcoin's Merkle tree.

use eschaton_ots::tree::Hash;
use eschaton_ots::{Header, Op, Operand};

use crate::TransactionError;
use crate::transaction::sha256d;

/// Most neighbours of a branch: a block holds fewer than 2^20 transactions.
pub const BRANCH_MAX: usize = 20;

/// A transaction's way to the Merkle root of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBranch {
    /// Place of the transaction in the block.
    pub position: u32,
    /// Neighbours, from the transaction up. Where a level has an odd last node, it is its own neighbour.
    pub hashes: Vec<Hash>,
}

impl BlockBranch {
    /// The branch of the transaction at `position`, out of the ids of all transactions of the block; none for a
    /// position that it does not have.
    pub fn of(txids: &[Hash], position: usize) -> Option<Self> {
        txids.get(position)?;
        let (mut level, mut at, mut hashes) = (txids.to_vec(), position, Vec::new());
        while level.len() > 1 {
            if level.len() % 2 == 1 {
                level.extend(level.last().copied());
            }
            hashes.push(*level.get(at ^ 1)?);
            level = level.as_chunks::<2>().0.iter().map(|[left, right]| node(left, right)).collect();
            at /= 2;
        }
        Some(Self { position: u32::try_from(position).ok()?, hashes })
    }

    /// Neighbours with the side on which they stand: true is left.
    fn sides(&self) -> impl Iterator<Item = (bool, &Hash)> {
        (0u32..)
            .zip(&self.hashes)
            .map(|(level, hash)| (self.position.checked_shr(level).unwrap_or(0) & 1 == 1, hash))
    }

    /// The Merkle root that it leads to.
    pub fn root(&self, txid: &Hash) -> Hash {
        self.sides().fold(
            *txid,
            |hash, (left, other)| {
                if left { node(other, &hash) } else { node(&hash, other) }
            },
        )
    }

    /// Checks that it leads from `txid` to the header's Merkle root.
    ///
    /// # Errors
    /// [`TransactionError::WrongBranch`].
    pub fn check(&self, txid: &Hash, height: u64, header: &Header) -> Result<(), TransactionError> {
        // A position beyond the branch's tree would be another name of the same place.
        let fits = self.hashes.len() <= BRANCH_MAX && u64::from(self.position) < 1 << self.hashes.len();
        if fits && header[36..68] == self.root(txid) {
            Ok(())
        } else {
            Err(TransactionError::WrongBranch { height })
        }
    }

    /// The operations from the transaction's id to the Merkle root.
    pub fn ops(&self) -> Vec<Op> {
        self.sides()
            .flat_map(|(left, hash)| {
                let operand = Operand::from(*hash);
                [if left { Op::Prepend(operand) } else { Op::Append(operand) }, Op::Sha256, Op::Sha256]
            })
            .collect()
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256d(&[&left[..], right].concat())
}
