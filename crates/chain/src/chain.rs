use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::{Block, BlockHash, Transaction};
use eschaton_headers::{Params, check_proof_of_work, decode_block};
use eschaton_ports::Clock;
use eschaton_ports::chain::{
    Acceptance, BlockRef, Broadcast, Chain, ChainError, ChainHeader, ChainIdentity, FeeEstimate, HEADERS_MAX,
    TxStatus, Watched,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::cache::Blocks;
use crate::call::{CallError, Caller};
use crate::dialect::{self, Dialect};
use crate::{RpcConfig, identity, params};

/// No such block, transaction or address: `RPC_INVALID_ADDRESS_OR_KEY`.
const NOT_FOUND: i64 = -5;
/// `RPC_INVALID_PARAMETER`: for a height, one above the tip.
const INVALID_PARAMETER: i64 = -8;
/// btcd's code for a height above the tip, and Bitcoin Core's for what has no code of its own.
const MISC: i64 = -1;
/// How long a wait for a block may last, in pauses of `poll_ms`.
const WAIT_MS: u64 = 10_000;
/// How far an abandoned branch is followed down where a node does not say heights of such.
const BRANCH_MAX: u32 = 2_016;

/// A chain through a node's JSON-RPC. Opening it needs no node: while there is none, every call says so.
pub struct RpcChain {
    pub(crate) caller: Caller,
    pub(crate) identity: ChainIdentity,
    params: Params,
    blocks: Blocks,
    /// The dialect that was found, and how often the node had been away then.
    known: Mutex<Option<(Dialect, u64)>>,
}

impl RpcChain {
    /// A chain with these settings.
    pub fn new(config: RpcConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            identity: identity(config.kind),
            params: params(config.kind),
            blocks: Blocks::new(config.cache_bytes),
            known: Mutex::new(None),
            caller: Caller::new(config, clock),
        }
    }

    /// The node's dialect. Asked, with the genesis block, at first and after each time that the node was away: another one may
    /// have come in its place.
    pub(crate) async fn dialect(&self) -> Result<Dialect, ChainError> {
        let absences = self.caller.absences();
        if let Some((dialect, at)) = *self.known.lock()
            && at == absences
        {
            return Ok(dialect);
        }
        let expected = self.identity.genesis;
        let found = self.caller.call("getblockhash", json!([0])).await;
        let found = found.map_err(|error| self.caller.unexpected("getblockhash", error))?;
        let found = self.hash(&found)?;
        if found != expected {
            return Err(ChainError::WrongNetwork { node: self.caller.node(), expected, found });
        }
        let dialect = dialect::detect(&self.caller).await?;
        // As it was before the questions: an absence during them asks again.
        *self.known.lock() = Some((dialect, absences));
        Ok(dialect)
    }

    /// Calls a method of a node that was found to be the right one.
    pub(crate) async fn call(&self, method: &'static str, params: Value) -> Result<Value, CallError> {
        self.dialect().await?;
        let absences = self.caller.absences();
        let result = self.caller.call(method, params).await;
        if self.caller.absences() != absences && result.is_ok() {
            // It was away in between: an answer counts when the node that gave it is the right one.
            self.dialect().await?;
        }
        result
    }

    pub(crate) fn hash(&self, value: &Value) -> Result<BlockHash, ChainError> {
        let hash = value.as_str().and_then(|hash| hash.parse().ok());
        hash.ok_or_else(|| self.caller.lying("a block hash that is none"))
    }

    /// The header of this hash, checked: its hash and its work.
    async fn raw_header(&self, hash: BlockHash) -> Result<Option<Header>, ChainError> {
        let value = match self.call("getblockheader", json!([hash.to_string(), false])).await {
            Ok(value) => value,
            Err(CallError::Rpc { code: NOT_FOUND, .. }) => return Ok(None),
            Err(error) => return Err(self.caller.unexpected("getblockheader", error)),
        };
        let bytes = value.as_str().and_then(|text| hex::decode(text).ok());
        let header: Header = bytes
            .and_then(|bytes| deserialize(&bytes).ok())
            .ok_or_else(|| self.caller.lying("a header that is none"))?;
        self.check(hash, &header)?;
        Ok(Some(header))
    }

    fn check(&self, hash: BlockHash, header: &Header) -> Result<(), ChainError> {
        if header.block_hash() != hash {
            return Err(self.caller.lying(format!("another header than that of {hash}")));
        }
        check_proof_of_work(&self.params, header).map_err(|error| self.caller.lying(error.to_string()))
    }

    /// Height of a known header: the node says it, or for abandoned branches the way down to the best chain does.
    async fn height_of(&self, hash: BlockHash, header: &Header) -> Result<Option<u32>, ChainError> {
        let (mut at, mut parent) = (hash, header.prev_blockhash);
        for above in 0..BRANCH_MAX {
            match self.call("getblockheader", json!([at.to_string(), true])).await {
                Ok(value) => {
                    let height = value.get("height").and_then(Value::as_u64);
                    let height = height.and_then(|height| u32::try_from(height).ok()).unwrap_or(u32::MAX);
                    let height = height.checked_add(above);
                    return height.map(Some).ok_or_else(|| self.caller.lying("a header without height"));
                }
                // btcd and ltcd know heights of the best chain alone.
                Err(CallError::Rpc { .. }) => at = parent,
                Err(error) => return Err(self.caller.unexpected("getblockheader", error)),
            }
            match self.raw_header(at).await? {
                Some(header) => parent = header.prev_blockhash,
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Chain for RpcChain {
    fn identity(&self) -> ChainIdentity {
        self.identity
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        let dialect = self.dialect().await?;
        let absences = self.caller.absences();
        let tip = dialect::tip(&self.caller, dialect, self.identity.network).await;
        if self.caller.absences() != absences && tip.is_ok() {
            self.dialect().await?;
        }
        tip
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        if i32::try_from(height).is_err() {
            return Ok(None);
        }
        match self.call("getblockhash", json!([height])).await {
            Ok(value) => self.hash(&value).map(Some),
            Err(CallError::Rpc { code: INVALID_PARAMETER, .. }) => Ok(None),
            Err(CallError::Rpc { code: MISC, message }) if message.contains("out of range") => Ok(None),
            Err(error) => Err(self.caller.unexpected("getblockhash", error)),
        }
    }

    async fn header(&self, hash: BlockHash) -> Result<Option<ChainHeader>, ChainError> {
        let Some(header) = self.raw_header(hash).await? else { return Ok(None) };
        let Some(height) = self.height_of(hash, &header).await? else { return Ok(None) };
        let best = self.hash_at(height).await? == Some(hash);
        Ok(Some(ChainHeader { at: BlockRef { height, hash }, header, best }))
    }

    async fn headers(&self, from: u32, max: u32) -> Result<Vec<ChainHeader>, ChainError> {
        let tip = self.tip().await?;
        let count = max.min(HEADERS_MAX).min((tip.height + 1).saturating_sub(from));
        if count == 0 {
            return Ok(Vec::new());
        }
        // From the top down each header names the next: what comes out is one chain, whatever happens meanwhile.
        let top = from + count - 1;
        let Some(mut hash) = self.hash_at(top).await? else {
            return Err(ChainError::Reorganised { height: top });
        };
        let mut headers = Vec::new();
        for height in (from..=top).rev() {
            let header = self.raw_header(hash).await?;
            let header =
                header.ok_or_else(|| self.caller.lying(format!("no header for its own block {hash}")))?;
            headers.push(ChainHeader { at: BlockRef { height, hash }, header, best: true });
            hash = header.prev_blockhash;
        }
        headers.reverse();
        if from == 0 && headers[0].at.hash != self.identity.genesis {
            return Err(self.caller.lying("headers that do not lead to the genesis block"));
        }
        Ok(headers)
    }

    async fn block(&self, hash: BlockHash) -> Result<Option<Arc<Block>>, ChainError> {
        if let Some(block) = self.blocks.get(&hash) {
            return Ok(Some(block));
        }
        let value = match self.call("getblock", json!([hash.to_string(), 0])).await {
            Ok(value) => value,
            Err(CallError::Rpc { code: NOT_FOUND, .. }) => return Ok(None),
            Err(CallError::Rpc { message, .. }) if message.contains("pruned") => {
                return Err(ChainError::Pruned { node: self.caller.node(), block: hash.to_string() });
            }
            Err(error) => return Err(self.caller.unexpected("getblock", error)),
        };
        let bytes = value.as_str().and_then(|text| hex::decode(text).ok());
        let bytes = bytes.ok_or_else(|| self.caller.lying("a block that is not hexadecimal"))?;
        let block = decode_block(&bytes).map_err(|error| self.caller.lying(error.to_string()))?;
        self.check(hash, &block.header)?;
        let block = Arc::new(block);
        self.blocks.put(hash, bytes.len(), &block);
        Ok(Some(block))
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<Broadcast, ChainError> {
        self.broadcast_one(transaction).await
    }

    async fn broadcast_package(&self, transactions: &[Transaction]) -> Result<Vec<Broadcast>, ChainError> {
        self.broadcast_all(transactions).await
    }

    async fn accepts(&self, transaction: &Transaction) -> Result<Acceptance, ChainError> {
        self.test_accept(transaction).await
    }

    async fn status(&self, watched: &Watched) -> Result<TxStatus, ChainError> {
        self.status_of(watched).await
    }

    async fn fee_rate(&self, target: u16) -> Result<FeeEstimate, ChainError> {
        self.estimate(target).await
    }

    async fn changed(&self, seen: BlockHash) -> Result<(), ChainError> {
        let poll_ms = self.caller.config().poll_ms.max(10);
        for _ in 0..=WAIT_MS / poll_ms {
            let best = self.call("getbestblockhash", json!([])).await;
            let best = best.map_err(|error| self.caller.unexpected("getbestblockhash", error))?;
            if self.hash(&best)? != seen {
                return Ok(());
            }
            self.caller.clock().sleep_ms(poll_ms).await;
        }
        Ok(())
    }
}
