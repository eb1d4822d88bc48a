//! The Chain port: a proof-of-work chain of blocks, Bitcoin's or Litecoin's, as channels, anchors and swaps need it.
//!
//! Transactions and blocks have Bitcoin's types for both coins. Litecoin's extension blocks (MWEB) are not shown:
//! their part of a block is cut off, and the transaction that carries them into the block (the HogEx) is an
//! ordinary one with its ordinary txid.

mod error;
mod follow;
mod locator;
mod signer;

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, FeeRate, OutPoint, Transaction, Txid};

pub use error::{ChainError, ChainState, RejectClass};
pub use follow::{ChainEvent, Follower, Rescan, follow, locate, rescan};
pub use locator::{LOCATOR_BYTES_MAX, Locator, LocatorError};
pub use signer::{Account, ChainSigner, Purpose};

/// The most headers that one call gives.
pub const HEADERS_MAX: u32 = 2_000;
/// The most transactions of a package: Bitcoin Core's `MAX_PACKAGE_COUNT`.
pub const PACKAGE_TXS_MAX: usize = 25;
/// The most serialized bytes of a block that are read: consensus allows 4,000,000 weight units, and Litecoin's
/// extension block comes on top.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;
/// How far back [`Chain::status`] looks for a transaction whose node has no index of them: a week of Bitcoin.
pub const STATUS_BLOCKS_MAX: u32 = 1_008;

/// The coins that have adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coin {
    /// SHA-256d, ten minutes.
    Bitcoin,
    /// Scrypt, two and a half minutes.
    Litecoin,
}

/// Which of a coin's chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainNetwork {
    /// The one whose coins have a price.
    Main,
    /// A public one whose coins have none. Several exist; the genesis block says which.
    Test,
    /// A private one, mined at will.
    Regtest,
}

/// What chain this is. Fixed for the life of an adapter: a node that turns to another chain is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainIdentity {
    /// Its coin.
    pub coin: Coin,
    /// Its kind.
    pub network: ChainNetwork,
    /// Block 0.
    pub genesis: BlockHash,
}

/// A block's place. Ordered by height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockRef {
    /// Blocks below it; genesis has 0.
    pub height: u32,
    /// Hash of its header.
    pub hash: BlockHash,
}

/// A header and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHeader {
    /// Its place.
    pub at: BlockRef,
    /// Its 80 bytes.
    pub header: Header,
    /// Whether it is of the best chain. Not so: an abandoned branch.
    pub best: bool,
}

/// What became of a transaction that was handed in. All three are success: the network has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// The node took it into its mempool and passes it on.
    Accepted,
    /// Its mempool held it already; it passes it on again.
    Known,
    /// A block of the best chain holds it already.
    InBlock,
}

/// What the node would say to a transaction; nothing was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Its mempool would take it, or has it.
    Accepted,
    /// It would not.
    Rejected {
        /// The kind of reason.
        class: RejectClass,
        /// What the node said.
        detail: String,
    },
}

/// A transaction to ask after. The inputs are needed to see that another one took its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its id.
    pub txid: Txid,
    /// What it spends.
    pub inputs: Vec<OutPoint>,
    /// Number of its outputs.
    pub outputs: u32,
    /// It was in no block below this height. At most [`STATUS_BLOCKS_MAX`] blocks are searched, from the tip down.
    pub since: u32,
}

impl Watched {
    /// To ask after this transaction, first handed in when `since` was the tip's height.
    pub fn new(transaction: &Transaction, since: u32) -> Self {
        Self {
            txid: transaction.compute_txid(),
            inputs: transaction.input.iter().map(|input| input.previous_output).collect(),
            outputs: u32::try_from(transaction.output.len()).unwrap_or(u32::MAX),
            since,
        }
    }
}

/// Where a transaction stands, as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// Neither in the mempool nor in a block, and nothing stands in its way that the node knows of: broadcast it.
    Unknown,
    /// Waits for a block.
    InMempool,
    /// In a block of the best chain.
    InBlock {
        /// Which.
        block: BlockRef,
        /// Blocks from it to the tip, itself included: 1 at the tip. A reorganisation can undo any depth.
        depth: u32,
    },
    /// Another transaction spends one of its inputs.
    Conflicted {
        /// Which, if the node can tell.
        by: Option<Txid>,
        /// The block that holds the other one. None: it is in the mempool (a replacement) or its block was not found.
        block: Option<BlockRef>,
    },
}

/// What a fee rate rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeeSource {
    /// The node's estimate for confirmation within this many blocks.
    Estimate {
        /// The target it answered for; may be higher than asked.
        target: u16,
    },
    /// The node has no estimate. This is the least that its mempool takes and relays at present. A transaction with it
    /// is passed on, and may wait long: raise the fee when it does.
    Floor,
}

/// A fee rate to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeEstimate {
    /// At least the relay floor, at most [`FEE_RATE_MAX`].
    pub rate: FeeRate,
    /// Where it comes from.
    pub source: FeeSource,
}

/// The highest rate that an adapter reports, 5,000 sat/vB: a node that lies must not be able to burn the wallet.
pub const FEE_RATE_MAX: FeeRate = FeeRate::from_sat_per_vb_u32(5_000);

/// A chain of blocks, through a node of it.
///
/// All calls may be repeated. Every call ends within the adapter's time limit; a node that is away, behind, on another
/// chain or refuses the login shows as the same [`ChainError`] in each. Heights and hashes given are checked for their
/// form by the adapter: a block's hash, its transactions' Merkle root, its link to the header asked for.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// What chain this is.
    fn identity(&self) -> ChainIdentity;

    /// The best chain's last block.
    async fn tip(&self) -> Result<BlockRef, ChainError>;

    /// The best chain's block at this height; none above the tip.
    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError>;

    /// A header by its hash, of abandoned branches too while the node keeps them.
    async fn header(&self, hash: BlockHash) -> Result<Option<ChainHeader>, ChainError>;

    /// Headers of the best chain from this height on, each the next one's parent: `max` of them, [`HEADERS_MAX`] or
    /// as many as there are. Empty above the tip.
    async fn headers(&self, from: u32, max: u32) -> Result<Vec<ChainHeader>, ChainError>;

    /// A block by its hash; none when the node never saw it, `Pruned` when it has deleted it.
    async fn block(&self, hash: BlockHash) -> Result<Option<Arc<Block>>, ChainError>;

    /// Hands in a transaction. `Rejected` says why it will not be passed on. After any other error it may or may not
    /// have been: hand in the same bytes again.
    async fn broadcast(&self, transaction: &Transaction) -> Result<Broadcast, ChainError>;

    /// Hands in transactions that only together pay enough: parents first, the last one spends all others. At most
    /// [`PACKAGE_TXS_MAX`]. `Unsupported` by nodes that weigh each by itself. What is known counts as success.
    async fn broadcast_package(&self, transactions: &[Transaction]) -> Result<Vec<Broadcast>, ChainError>;

    /// Whether the mempool would take this transaction. `Unsupported` by nodes that cannot say without taking it.
    async fn accepts(&self, transaction: &Transaction) -> Result<Acceptance, ChainError>;

    /// Where a transaction stands.
    async fn status(&self, watched: &Watched) -> Result<TxStatus, ChainError>;

    /// What to pay for confirmation within `target` blocks (1 to 1,008).
    async fn fee_rate(&self, target: u16) -> Result<FeeEstimate, ChainError>;

    /// Returns when the tip is another than `seen`, at once if it is so already. Also returns without a change after
    /// some seconds; look at the tip. May be dropped.
    async fn changed(&self, seen: BlockHash) -> Result<(), ChainError>;

    /// The node's state in one word, for health: asks it for its tip.
    async fn state(&self) -> ChainState {
        match self.tip().await {
            Ok(_) => ChainState::Ready,
            Err(error) => error.state().unwrap_or(ChainState::Away),
        }
    }
}
