//! For operators and clients: what the chain's part knows, and what may be asked of it.

use std::sync::Arc;

use eschaton_onchain::{Balance, Wallet, WalletError};
use eschaton_ports::LogError;
use eschaton_ports::chain::{BlockRef, Chain};
use eschaton_timestamp::{AnchorInput, Anchorer};
use tokio::sync::{Mutex, watch};

use crate::{AnchorInbox, AnchorView};

/// The chain's part at a glance.
#[derive(Clone, Debug, Default)]
pub struct ChainStatus {
    /// The newest block that was seen; none before the first.
    pub tip: Option<BlockRef>,
    /// Of the anchors' wallet.
    pub balance: Balance,
    /// What a timely transaction pays, satoshi for 1,000 virtual bytes.
    pub fee_sat_per_kvb: Option<u64>,
    /// The node had no estimate: it is the least that is relayed.
    pub fee_is_floor: bool,
    /// What is wrong with the node, the wallet's disk or the log.
    pub problem: Option<String>,
}

/// Clones ask the same service.
#[derive(Clone)]
pub struct ChainHandle {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) wallet: Arc<Mutex<Wallet>>,
    pub(super) view: AnchorView,
    pub(super) inbox: AnchorInbox,
    pub(super) status: watch::Receiver<ChainStatus>,
}

impl ChainHandle {
    /// The chain, for questions.
    pub fn chain(&self) -> Arc<dyn Chain> {
        self.chain.clone()
    }

    /// How it fares.
    pub fn status(&self) -> ChainStatus {
        self.status.borrow().clone()
    }

    /// The anchorer, while it is in this process.
    pub fn anchorer(&self) -> Option<Arc<Anchorer>> {
        self.view.borrow().clone()
    }

    /// An address to send coins for anchors to; another one each time if `new`.
    ///
    /// # Errors
    /// The wallet's disk.
    pub async fn address(&self, new: bool) -> Result<String, WalletError> {
        let mut wallet = self.wallet.lock().await;
        if new { wallet.new_address() } else { wallet.address() }
    }

    /// The script of that address.
    ///
    /// # Errors
    /// The wallet's disk.
    pub async fn script(&self) -> Result<bitcoin::ScriptBuf, WalletError> {
        self.wallet.lock().await.script()
    }

    /// An anchor's fee is raised to at least this as soon as it may be. Durable when it returns.
    ///
    /// # Errors
    /// The log.
    pub async fn bump(&self, anchor: u64, sat_per_kvb: u64) -> Result<(), LogError> {
        self.inbox.tell(&[AnchorInput::Bump { anchor, sat_per_kvb }]).await
    }
}
