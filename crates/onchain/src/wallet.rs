use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use bdk_wallet::chain::{BlockId, ChainPosition};
use bdk_wallet::{KeychainKind, LocalOutput};
use bitcoin::{Block, BlockHash, OutPoint, Transaction, Txid};
use eschaton_ports::chain::{Account, BlockRef, ChainIdentity, Locator};

use crate::journal::Journal;
use crate::state::Change;
use crate::{WalletError, account, address};

/// Blocks after which a coinbase output may be spent (`COINBASE_MATURITY` of Bitcoin Core).
const MATURITY: u32 = 100;
/// The journal is written anew when it is longer than this and twice as long as it was then.
const COMPACT_BYTES: u64 = 4 << 20;

/// Where a wallet is kept and since when it may have been paid.
#[derive(Clone, Debug)]
pub struct WalletConfig {
    /// Its file. What is in it follows from keys and chain, so it may be deleted.
    pub path: PathBuf,
    /// No block below this height pays it; a new wallet reads on from here.
    pub birthday: u32,
}

/// What the wallet has, in satoshis, as of the last block that it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// May be spent now.
    pub free_sat: u64,
    /// Is spent by transactions that are under way; what is left of it comes back when they confirm.
    pub reserved_sat: u64,
    /// Mined too lately to be spent.
    pub immature_sat: u64,
}

/// A confirmed, unspent output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Which.
    pub outpoint: OutPoint,
    /// Its value.
    pub value_sat: u64,
    /// Height of its block.
    pub height: u32,
    /// Whom it pays: an address of ours.
    pub address: String,
    /// Whom it is reserved for.
    pub reserved: Option<u64>,
    /// Whether a transaction in the next block may spend it.
    pub mature: bool,
}

/// The wallet of one account on one chain. See the crate's text.
pub struct Wallet {
    pub(crate) identity: ChainIdentity,
    pub(crate) bdk: bdk_wallet::Wallet,
    pub(crate) reserved: BTreeMap<OutPoint, u64>,
    birthday: u32,
    /// All that is kept, with what is not written yet.
    total: Change,
    unwritten: Change,
    journal: Journal,
    compacted: u64,
    closed: bool,
}

impl Wallet {
    /// Opens the wallet's file, or makes one.
    ///
    /// # Errors
    /// `Io`, `Locked`, `Damaged`; `Foreign` for the file of other keys or another chain.
    pub fn open(
        config: &WalletConfig,
        identity: ChainIdentity,
        account: &Account,
    ) -> Result<Self, WalletError> {
        let (journal, frames) = Journal::open(&config.path)?;
        let descriptors =
            [KeychainKind::External, KeychainKind::Internal].map(|chain| account::descriptor(account, chain));
        let mut total = Change::default();
        for frame in &frames {
            let change = serde_json::from_slice(frame).map_err(|error| WalletError::Damaged {
                path: config.path.clone(),
                at: 0,
                detail: error.to_string(),
            })?;
            total.merge(change);
        }
        let foreign = |detail: String| WalletError::Foreign { detail };
        let new = frames.is_empty();
        let bdk = if new {
            let [receive, change] = descriptors;
            bdk_wallet::Wallet::create(receive, change)
                .network(account::network(&identity))
                .genesis_hash(identity.genesis)
                .create_wallet_no_persist()
                .map_err(|error| foreign(error.to_string()))?
        } else {
            let [receive, change] = descriptors;
            let loaded = bdk_wallet::Wallet::load()
                .descriptor(KeychainKind::External, Some(receive))
                .descriptor(KeychainKind::Internal, Some(change))
                .check_network(account::network(&identity))
                .check_genesis_hash(identity.genesis)
                .load_wallet_no_persist(total.for_bdk());
            loaded
                .map_err(|error| foreign(error.to_string()))?
                .ok_or_else(|| foreign("it is empty".to_owned()))?
        };
        let mut wallet = Self {
            identity,
            bdk,
            reserved: total.reserved().collect(),
            birthday: config.birthday,
            total,
            unwritten: Change::default(),
            compacted: journal.length(),
            journal,
            closed: false,
        };
        wallet.commit()?;
        Ok(wallet)
    }

    /// The chain whose blocks it takes.
    pub fn identity(&self) -> &ChainIdentity {
        &self.identity
    }

    /// The newest block that it was shown.
    pub fn tip(&self) -> BlockRef {
        block_ref(self.bdk.latest_checkpoint().block_id())
    }

    /// Where to follow the chain from. It ends with the last block that [`Self::connect`] took, written or not.
    pub fn locator(&self) -> Locator {
        let blocks: BTreeMap<u32, BlockHash> =
            self.bdk.checkpoints().map(|block| (block.height(), block.hash())).collect();
        let blocks = blocks.into_iter().map(|(height, hash)| BlockRef { height, hash });
        let genesis = BlockRef { height: 0, hash: self.identity.genesis };
        Locator::from_blocks(blocks).unwrap_or_else(|| Locator::at(genesis))
    }

    /// The height to begin at, for a wallet that was shown nothing yet.
    pub(crate) fn begin_at(&self) -> Option<u32> {
        (self.tip().height == 0).then_some(self.birthday).filter(|birthday| *birthday > 0)
    }

    /// Takes these blocks for known, although it was not shown them.
    pub(crate) fn begin(&mut self, locator: &Locator) -> Result<(), WalletError> {
        let mut change = Change::default();
        let blocks = locator.newest_first().map(|block| (block.height, Some(block.hash)));
        change.bdk.local_chain.blocks = blocks.collect();
        self.total.merge(change.clone());
        self.unwritten.merge(change);
        self.reload()
    }

    /// The next block of the best chain. Durable after [`Self::commit`].
    ///
    /// # Errors
    /// `Unconnected`; nothing was changed.
    pub fn connect(&mut self, at: BlockRef, block: &Block) -> Result<(), WalletError> {
        let parent = self.tip();
        if parent.height.checked_add(1) != Some(at.height) || parent.hash != block.header.prev_blockhash {
            return Err(WalletError::Unconnected { at });
        }
        let parent = BlockId { height: parent.height, hash: parent.hash };
        self.bdk
            .apply_block_connected_to(block, at.height, parent)
            .map_err(|_| WalletError::Unconnected { at })?;
        self.stage();
        Ok(())
    }

    /// Blocks above this one count no longer. Durable after [`Self::commit`].
    ///
    /// # Errors
    /// `Foreign`: what is kept does not load, a defect.
    pub fn disconnect(&mut self, to: BlockRef) -> Result<(), WalletError> {
        self.stage();
        let change = self.total.disconnected(to.height);
        self.total.merge(change.clone());
        self.unwritten.merge(change);
        self.reload()
    }

    /// Writes what changed to the disk. One flush.
    ///
    /// # Errors
    /// `Io`; the wallet does nothing more.
    pub fn commit(&mut self) -> Result<(), WalletError> {
        self.stage();
        if self.closed {
            return Err(WalletError::Closed);
        }
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let change = std::mem::take(&mut self.unwritten);
        let written = json(&change).and_then(|bytes| self.journal.append(&bytes));
        self.closed = written.is_err();
        written?;
        if self.journal.length() > COMPACT_BYTES.max(2 * self.compacted) {
            self.compact()?;
        }
        Ok(())
    }

    /// Writes all that is kept anew, without what is superseded.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn compact(&mut self) -> Result<(), WalletError> {
        self.stage();
        if self.closed {
            return Err(WalletError::Closed);
        }
        self.total.compact();
        self.unwritten = Change::default();
        let written = json(&self.total).and_then(|bytes| self.journal.replace(&bytes));
        self.closed = written.is_err();
        written?;
        self.compacted = self.journal.length();
        self.reload()
    }

    /// An address that nobody paid yet; the same until somebody does.
    ///
    /// # Errors
    /// `Io`.
    pub fn address(&mut self) -> Result<String, WalletError> {
        let script = self.bdk.next_unused_address(KeychainKind::External).address.script_pubkey();
        self.commit()?;
        self.text(&script)
    }

    /// An address that was never given.
    ///
    /// # Errors
    /// `Io`.
    pub fn new_address(&mut self) -> Result<String, WalletError> {
        let script = self.bdk.reveal_next_address(KeychainKind::External).address.script_pubkey();
        // On the disk before anybody pays it.
        self.commit()?;
        self.text(&script)
    }

    /// The script of [`Self::address`].
    ///
    /// # Errors
    /// `Io`.
    pub fn script(&mut self) -> Result<bitcoin::ScriptBuf, WalletError> {
        let script = self.bdk.next_unused_address(KeychainKind::External).address.script_pubkey();
        self.commit()?;
        Ok(script)
    }

    fn text(&self, script: &bitcoin::Script) -> Result<String, WalletError> {
        let text = address(&self.identity, script);
        text.ok_or_else(|| WalletError::Foreign { detail: "a script without address".to_owned() })
    }

    /// All confirmed outputs that no confirmed transaction spends, the largest first.
    pub fn coins(&self) -> Vec<Coin> {
        let next = self.tip().height.saturating_add(1);
        let coin = |output: LocalOutput| {
            let ChainPosition::Confirmed { anchor, .. } = output.chain_position else { return None };
            let height = anchor.block_id.height;
            let made = self.bdk.get_tx(output.outpoint.txid)?;
            Some(Coin {
                outpoint: output.outpoint,
                value_sat: output.txout.value.to_sat(),
                height,
                address: address(&self.identity, &output.txout.script_pubkey).unwrap_or_default(),
                reserved: self.reserved.get(&output.outpoint).copied(),
                mature: !made.tx_node.tx.is_coinbase() || next >= height.saturating_add(MATURITY),
            })
        };
        let mut coins: Vec<Coin> = self.bdk.list_unspent().filter_map(coin).collect();
        coins.sort_by(|one, other| {
            other.value_sat.cmp(&one.value_sat).then_with(|| one.outpoint.cmp(&other.outpoint))
        });
        coins
    }

    /// Sums over [`Self::coins`].
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for coin in self.coins() {
            let part = match (coin.mature, coin.reserved) {
                (false, _) => &mut balance.immature_sat,
                (true, Some(_)) => &mut balance.reserved_sat,
                (true, None) => &mut balance.free_sat,
            };
            *part = part.saturating_add(coin.value_sat);
        }
        balance
    }

    /// Every transaction of the best chain that spends or pays this wallet, and its block. Takes time that grows with the
    /// wallet's history: ask once, not for each.
    pub fn confirmed(&self) -> HashMap<Txid, BlockRef> {
        let place = |transaction: bdk_wallet::WalletTx<'_>| match transaction.chain_position {
            ChainPosition::Confirmed { anchor, .. } => {
                Some((transaction.tx_node.txid, block_ref(anchor.block_id)))
            }
            ChainPosition::Unconfirmed { .. } => None,
        };
        self.bdk.transactions().filter_map(place).collect()
    }

    /// Transactions that spend this output of the wallet and were once in a block.
    pub fn spenders(&self, outpoint: OutPoint) -> Vec<Txid> {
        self.bdk.tx_graph().outspends(outpoint).iter().copied().collect()
    }

    /// The highest block that this transaction was seen in, of whatever branch.
    pub fn last_height(&self, txid: Txid) -> Option<u32> {
        let seen = self.total.bdk.tx_graph.anchors.iter().filter(|(_, of)| *of == txid);
        seen.map(|(anchor, _)| anchor.block_id.height).max()
    }

    /// A transaction that was once in a block and concerns this wallet; it may be in none now.
    pub fn transaction(&self, txid: Txid) -> Option<Transaction> {
        self.bdk.tx_graph().get_tx(txid).map(|transaction| (*transaction).clone())
    }

    /// Replaces all reservations by these: whom each output is kept for. On the disk when this returns.
    ///
    /// # Errors
    /// `Io`.
    pub fn reserve(&mut self, wanted: &BTreeMap<OutPoint, u64>) -> Result<(), WalletError> {
        let known: BTreeSet<OutPoint> = self.reserved.keys().chain(wanted.keys()).copied().collect();
        let changed =
            known.into_iter().filter(|outpoint| self.reserved.get(outpoint) != wanted.get(outpoint));
        let reserved: Vec<_> = changed.map(|outpoint| (outpoint, wanted.get(&outpoint).copied())).collect();
        self.change_reserved(reserved)
    }

    pub(crate) fn change_reserved(
        &mut self,
        reserved: Vec<(OutPoint, Option<u64>)>,
    ) -> Result<(), WalletError> {
        let change = Change { reserved, ..Change::default() };
        self.total.merge(change.clone());
        self.unwritten.merge(change);
        self.reserved = self.total.reserved().collect();
        self.commit()
    }

    /// Whom outputs are reserved for.
    pub fn reservations(&self) -> &BTreeMap<OutPoint, u64> {
        &self.reserved
    }

    /// A wallet in memory with the same state, to try things.
    pub(crate) fn scratch(&self) -> Result<bdk_wallet::Wallet, WalletError> {
        load(&self.total)
    }

    fn stage(&mut self) {
        if let Some(bdk) = self.bdk.take_staged() {
            let change = Change { bdk, ..Change::default() };
            self.total.merge(change.clone());
            self.unwritten.merge(change);
        }
    }

    /// BDK cannot take blocks back without others in their place, so it is made anew from what is kept.
    fn reload(&mut self) -> Result<(), WalletError> {
        self.bdk = load(&self.total)?;
        Ok(())
    }
}

fn load(total: &Change) -> Result<bdk_wallet::Wallet, WalletError> {
    let foreign = |detail: String| WalletError::Foreign { detail };
    bdk_wallet::Wallet::load()
        .load_wallet_no_persist(total.for_bdk())
        .map_err(|error| foreign(error.to_string()))?
        .ok_or_else(|| foreign("it is empty".to_owned()))
}

fn json(change: &Change) -> Result<Vec<u8>, WalletError> {
    serde_json::to_vec(change).map_err(|error| WalletError::Build { detail: error.to_string() })
}

fn block_ref(block: BlockId) -> BlockRef {
    BlockRef { height: block.height, hash: block.hash }
}
