//! The part that talks to a chain: it looks at it for the anchorer and does what the anchorer wants.
//!
//! Level-triggered: each turn compares the chain as it is with the anchorer as its last commit left it. Nothing is kept
//! in between that a crash could lose. A transaction goes: inputs reserved on the wallet's disk → signed → on the log →
//! seen in the anchorer's view → broadcast.

mod act;
mod config;
mod gather;
mod grpc;
mod handle;
mod look;
mod metrics;

use std::collections::HashMap;
use std::sync::Arc;

use eschaton_kit::{Health, Urgency, WorkerThread};
use eschaton_onchain::{Wallet, WalletError};
use eschaton_ports::chain::{Chain, ChainError, ChainSigner, FeeSource};
use eschaton_ports::{Clock, LogError};
use eschaton_timestamp::{AnchorInput, Anchorer};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::{AnchorInbox, AnchorView};

pub use config::ChainConfig;
pub use grpc::{ChainGrpc, Miner, chain_name};
pub use handle::{ChainHandle, ChainStatus};
pub use look::{Found, Hash, Place, tell};
#[cfg(feature = "planted-bugs")]
pub use look::{PlantedBug, tell_planted};

/// Parts in health.
const NODE: &str = "chain";
const ANCHORS: &str = "anchors";

/// Blocks that the wallet takes in before others may use it in between.
const BLOCKS_AT_ONCE: u32 = 32;
/// Records of one append.
const TELL_MAX: usize = 256;
/// How long a record may be on its way through the log before it is told again, ms.
const REPEAT_MS: u64 = 5_000;

/// Why a turn did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    /// The node.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The wallet, or through it the signer or the node.
    #[error(transparent)]
    Wallet(WalletError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<WalletError> for TurnError {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Chain(error) => Self::Chain(error),
            other => Self::Wallet(other),
        }
    }
}

/// What the service works with.
pub struct ChainParts {
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Its wallet.
    pub wallet: Wallet,
    /// The wallet's keys.
    pub signer: Arc<dyn ChainSigner>,
    /// The anchorer, while it is here.
    pub view: AnchorView,
    /// Where it is told.
    pub inbox: AnchorInbox,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The service at work.
pub struct ChainService {
    thread: WorkerThread,
    handle: ChainHandle,
}

impl ChainService {
    /// Starts it on a thread of its own. Returns at once; a node that is away is waited for.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        config: ChainConfig,
        parts: ChainParts,
        health: Health,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        metrics::describe();
        let (show, status) = watch::channel(ChainStatus::default());
        let wallet = Arc::new(Mutex::new(parts.wallet));
        let handle = ChainHandle {
            chain: parts.chain.clone(),
            wallet: wallet.clone(),
            view: parts.view.clone(),
            inbox: parts.inbox.clone(),
            status,
        };
        let worker = Turner {
            config,
            chain: parts.chain,
            wallet,
            signer: parts.signer,
            view: parts.view,
            inbox: parts.inbox,
            clock: parts.clock,
            health,
            show,
            asked_ms: None,
            fee_ms: None,
            told_fee: None,
            told: None,
            signed: HashMap::new(),
            broadcast: HashMap::new(),
        };
        let thread = WorkerThread::spawn("chain", Urgency::Answering, move || worker.run(stop))?;
        Ok(Self { thread, handle })
    }

    /// For those who ask and wish.
    pub fn handle(&self) -> ChainHandle {
        self.handle.clone()
    }

    /// Waits for its end. Cancel `stop` first.
    pub async fn join(self) {
        self.thread.join().await;
    }
}

/// Turns, one after the other.
pub(crate) struct Turner {
    config: ChainConfig,
    chain: Arc<dyn Chain>,
    wallet: Arc<Mutex<Wallet>>,
    signer: Arc<dyn ChainSigner>,
    view: AnchorView,
    inbox: AnchorInbox,
    clock: Arc<dyn Clock>,
    health: Health,
    show: watch::Sender<ChainStatus>,
    /// When, and at which block, the node's mempool was asked last.
    asked_ms: Option<(u64, bitcoin::BlockHash)>,
    fee_ms: Option<(u64, bitcoin::BlockHash)>,
    told_fee: Option<u64>,
    /// What was told last, and when: it may still be on its way.
    told: Option<(Vec<AnchorInput>, u64)>,
    /// Transactions that are on their way through the log, by anchor: id and when.
    signed: HashMap<u64, (look::Hash, u64)>,
    /// When a transaction was handed to the node.
    broadcast: HashMap<look::Hash, u64>,
}

impl Turner {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let turned = tokio::select! {
                turned = self.turn() => turned,
                () = stop.cancelled() => return,
            };
            self.judge(&turned);
            let tip = self.wallet.lock().await.tip();
            let Self { config, chain, view, clock, .. } = &mut self;
            let wait = async {
                // Not more often than this, whatever happens.
                clock.sleep_ms(config.pause_ms).await;
                if turned.is_err() {
                    clock.sleep_ms(config.retry_ms).await;
                    return;
                }
                tokio::select! {
                    moved = chain.changed(tip.hash) => if moved.is_err() {
                        clock.sleep_ms(config.retry_ms).await;
                    },
                    changed = view.changed() => if changed.is_err() {
                        clock.sleep_ms(config.ask_ms).await;
                    },
                    () = clock.sleep_ms(config.ask_ms) => {}
                }
            };
            tokio::select! {
                () = wait => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Says how it went.
    fn judge(&self, turned: &Result<(), TurnError>) {
        match turned {
            Ok(()) => self.health.well(NODE),
            Err(error) => {
                tracing::warn!(%error, "the chain could not be looked at or acted on");
                match error {
                    // The file is behind memory: only opening it again helps.
                    TurnError::Wallet(
                        WalletError::Io { .. } | WalletError::Closed | WalletError::Foreign { .. },
                    ) => self.health.fatal(NODE, error.to_string()),
                    _ => self.health.degraded(NODE, error.to_string()),
                }
            }
        }
        let error = turned.as_ref().err().map(ToString::to_string);
        self.show.send_modify(|status| status.problem = error);
    }

    /// Looks once, and acts once. What one part cannot do does not hold up the others.
    async fn turn(&mut self) -> Result<(), TurnError> {
        while !self.catch_up().await? {}
        let anchorer = self.view.borrow_and_update().clone();
        let Some(anchorer) = anchorer else {
            self.health.well(ANCHORS);
            return Ok(());
        };
        let inputs = self.look(&anchorer).await?;
        if !inputs.is_empty() {
            self.tell(inputs).await?;
            // What is wanted may be another thing once the anchorer knows.
            return Ok(());
        }
        self.told = None;
        let wants = anchorer.wants();
        let problems = self.act(&anchorer, wants).await?;
        let alerts = anchorer.alerts();
        metrics::alerts(&alerts);
        metrics::day_cost(anchorer.day_cost_sat(self.clock.now_ms()));
        let words: Vec<String> = alerts.iter().map(ToString::to_string).chain(problems).collect();
        match words.is_empty() {
            true => self.health.well(ANCHORS),
            false => self.health.degraded(ANCHORS, words.join("; ")),
        }
        Ok(())
    }

    /// Shows the wallet new blocks; whether it has all.
    async fn catch_up(&self) -> Result<bool, TurnError> {
        let mut wallet = self.wallet.lock().await;
        let done = wallet.catch_up(&self.chain, BLOCKS_AT_ONCE).await;
        let (tip, balance) = (wallet.tip(), wallet.balance());
        metrics::wallet(&tip, &balance);
        self.show.send_modify(|status| {
            status.tip = Some(tip);
            status.balance = balance;
        });
        Ok(done?)
    }

    /// What the anchorer does not know yet.
    async fn look(&mut self, anchorer: &Anchorer) -> Result<Vec<AnchorInput>, TurnError> {
        let now = self.clock.now_ms();
        let (look, tip) = {
            let wallet = self.wallet.lock().await;
            let tip = wallet.tip().hash;
            let asks = due(self.asked_ms, now, tip, self.config.ask_ms);
            if asks {
                self.asked_ms = Some((now, tip));
            }
            (gather::Look::begin(anchorer, &wallet, asks), tip)
        };
        let found = look.finish(&self.chain).await?;
        let mut inputs = look::tell(anchorer, &found);
        if due(self.fee_ms, now, tip, self.config.ask_ms) {
            let estimate = self.chain.fee_rate(self.config.fee_target).await?;
            let sat_per_kvb = estimate.rate.to_sat_per_kwu().saturating_mul(4);
            self.fee_ms = Some((now, tip));
            metrics::fee(sat_per_kvb);
            self.show.send_modify(|status| {
                status.fee_sat_per_kvb = Some(sat_per_kvb);
                status.fee_is_floor = estimate.source == FeeSource::Floor;
            });
            // A twentieth is not worth a record.
            let differs = |told: u64| told.abs_diff(sat_per_kvb) > told / 20;
            if self.told_fee.is_none_or(differs) {
                inputs.push(AnchorInput::Fee(sat_per_kvb));
            }
        }
        Ok(inputs)
    }

    /// Puts it on the log, unless it is there already and only not read yet.
    async fn tell(&mut self, inputs: Vec<AnchorInput>) -> Result<(), TurnError> {
        let now = self.clock.now_ms();
        if let Some((told, at)) = &self.told
            && *told == inputs
            && now.abs_diff(*at) < REPEAT_MS
        {
            return Ok(());
        }
        for part in inputs.chunks(TELL_MAX) {
            self.inbox.tell(part).await?;
        }
        for input in &inputs {
            match input {
                AnchorInput::Fee(sat_per_kvb) => self.told_fee = Some(*sat_per_kvb),
                AnchorInput::Confirmed { .. } => metrics::confirmed(),
                AnchorInput::Disconnected(height) => {
                    tracing::info!(height, "the chain was reorganised");
                    metrics::reorganised();
                }
                _ => {}
            }
        }
        self.told = Some((inputs, now));
        Ok(())
    }
}

/// Whether something should be asked again: a new block came, or the time did. The clock may have been set back.
fn due(last: Option<(u64, bitcoin::BlockHash)>, now: u64, tip: bitcoin::BlockHash, every_ms: u64) -> bool {
    last.is_none_or(|(at, block)| block != tip || now.abs_diff(at) >= every_ms)
}
