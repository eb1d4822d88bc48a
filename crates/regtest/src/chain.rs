use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::consensus::serialize;
use bitcoin::{Block, BlockHash, FeeRate, ScriptBuf, Transaction};
use eschaton_headers::decode_block;
use eschaton_ports::Clock;
use eschaton_ports::chain::{
    Acceptance, BlockRef, Broadcast, Chain, ChainError, ChainHeader, ChainIdentity, ChainNetwork, Coin,
    FeeEstimate, FeeSource, HEADERS_MAX, PACKAGE_TXS_MAX, TxStatus, Watched,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::file::BlockFile;
use crate::ledger::{Ledger, Submitted};
use crate::mempool::{Mempool, Refusal};
use crate::{RegtestConfig, RegtestError, mine, standard};

/// The most blocks of one call.
pub(crate) const MINE_MAX: u32 = 10_000;
/// How long a wait for a block may last.
const WAIT: Duration = Duration::from_secs(10);
/// What errors name as the node.
const NODE: &str = "the embedded regtest chain";

pub(crate) struct Inner {
    pub(crate) ledger: Ledger,
    pub(crate) mempool: Mempool,
    file: BlockFile,
    bytes_max: u64,
    /// A write failed: memory is ahead of what counts.
    closed: bool,
}

/// A private Bitcoin chain in this process. Clones are the same chain.
#[derive(Clone)]
pub struct RegtestChain {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
    tip: Arc<watch::Sender<BlockHash>>,
}

impl RegtestChain {
    /// Opens a chain, or makes one that has the genesis block alone. Reads and checks all its blocks.
    pub fn open(config: &RegtestConfig, clock: Arc<dyn Clock>) -> Result<Self, RegtestError> {
        let (file, blocks) = BlockFile::open(&config.dir, config.bytes_max)?;
        let mut inner = Inner {
            ledger: Ledger::new(),
            mempool: Mempool::default(),
            file,
            bytes_max: config.bytes_max,
            closed: false,
        };
        for (number, bytes) in (1_u64..).zip(&blocks) {
            let damaged = |detail: String| RegtestError::Damaged {
                path: config.dir.join("blocks"),
                at: 0,
                detail: format!("block {number} of the file is refused: {detail}"),
            };
            let block = decode_block(bytes).map_err(|error| damaged(error.to_string()))?;
            inner.ledger.submit(Arc::new(block), None).map_err(damaged)?;
        }
        let (tip, _) = watch::channel(inner.ledger.tip().hash);
        Ok(Self { inner: Arc::new(Mutex::new(inner)), clock, tip: Arc::new(tip) })
    }

    /// Takes a block in, on whatever branch; it is on the disk when this returns. One that is known is fine.
    pub async fn submit_block(&self, bytes: Vec<u8>) -> Result<(), RegtestError> {
        let now = self.now_s();
        self.blocking(move |inner| {
            let refused =
                |error: eschaton_headers::BlockError| RegtestError::Block { detail: error.to_string() };
            inner.submit(decode_block(&bytes).map_err(refused)?, now)
        })
        .await
    }

    /// Mines blocks on the tip, with what waits in the mempool; at most 10,000. Each is on the disk when this returns.
    pub async fn mine(&self, count: u32, pay_to: ScriptBuf) -> Result<Vec<BlockHash>, RegtestError> {
        if count > MINE_MAX {
            return Err(RegtestError::Block { detail: format!("{count} at once; possible are {MINE_MAX}") });
        }
        let mut hashes = Vec::new();
        for _ in 0..count {
            let (pay_to, now) = (pay_to.clone(), self.now_s());
            let mined = self.blocking(move |inner| {
                let block = mine::block(&inner.ledger, &inner.mempool, &pay_to, now);
                let block =
                    block.ok_or_else(|| RegtestError::Block { detail: "none can be made".to_owned() })?;
                let hash = block.block_hash();
                inner.submit(block, now).map(|()| hash)
            });
            hashes.push(mined.await?);
        }
        Ok(hashes)
    }

    /// Mines a block every so many milliseconds, for ever; ends with an error. Drop the future to stop.
    pub async fn mine_every(&self, every_ms: u64, pay_to: ScriptBuf) -> RegtestError {
        loop {
            self.clock.sleep_ms(every_ms.max(1)).await;
            if let Err(error) = self.mine(1, pay_to.clone()).await {
                return error;
            }
        }
    }

    fn now_s(&self) -> u32 {
        u32::try_from(self.clock.now_ms() / 1_000).unwrap_or(u32::MAX)
    }

    /// Runs what may wait for the disk off the runtime's threads, then shows the tip.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, RegtestError> + Send + 'static,
    ) -> Result<T, RegtestError> {
        let (inner, tip) = (self.inner.clone(), self.tip.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut inner = inner.lock();
            let done = work(&mut inner);
            let hash = inner.ledger.tip().hash;
            if !inner.closed {
                tip.send_if_modified(|shown| std::mem::replace(shown, hash) != hash);
            }
            done
        });
        done.await.unwrap_or(Err(RegtestError::Closed))
    }

    /// What is shown to callers is on the disk: who changes it holds the lock until it is.
    pub(crate) fn look(&self) -> Result<MutexGuard<'_, Inner>, ChainError> {
        let inner = self.inner.lock();
        match inner.closed {
            false => Ok(inner),
            true => Err(ChainError::Away { node: NODE.to_owned(), detail: RegtestError::Closed.to_string() }),
        }
    }
}

impl Inner {
    fn submit(&mut self, block: Block, now: u32) -> Result<(), RegtestError> {
        if self.closed {
            return Err(RegtestError::Closed);
        }
        let hash = block.block_hash();
        if self.ledger.node(&hash).is_some() {
            return Ok(());
        }
        let bytes = serialize(&block);
        if self.file.length_with(bytes.len()) > self.bytes_max {
            return Err(RegtestError::Full { bytes_max: self.bytes_max });
        }
        let block = Arc::new(block);
        let submitted = self.ledger.submit(block.clone(), Some(now));
        let submitted = submitted.map_err(|detail| RegtestError::Block { detail })?;
        if let Err(error) = self.file.append(&bytes) {
            self.closed = true;
            return Err(error);
        }
        match submitted {
            Submitted::Known | Submitted::Side => {}
            Submitted::Best { undone } if undone.is_empty() => self.mempool.connected(&block),
            Submitted::Best { undone } => self.mempool.reorganised(&undone, &self.ledger),
        }
        Ok(())
    }

    fn header(&self, hash: BlockHash) -> Option<ChainHeader> {
        let node = self.ledger.node(&hash)?;
        let at = BlockRef { height: node.height, hash };
        let best = self.ledger.hash_at(node.height) == Some(hash);
        Some(ChainHeader { at, header: node.block.header, best })
    }

    fn broadcast(&mut self, transaction: &Transaction) -> Result<Broadcast, ChainError> {
        let txid = transaction.compute_txid();
        if self.ledger.place(&txid).is_some() {
            return Ok(Broadcast::InBlock);
        }
        if self.mempool.get(&txid).is_some() {
            return Ok(Broadcast::Known);
        }
        self.mempool.accept(transaction, &self.ledger).map_err(rejected)?;
        Ok(Broadcast::Accepted)
    }

    fn broadcast_package(&mut self, transactions: &[Transaction]) -> Result<Vec<Broadcast>, ChainError> {
        let mut done = Vec::new();
        let mut new = Vec::new();
        for transaction in transactions {
            let txid = transaction.compute_txid();
            done.push(if self.ledger.place(&txid).is_some() {
                Broadcast::InBlock
            } else if self.mempool.get(&txid).is_some() {
                Broadcast::Known
            } else {
                new.push(transaction);
                Broadcast::Accepted
            });
        }
        let before = self.mempool.clone();
        if let Err(refusal) = self.mempool.accept_package(&new, &self.ledger) {
            self.mempool = before;
            return Err(rejected(refusal));
        }
        Ok(done)
    }

    fn status(&self, watched: &Watched) -> Result<TxStatus, ChainError> {
        if let Some(block) = self.ledger.place(&watched.txid) {
            return Ok(TxStatus::InBlock { block, depth: self.ledger.tip().height - block.height + 1 });
        }
        if self.mempool.get(&watched.txid).is_some() {
            return Ok(TxStatus::InMempool);
        }
        let confirmed = watched.inputs.iter().find_map(|input| self.ledger.spender(input));
        if let Some((by, block)) = confirmed {
            return Ok(TxStatus::Conflicted { by: Some(by), block: Some(block) });
        }
        let waiting = watched.inputs.iter().find_map(|input| self.mempool.spender(input));
        Ok(waiting.map_or(TxStatus::Unknown, |by| TxStatus::Conflicted { by: Some(by), block: None }))
    }
}

fn rejected(refusal: Refusal) -> ChainError {
    ChainError::Rejected { class: refusal.class, detail: refusal.detail }
}

#[async_trait]
impl Chain for RegtestChain {
    fn identity(&self) -> ChainIdentity {
        let genesis = eschaton_headers::Params::bitcoin_regtest().genesis.block_hash();
        ChainIdentity { coin: Coin::Bitcoin, network: ChainNetwork::Regtest, genesis }
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        Ok(self.look()?.ledger.tip())
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        Ok(self.look()?.ledger.hash_at(height))
    }

    async fn header(&self, hash: BlockHash) -> Result<Option<ChainHeader>, ChainError> {
        Ok(self.look()?.header(hash))
    }

    async fn headers(&self, from: u32, max: u32) -> Result<Vec<ChainHeader>, ChainError> {
        let inner = self.look()?;
        let last = from.saturating_add(max.min(HEADERS_MAX));
        let hashes = (from..last).map_while(|height| inner.ledger.hash_at(height));
        Ok(hashes.filter_map(|hash| inner.header(hash)).collect())
    }

    async fn block(&self, hash: BlockHash) -> Result<Option<Arc<Block>>, ChainError> {
        Ok(self.look()?.ledger.node(&hash).map(|node| node.block.clone()))
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<Broadcast, ChainError> {
        self.look()?.broadcast(transaction)
    }

    async fn broadcast_package(&self, transactions: &[Transaction]) -> Result<Vec<Broadcast>, ChainError> {
        let invalid = |detail: &str| Err(ChainError::Invalid { detail: detail.to_owned() });
        let Some((child, parents)) = transactions.split_last() else {
            return invalid("a package without transactions");
        };
        if transactions.len() > PACKAGE_TXS_MAX {
            return invalid("a package of more than 25 transactions");
        }
        let spent = |parent: &Transaction| {
            let txid = parent.compute_txid();
            child.input.iter().any(|input| input.previous_output.txid == txid)
        };
        if !parents.iter().all(spent) {
            return invalid("a package whose last transaction does not spend all others");
        }
        self.look()?.broadcast_package(transactions)
    }

    async fn accepts(&self, transaction: &Transaction) -> Result<Acceptance, ChainError> {
        let mut inner = self.look()?;
        let before = inner.mempool.clone();
        let done = inner.broadcast(transaction);
        inner.mempool = before;
        match done {
            Ok(_) => Ok(Acceptance::Accepted),
            Err(ChainError::Rejected { class, detail }) => Ok(Acceptance::Rejected { class, detail }),
            Err(error) => Err(error),
        }
    }

    async fn status(&self, watched: &Watched) -> Result<TxStatus, ChainError> {
        self.look()?.status(watched)
    }

    async fn fee_rate(&self, target: u16) -> Result<FeeEstimate, ChainError> {
        if !(1..=1_008).contains(&target) {
            let detail = format!("a target of {target} blocks; possible are 1 to 1008");
            return Err(ChainError::Invalid { detail });
        }
        drop(self.look()?);
        let rate = FeeRate::from_sat_per_kwu(standard::RELAY_SAT_PER_KVB.div_ceil(4));
        Ok(FeeEstimate { rate, source: FeeSource::Floor })
    }

    async fn changed(&self, seen: BlockHash) -> Result<(), ChainError> {
        drop(self.look()?);
        let mut tip = self.tip.subscribe();
        // The sender lives as long as this chain does; an end of the wait is no error either.
        let _ = tokio::time::timeout(WAIT, tip.wait_for(|hash| *hash != seen)).await;
        Ok(())
    }
}
