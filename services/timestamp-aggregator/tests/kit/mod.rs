//! A whole aggregator with the chain's part on embedded engines, over whatever chain; and what must hold of it.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Block, BlockHash, FeeRate, Transaction};
use bytes::Bytes;
use eschaton_core::{Table, Topic, TopicPartition};
use eschaton_driver::scan_all;
use eschaton_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, OsRng, StoreOptions, SystemClock};
use eschaton_kit::{Health, Ports};
use eschaton_onchain::{SeedSigner, Wallet, WalletConfig};
use eschaton_ots::{Chain as OfChain, verify};
use eschaton_ports::chain::{
    Acceptance, BlockRef, Broadcast, Chain, ChainError, ChainHeader, ChainIdentity, ChainSigner, FeeEstimate,
    FeeSource, Purpose, TxStatus, Watched,
};
use eschaton_ports::{Clock, NewRecord};
use eschaton_timestamp::rows::{Place, anchor_key, digest_key, shard_of};
use eschaton_timestamp::{Anchor, Anchorer, AnchorerConfig, Item, StampInput, proof};
use timestamp_aggregator::chain::{ChainConfig, ChainHandle, ChainParts, ChainService};
use timestamp_aggregator::{Aggregator, AggregatorConfig};
use tokio_util::sync::CancellationToken;

pub(crate) const SHARDS: u32 = 2;
pub(crate) const SEED: [u8; 32] = [42; 32];
/// Satoshi for 1,000 virtual bytes.
pub(crate) const FEE_CAP: u64 = 50_000;

/// A chain with faults: away at will, and any fee.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Chain>,
    pub(crate) away: AtomicBool,
    /// Satoshi for 1,000 virtual bytes; 0: as it is.
    pub(crate) fee: AtomicU64,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn Chain>) -> Arc<Self> {
        Arc::new(Self { inner, away: AtomicBool::new(false), fee: AtomicU64::new(0) })
    }

    fn there(&self) -> Result<&dyn Chain, ChainError> {
        match self.away.load(Ordering::SeqCst) {
            false => Ok(self.inner.as_ref()),
            true => Err(ChainError::Away { node: "here".to_owned(), detail: "it was stopped".to_owned() }),
        }
    }
}

#[async_trait]
impl Chain for Faulty {
    fn identity(&self) -> ChainIdentity {
        self.inner.identity()
    }
    async fn tip(&self) -> Result<BlockRef, ChainError> {
        self.there()?.tip().await
    }
    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        self.there()?.hash_at(height).await
    }
    async fn header(&self, hash: BlockHash) -> Result<Option<ChainHeader>, ChainError> {
        self.there()?.header(hash).await
    }
    async fn headers(&self, from: u32, max: u32) -> Result<Vec<ChainHeader>, ChainError> {
        self.there()?.headers(from, max).await
    }
    async fn block(&self, hash: BlockHash) -> Result<Option<Arc<Block>>, ChainError> {
        self.there()?.block(hash).await
    }
    async fn broadcast(&self, transaction: &Transaction) -> Result<Broadcast, ChainError> {
        self.there()?.broadcast(transaction).await
    }
    async fn broadcast_package(&self, transactions: &[Transaction]) -> Result<Vec<Broadcast>, ChainError> {
        self.there()?.broadcast_package(transactions).await
    }
    async fn accepts(&self, transaction: &Transaction) -> Result<Acceptance, ChainError> {
        self.there()?.accepts(transaction).await
    }
    async fn status(&self, watched: &Watched) -> Result<TxStatus, ChainError> {
        self.there()?.status(watched).await
    }
    async fn fee_rate(&self, target: u16) -> Result<FeeEstimate, ChainError> {
        match self.fee.load(Ordering::SeqCst) {
            0 => self.there()?.fee_rate(target).await,
            fee => {
                self.there()?;
                let rate = FeeRate::from_sat_per_kwu(fee.div_ceil(4));
                Ok(FeeEstimate { rate, source: FeeSource::Estimate { target } })
            }
        }
    }
    async fn changed(&self, seen: BlockHash) -> Result<(), ChainError> {
        self.there()?.changed(seen).await
    }
}

/// The system's clock, moved.
pub(crate) struct Moved(pub(crate) AtomicI64);

#[async_trait]
impl Clock for Moved {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms().saturating_add_signed(self.0.load(Ordering::SeqCst))
    }
    async fn sleep_ms(&self, ms: u64) {
        SystemClock.sleep_ms(ms).await;
    }
}

/// One installation's disk and chain, over several lives of its process.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) chain: Arc<Faulty>,
    pub(crate) clock: Arc<Moved>,
    /// Acknowledged: their record was durable.
    pub(crate) stamped: Vec<(u32, Bytes)>,
    pub(crate) round: u32,
}

/// A life of the process.
pub(crate) struct Life {
    pub(crate) ports: Ports,
    pub(crate) health: Health,
    pub(crate) handle: ChainHandle,
    stop: CancellationToken,
    aggregator: Aggregator,
    service: ChainService,
}

pub(crate) fn anchorer_config() -> AnchorerConfig {
    AnchorerConfig {
        anchor_ms: 1,
        final_blocks: 3,
        buried_blocks: 6,
        fee_cap_sat_per_kvb: FEE_CAP,
        ..AnchorerConfig::new(SHARDS)
    }
}

impl World {
    pub(crate) fn new(dir: &Path, chain: Arc<dyn Chain>) -> Self {
        let clock = Arc::new(Moved(AtomicI64::new(0)));
        Self { dir: dir.to_owned(), chain: Faulty::over(chain), clock, stamped: Vec::new(), round: 0 }
    }

    pub(crate) async fn live(&self) -> Life {
        let (log, _) = EmbeddedLog::open(&self.dir.join("log"), &LogOptions::new(SHARDS)).unwrap();
        let (store, _) = EmbeddedStore::open(&self.dir.join("store"), &StoreOptions::default()).unwrap();
        let ports = Ports {
            log: Arc::new(log),
            store: Arc::new(store),
            clock: self.clock.clone(),
            rng: Arc::new(OsRng::new().unwrap()),
            signer: None,
        };
        let (health, stop) = (Health::default(), CancellationToken::new());
        let config =
            AggregatorConfig { interval_ms: 5, anchorer: anchorer_config(), ..AggregatorConfig::new(SHARDS) };
        let aggregator = Aggregator::start(&config, &ports, &health, &stop);
        let identity = self.chain.identity();
        let signer = SeedSigner::new(&SEED, &identity, Purpose::Taproot).unwrap();
        let config = WalletConfig { path: self.dir.join("wallet"), birthday: 0 };
        let wallet = Wallet::open(&config, identity, &signer.account()).unwrap();
        let parts = ChainParts {
            chain: self.chain.clone(),
            wallet,
            signer: Arc::new(signer),
            view: aggregator.anchors(),
            inbox: aggregator.inbox(),
            clock: self.clock.clone(),
        };
        let config = ChainConfig { pause_ms: 10, ask_ms: 100, retry_ms: 20, ..ChainConfig::new(FEE_CAP) };
        let service = ChainService::start(config, parts, health.clone(), stop.clone()).unwrap();
        Life { ports, health, handle: service.handle(), stop, aggregator, service }
    }

    /// Ten digests for each shard.
    pub(crate) async fn stamp(&mut self, life: &Life) {
        self.round += 1;
        for shard in 0..SHARDS {
            let digest = |number: u8| {
                let digest = |salt: u32| {
                    Bytes::from([&salt.to_be_bytes()[..], &self.round.to_be_bytes(), &[number]].concat())
                };
                let belongs = |digest: &Bytes| shard_of(&digest_key(digest).unwrap(), SHARDS) == shard;
                (0..).map(digest).find(belongs).unwrap()
            };
            let digests: Vec<Bytes> = (0..10).map(digest).collect();
            let nonce = |number: usize| {
                let mut nonce = [u8::try_from(number).unwrap(); 16];
                nonce[..4].copy_from_slice(&self.round.to_be_bytes());
                nonce
            };
            let item =
                |(number, digest): (usize, &Bytes)| Item { nonce: nonce(number), digest: digest.clone() };
            let payload = StampInput::Digests(digests.iter().enumerate().map(item).collect()).encode();
            let to = TopicPartition { topic: Topic::Stamps, partition: shard };
            let record = NewRecord { to, at_ms: life.ports.clock.now_ms(), id: None, trace: None, payload };
            life.ports.log.append(vec![record]).await.unwrap();
            self.stamped.extend(digests.into_iter().map(|digest| (shard, digest)));
        }
    }

    /// T1 of everything that was stamped, from the rows and the chain alone: every proof is complete, and no anchor is in
    /// the chain twice.
    pub(crate) async fn judge(&self, life: &Life) {
        let mut rows = HashMap::new();
        for table in [Table::Digests, Table::Intervals, Table::Anchors] {
            rows.extend(scan_all(life.ports.store.as_ref(), table, b"").await.unwrap());
        }
        let read = |key: &[u8]| rows.get(key).cloned();
        let chain = &self.chain.inner;
        let mut roots = HashMap::new();
        for (shard, digest) in &self.stamped {
            let key = digest_key(digest).unwrap();
            let place = Place::from_row(&key, &rows[&key]).unwrap();
            let path = proof::interval_path(digest, *shard, place, &read).unwrap();
            let root = proof::root_place(&path.root, &read).unwrap().unwrap();
            let anchor = Anchor::from_row(root.anchor, &rows[&anchor_key(root.anchor)]).unwrap();
            let above = proof::anchor_path(&path.root, root, anchor.count, &read).unwrap();
            let block =
                anchor.block.as_ref().unwrap_or_else(|| panic!("anchor {} is in no block", anchor.number));
            let known = proof::block_timestamp(
                &above.root,
                &anchor.confirmed().unwrap().transaction,
                &block.branch,
                OfChain::Bitcoin,
                block.height,
            )
            .unwrap();
            let whole = proof::answer([path.ops, above.ops].concat(), &[&known]).unwrap();
            let height = u32::try_from(block.height).unwrap();
            let hash = chain.hash_at(height).await.unwrap().unwrap();
            let header: [u8; 80] =
                serialize(&chain.header(hash).await.unwrap().unwrap().header).try_into().unwrap();
            let report = verify(digest, &whole, |_, of| {
                Ok::<_, std::convert::Infallible>((of == block.height).then_some(header))
            })
            .unwrap();
            assert!(report.is_complete(), "{report:?}");
            roots.insert(anchor.root, 0);
        }
        // Each in the chain once.
        let tip = chain.tip().await.unwrap().height;
        for height in 0..=tip {
            let hash = chain.hash_at(height).await.unwrap().unwrap();
            let block = chain.block(hash).await.unwrap().unwrap();
            for output in block.txdata.iter().flat_map(|transaction| &transaction.output) {
                let script = output.script_pubkey.as_bytes();
                if let Some(count) = script.strip_prefix(&[0x6a, 0x20]).and_then(|root| roots.get_mut(root)) {
                    *count += 1;
                }
            }
        }
        assert!(!roots.is_empty() && roots.values().all(|count| *count == 1), "{roots:?}");
    }
}

impl Life {
    /// Waits until the anchorer, as it shows itself, is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Anchorer) -> bool) -> Arc<Anchorer> {
        let mut view = self.aggregator.anchors();
        let wait = view.wait_for(|view| view.as_ref().is_some_and(|anchorer| is(anchorer)));
        match tokio::time::timeout(Duration::from_secs(40), wait).await {
            Ok(found) => found.unwrap().clone().unwrap(),
            Err(_) => {
                let anchorer = self.handle.anchorer();
                panic!(
                    "not {what}: {:?} {:?}; problems {:?}; status {:?}; wants {:?}",
                    anchorer.as_ref().map(|anchorer| anchorer.waiting()),
                    anchorer.as_ref().map(|of| of.anchors().cloned().collect::<Vec<_>>()),
                    self.health.problems(),
                    self.handle.status(),
                    anchorer.as_ref().map(|anchorer| anchorer.wants()),
                )
            }
        }
    }

    /// All that was stamped is in anchors with a transaction in the mempool or a block.
    pub(crate) async fn under_way(&self) -> Arc<Anchorer> {
        self.until("under way", |anchorer| {
            // As many as may be are under way, or nothing waits.
            let unconfirmed = anchorer.anchors().filter(|anchor| anchor.block.is_none()).count();
            (anchorer.waiting().0 == 0 || unconfirmed >= anchorer_config().in_flight_max)
                && anchorer.anchors().count() > 0
                && anchorer.anchors().all(|anchor| anchor.attempts.last().is_some_and(|attempt| attempt.seen))
        })
        .await
    }

    /// Waits until health says this.
    pub(crate) async fn says(&self, word: &str) {
        let wait = async {
            while !self.health.problems().iter().any(|problem| problem.contains(word)) {
                SystemClock.sleep_ms(5).await;
            }
        };
        let said = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(said.is_ok(), "nobody says {word}: {:?}", self.health.problems());
    }

    /// Waits until all is well.
    pub(crate) async fn is_well(&self) {
        let wait = async {
            while !self.health.problems().is_empty() {
                SystemClock.sleep_ms(5).await;
            }
        };
        let well = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(well.is_ok(), "{:?}", self.health.problems());
    }

    /// Ends it in an orderly way.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.service.join().await;
        self.aggregator.join().await;
        assert!(self.ports.store.flush().await.is_ok());
    }
}

/// The transaction that the wallet of the same keys in other hands would make.
pub(crate) fn parsed(raw: &[u8]) -> Transaction {
    deserialize(raw).unwrap()
}
