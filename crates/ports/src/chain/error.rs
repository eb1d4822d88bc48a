use bitcoin::BlockHash;

/// Why a transaction is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectClass {
    /// The mempool holds another one of the same input, which this one does not or may not replace. Raise the fee
    /// above the other's, or give up.
    Conflict,
    /// It pays less than the mempool or a replacement demands. Raise the fee.
    FeeTooLow,
    /// It spends an output that the node does not know. Hand in the parent first; it may also come with a block.
    MissingInputs,
    /// It spends an output that a block has spent already. Give up, unless a reorganisation undoes that block.
    AlreadySpent,
    /// Valid, but of a form that nodes do not relay. Only a miner can help.
    NonStandard,
    /// Its lock time or an input's relative lock has not come. Hand it in later.
    NotYet,
    /// It breaks a rule of consensus, such as a signature that does not fit. It can never be in a block.
    Invalid,
    /// The node gave a reason that no other class names.
    Other,
}

/// What a chain's node can do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainState {
    /// Answers, and has the blocks.
    Ready,
    /// Does not answer.
    Away,
    /// Answers, and is still loading blocks.
    Syncing,
    /// Is a node of another chain.
    WrongNetwork,
    /// Refuses the login.
    Credentials,
    /// Has deleted what is needed.
    Pruned,
    /// Says what cannot be.
    Lying,
}

/// Why a chain did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No answer in time, after retries. A transaction that was being handed in may have arrived.
    #[error("chain node at {node} is away: {detail}; retry, and start it if it does not run")]
    Away {
        /// Its address, without credentials.
        node: String,
        /// What was met.
        detail: String,
    },
    /// The node starts, or loads blocks that others have already.
    #[error("chain node at {node} is still loading, {detail}; wait until it has caught up")]
    Syncing {
        /// Its address.
        node: String,
        /// How far it is.
        detail: String,
    },
    /// It is a node of another chain than the settings say.
    #[error(
        "chain node at {node} has genesis block {found}, not {expected}; correct the address or the network"
    )]
    WrongNetwork {
        /// Its address.
        node: String,
        /// Of the chain that is wanted.
        expected: BlockHash,
        /// Of the chain that it has.
        found: BlockHash,
    },
    /// It does not let this program in.
    #[error(
        "chain node at {node} refuses the credentials; correct user and password, or the cookie file: {detail}"
    )]
    Credentials {
        /// Its address.
        node: String,
        /// Where the credentials came from. Never what they are.
        detail: String,
    },
    /// It has deleted this block.
    #[error("chain node at {node} has deleted block {block}; use a node that keeps blocks, or prunes less")]
    Pruned {
        /// Its address.
        node: String,
        /// What was asked for: a hash, or a height.
        block: String,
    },
    /// It will not take the transaction.
    #[error("transaction is rejected ({class:?}): {detail}")]
    Rejected {
        /// The kind of reason, which says what to do.
        class: RejectClass,
        /// What the node said.
        detail: String,
    },
    /// This kind of node cannot do this.
    #[error("chain node at {node} cannot {call}; use another kind of node, or do without")]
    Unsupported {
        /// Its address.
        node: String,
        /// What was asked.
        call: &'static str,
    },
    /// The chain changed while it was being read. Begin again at the fork.
    #[error("chain was reorganised at or below height {height}; begin again below it")]
    Reorganised {
        /// The first height that is known to differ.
        height: u32,
    },
    /// Its answer contradicts itself, or the rules of the chain.
    #[error(
        "chain node at {node} gives an answer that cannot be: {detail}; do not trust it, look for damage or a liar"
    )]
    Lying {
        /// Its address.
        node: String,
        /// What is wrong.
        detail: String,
    },
    /// The caller's fault.
    #[error("chain request is wrong: {detail}")]
    Invalid {
        /// Why.
        detail: String,
    },
}

impl ChainError {
    /// What the error says of the node; none when it says nothing of it.
    pub fn state(&self) -> Option<ChainState> {
        match self {
            Self::Away { .. } => Some(ChainState::Away),
            Self::Syncing { .. } => Some(ChainState::Syncing),
            Self::WrongNetwork { .. } => Some(ChainState::WrongNetwork),
            Self::Credentials { .. } => Some(ChainState::Credentials),
            Self::Pruned { .. } => Some(ChainState::Pruned),
            Self::Lying { .. } => Some(ChainState::Lying),
            Self::Rejected { .. }
            | Self::Unsupported { .. }
            | Self::Reorganised { .. }
            | Self::Invalid { .. } => None,
        }
    }

    /// Whether the same request may succeed later without anybody's help.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Syncing { .. } | Self::Reorganised { .. })
    }
}
