use bitcoin::BlockHash;

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not the 80 bytes of a header.
    #[error("bytes are no block header; ask another node")]
    Malformed,
    /// Its parent is not among those known; it may be below what is kept.
    #[error("header {hash} follows on {parent}, which is not known; give the headers between, in order")]
    Orphan {
        /// The header.
        hash: BlockHash,
        /// Its parent.
        parent: BlockHash,
    },
    /// It claims another difficulty than the rules give.
    #[error(
        "header {hash} claims difficulty {found:#010x}, the rules give {expected:#010x}; ask another node"
    )]
    Difficulty {
        /// The header.
        hash: BlockHash,
        /// Compact form, as claimed.
        found: u32,
        /// Compact form, by the rules.
        expected: u32,
    },
    /// Its hash is above its target, or the target is above what the network allows.
    #[error("header {hash} does not carry the work that it claims; ask another node")]
    Work {
        /// The header.
        hash: BlockHash,
    },
    /// Its time is not after the median of the eleven before it (Bitcoin Core, `ContextualCheckBlockHeader`).
    #[error(
        "header {hash} has time {time}, not after the median {median} of those before it; ask another node"
    )]
    TimeTooOld {
        /// The header.
        hash: BlockHash,
        /// Its time.
        time: u32,
        /// What it must exceed.
        median: u32,
    },
    /// Its time is more than two hours ahead of the caller's.
    #[error(
        "header {hash} has time {time}, more than two hours ahead of {now}; see to the clock, or try later"
    )]
    TimeTooNew {
        /// The header.
        hash: BlockHash,
        /// Its time.
        time: u32,
        /// The caller's.
        now: u32,
    },
    /// It contradicts a checkpoint.
    #[error("header {hash} at height {height} is not the checkpoint there; the node is on another chain")]
    Checkpoint {
        /// The header.
        hash: BlockHash,
        /// Its height.
        height: u32,
    },
    /// It would undo more blocks than this chain keeps.
    #[error(
        "header {hash} begins a branch {depth} blocks below the tip, deeper than is kept; load the chain anew"
    )]
    TooDeep {
        /// The header.
        hash: BlockHash,
        /// How far below.
        depth: u32,
    },
    /// More abandoned branches than are kept.
    #[error("too many headers of side branches; this node sends branches that lead nowhere, use another")]
    TooMany,
}

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Longer than any block.
    #[error("a block of {0} bytes is too long; ask another node")]
    TooLong(usize),
    /// Its bytes do not read as a block.
    #[error("bytes are no block: {0}; ask another node")]
    Malformed(&'static str),
    /// The header names other transactions.
    #[error("the block's transactions are not those that its header names; ask another node")]
    MerkleRoot,
}

/// Why a proof that a transaction is in a block is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The bytes are no proof.
    #[error("bytes are no proof that a transaction is in a block: {0}; ask for a new proof")]
    Malformed(&'static str),
    /// The block has no such transaction.
    #[error("the transaction is not in the block; no proof can be made")]
    Absent,
    /// A branch does not lead to the header's root.
    #[error("the proof does not lead to the block's merkle root; ask for a new proof, the node may lie")]
    Root,
    /// The first transaction is no coinbase, so the tree's depth is not proven.
    #[error("the proof's first transaction is no coinbase; the node lies about the depth of the tree")]
    Coinbase,
    /// Two leaves or nodes side by side are the same, as in CVE-2012-2459.
    #[error("the proof has two equal neighbours; the block's transactions are repeated, do not believe it")]
    Duplicate,
    /// 64 bytes can be read both as a transaction and as a node of the tree (CVE-2017-12842).
    #[error("a transaction of 64 bytes may be a node of the tree; it is not proven")]
    Ambiguous,
}
