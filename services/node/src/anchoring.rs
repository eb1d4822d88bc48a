//! The chain under the timestamps: which one, its wallet, and the service over both. Without settings a development node
//! has a private Bitcoin chain in its own process, whose first blocks pay the wallet.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, ScriptBuf, WPubkeyHash};
use eschaton_chain::{RpcChain, RpcConfig};
use eschaton_embedded::open_seed;
use eschaton_kit::{Health, Ports};
use eschaton_onchain::{SeedSigner, Wallet, WalletConfig};
use eschaton_ots::CalendarUri;
use eschaton_ports::Clock;
use eschaton_ports::chain::{Chain, ChainSigner, Coin, Purpose};
use eschaton_regtest::{RegtestChain, RegtestConfig, RpcOptions, RpcServer};
use eschaton_timestamp::AnchorerConfig;
use timestamp_aggregator::Aggregator;
use timestamp_aggregator::chain::{ChainConfig, ChainGrpc, ChainHandle, ChainParts, ChainService, Miner};
use tokio_util::sync::CancellationToken;

use crate::NodeConfig;

/// The secret that the wallet's keys follow from, mode 0600, beside the node's key.
const WALLET_KEY: &str = "wallet.key";
/// Coins that a private chain's first blocks pay the wallet, and blocks until they may be spent.
const COINS: u32 = 4;
const MATURE: u32 = 100;
/// Part in health.
const PART: &str = "regtest";

/// Which chain carries the anchors.
#[derive(Clone, Debug)]
pub enum ChainSource {
    /// None: intervals gather, and wait.
    None,
    /// A private Bitcoin chain in this process.
    Embedded {
        /// Where it answers JSON-RPC; port 0 picks a free one.
        rpc: SocketAddr,
        /// How often a block is mined while something waits for one, ms; 0: on demand alone.
        mine_ms: u64,
    },
    /// A node's.
    Node(Box<RpcConfig>),
}

/// What anchors are set to.
#[derive(Clone, Debug)]
pub struct AnchorConfig {
    /// The chain.
    pub chain: ChainSource,
    /// Least time between two anchors, ms.
    pub interval_ms: u64,
    /// Blocks within which one should confirm.
    pub fee_target: u16,
    /// Most that is paid, satoshi for 1,000 virtual bytes.
    pub fee_cap_sat_per_kvb: u64,
    /// Blocks after which one is final, its own included.
    pub confirmations: u32,
    /// No block below this height pays the wallet.
    pub birthday: u32,
    /// Calendars that stamp every anchor's root, beside the chain or instead of it.
    pub upstream: Vec<CalendarUri>,
    /// How often they are asked for a proof that they promised, ms.
    pub upstream_ask_ms: u64,
}

impl Default for AnchorConfig {
    fn default() -> Self {
        Self {
            chain: ChainSource::None,
            interval_ms: 600_000,
            fee_target: 6,
            fee_cap_sat_per_kvb: 100_000,
            confirmations: 6,
            birthday: 0,
            upstream: Vec::new(),
            upstream_ask_ms: 60_000,
        }
    }
}

impl AnchorConfig {
    /// Which chain proofs name.
    pub(crate) fn attests(&self) -> eschaton_ots::Chain {
        match &self.chain {
            ChainSource::Node(rpc) if eschaton_chain::identity(rpc.kind).coin == Coin::Litecoin => {
                eschaton_ots::Chain::Litecoin
            }
            _ => eschaton_ots::Chain::Bitcoin,
        }
    }

    /// No chain carries anchors, other calendars do.
    pub(crate) fn upstream_only(&self) -> bool {
        matches!(self.chain, ChainSource::None) && !self.upstream.is_empty()
    }

    /// The anchorer's settings.
    pub(crate) fn anchorer(&self, shards: u32) -> AnchorerConfig {
        AnchorerConfig {
            anchor_ms: self.interval_ms,
            fee_cap_sat_per_kvb: self.fee_cap_sat_per_kvb,
            final_blocks: self.confirmations.into(),
            upstream_only: self.upstream_only(),
            ..AnchorerConfig::new(shards)
        }
    }
}

/// The chain's part of a running node.
pub(crate) struct Anchoring {
    service: ChainService,
    grpc: ChainGrpc,
    rpc: Option<RpcServer>,
}

impl Anchoring {
    /// Opens the chain and the wallet, and starts the service; none without a chain.
    pub(crate) async fn start(
        config: &NodeConfig,
        ports: &Ports,
        aggregator: &Aggregator,
        health: &Health,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let clock = ports.clock.clone();
        let (chain, private): (Arc<dyn Chain>, _) = match &config.anchor.chain {
            ChainSource::None => return Ok(None),
            ChainSource::Node(rpc) => (Arc::new(RpcChain::new((**rpc).clone(), clock.clone())), None),
            ChainSource::Embedded { rpc, mine_ms } => {
                let dir = RegtestConfig::new(wallet_dir(config)?.join("chain"));
                let opened = {
                    let clock = clock.clone();
                    tokio::task::spawn_blocking(move || RegtestChain::open(&dir, clock)).await?
                };
                let chain = opened.context("the private chain does not open")?;
                let options = RpcOptions { listen: *rpc, login: None };
                let server = RpcServer::start(chain.clone(), options).await.with_context(|| {
                    format!("address {rpc} of the private chain cannot be used; choose another as chain_rpc")
                })?;
                (Arc::new(chain.clone()), Some((chain, server, *mine_ms)))
            }
        };
        let identity = chain.identity();
        let purpose = if identity.coin == Coin::Litecoin { Purpose::Segwit } else { Purpose::Taproot };
        let seed = open_seed(&config.keys()?.join(WALLET_KEY), ports.rng.as_ref())?;
        let signer = SeedSigner::new(&seed, &identity, purpose)?;
        let path = wallet_dir(config)?.join(wallet_file(config));
        let wallet_config = WalletConfig { path, birthday: config.anchor.birthday };
        let mut wallet = {
            let account = signer.account();
            tokio::task::spawn_blocking(move || Wallet::open(&wallet_config, identity, &account)).await??
        };
        if let Some((chain, ..)) = &private {
            fund(chain, &mut wallet).await.context("the private chain gives the wallet no coins")?;
        }
        let parts = ChainParts {
            chain,
            wallet,
            signer: Arc::new(signer),
            view: aggregator.anchors(),
            inbox: aggregator.inbox(),
            clock: clock.clone(),
        };
        let chain_config = ChainConfig {
            fee_target: config.anchor.fee_target,
            ..ChainConfig::new(config.anchor.fee_cap_sat_per_kvb)
        };
        let service = ChainService::start(chain_config, parts, health.clone(), stop.clone())?;
        let handle = service.handle();
        let miner = private.as_ref().map(|(chain, ..)| Arc::new(Private(chain.clone())) as Arc<dyn Miner>);
        let grpc = ChainGrpc::new(handle.clone(), miner, config.anchor.fee_cap_sat_per_kvb);
        let rpc = private.map(|(chain, server, mine_ms)| {
            tokio::spawn(mine(chain, handle, clock, mine_ms, health.clone(), stop.clone()));
            server
        });
        Ok(Some(Self { service, grpc, rpc }))
    }

    /// For who shows how the chain fares.
    pub(crate) fn handle(&self) -> ChainHandle {
        self.service.handle()
    }

    pub(crate) fn grpc(&self) -> ChainGrpc {
        self.grpc.clone()
    }

    /// Where a private chain answers JSON-RPC.
    pub(crate) fn rpc(&self) -> Option<SocketAddr> {
        self.rpc.as_ref().map(RpcServer::address)
    }

    pub(crate) async fn join(self) {
        self.service.join().await;
    }
}

/// The directory for what the chain's part keeps. It may be lost: keys and chain give it anew.
fn wallet_dir(config: &NodeConfig) -> anyhow::Result<PathBuf> {
    Ok(match &config.engines {
        crate::Engines::Embedded { data_dir } => data_dir.clone(),
        #[cfg(feature = "cluster")]
        crate::Engines::Cluster { .. } => config.keys()?.to_owned(),
    })
}

/// Processes of a cluster may share a directory, and each has a wallet file of its own.
fn wallet_file(config: &NodeConfig) -> String {
    match &config.engines {
        crate::Engines::Embedded { .. } => "wallet".to_owned(),
        #[cfg(feature = "cluster")]
        crate::Engines::Cluster { .. } => {
            let name = config.advertise.clone().unwrap_or_else(|| config.grpc.to_string());
            format!("wallet-{}", name.replace(|char: char| !char.is_ascii_alphanumeric(), "-"))
        }
    }
}

/// The chain of this process, for who mines on demand.
struct Private(RegtestChain);

#[async_trait]
impl Miner for Private {
    async fn mine(&self, blocks: u32) -> Result<Vec<BlockHash>, String> {
        self.0.mine(blocks, nobody()).await.map_err(|error| error.to_string())
    }
}

/// A script that nobody has the key of: more coins are of no use on a private chain.
fn nobody() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::all_zeros())
}

/// Mines while an anchor waits for a block.
async fn mine(
    chain: RegtestChain,
    handle: ChainHandle,
    clock: Arc<dyn Clock>,
    mine_ms: u64,
    health: Health,
    stop: CancellationToken,
) {
    if mine_ms == 0 {
        return;
    }
    let work = async {
        loop {
            clock.sleep_ms(mine_ms).await;
            let waits = handle.anchorer().is_some_and(|anchorer| {
                anchorer.anchors().any(|anchor| !anchor.attempts.is_empty() && !anchor.is_final)
            });
            if !waits {
                continue;
            }
            match chain.mine(1, nobody()).await {
                Ok(_) => health.well(PART),
                Err(error) => health.degraded(PART, error.to_string()),
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Once, at the first start: the first blocks pay the wallet, those after them nobody. Goes on where a crash left it.
async fn fund(chain: &RegtestChain, wallet: &mut Wallet) -> anyhow::Result<()> {
    let height = chain.tip().await?.height;
    let missing = COINS.saturating_sub(height);
    if missing > 0 {
        chain.mine(missing, wallet.script()?).await?;
    }
    let missing = (COINS + MATURE).saturating_sub(height.max(COINS));
    if missing > 0 {
        chain.mine(missing, nobody()).await?;
    }
    Ok(())
}
