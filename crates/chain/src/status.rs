use std::sync::Arc;

use bitcoin::{Block, OutPoint, Txid};
use eschaton_headers::decode_transaction;
use eschaton_ports::chain::{BlockRef, Chain, ChainError, STATUS_BLOCKS_MAX, TxStatus, Watched};
use serde_json::{Value, json};

use crate::RpcChain;
use crate::call::{CallError, NO_METHOD};

/// Transactions of a mempool that are looked at for the spender of an output, on nodes that do not tell.
const MEMPOOL_TXS_MAX: usize = 2_000;
/// No such transaction.
const NOT_FOUND: i64 = -5;

/// Where the node itself says a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Nowhere,
    Mempool,
    Block(BlockRef),
}

/// What a search of blocks found.
enum Found {
    Itself(BlockRef),
    Rival(Txid, BlockRef),
}

impl RpcChain {
    pub(crate) async fn status_of(&self, watched: &Watched) -> Result<TxStatus, ChainError> {
        match self.place(watched.txid).await? {
            Place::Mempool => return Ok(TxStatus::InMempool),
            Place::Block(block) => return self.in_block(block).await,
            Place::Nowhere => {}
        }
        // Without an index of transactions: an output that nobody spent yet tells, and else the blocks do.
        for index in 0..watched.outputs.min(64) {
            let outpoint = OutPoint { txid: watched.txid, vout: index };
            if let Some(block) = self.unspent_in(outpoint).await? {
                return self.in_block(block).await;
            }
        }
        let mut missing = Vec::new();
        for input in &watched.inputs {
            if self.unspent(*input, false).await?.is_none() {
                missing.push(*input);
            }
        }
        if !missing.is_empty() {
            match self.search(watched.txid, &missing, watched.since).await? {
                Some(Found::Itself(block)) => return self.in_block(block).await,
                Some(Found::Rival(by, block)) => {
                    return Ok(TxStatus::Conflicted { by: Some(by), block: Some(block) });
                }
                None => {}
            }
        }
        // In the mempool an output may be spent that no block has spent, or that is not in a block itself.
        if let Some(by) = self.mempool_spender(&watched.inputs).await? {
            if by == watched.txid {
                return Ok(TxStatus::InMempool);
            }
            return Ok(TxStatus::Conflicted { by: Some(by), block: None });
        }
        for input in &missing {
            if self.was_spent(*input).await? {
                return Ok(TxStatus::Conflicted { by: None, block: None });
            }
        }
        Ok(TxStatus::Unknown)
    }

    async fn in_block(&self, block: BlockRef) -> Result<TxStatus, ChainError> {
        let tip = self.tip().await?;
        let depth = tip.height.checked_sub(block.height).map(|below| below + 1);
        let depth = depth.ok_or(ChainError::Reorganised { height: block.height })?;
        Ok(TxStatus::InBlock { block, depth })
    }

    /// Where the node says a transaction is, by its mempool and by its index if it has one.
    pub(crate) async fn place(&self, txid: Txid) -> Result<Place, ChainError> {
        let value = match self.call("getrawtransaction", json!([txid.to_string(), 1])).await {
            Ok(value) => value,
            Err(CallError::Rpc { code: NOT_FOUND, .. }) => return Ok(Place::Nowhere),
            Err(error) => return Err(self.caller.unexpected("getrawtransaction", error)),
        };
        let hash = match value.get("blockhash") {
            Some(Value::String(hash)) if hash.is_empty() => return Ok(Place::Mempool),
            Some(hash @ Value::String(_)) => self.hash(hash)?,
            _ => return Ok(Place::Mempool),
        };
        // An index may still name a block of an abandoned branch.
        Ok(match self.header(hash).await? {
            Some(header) if header.best => Place::Block(header.at),
            _ => Place::Nowhere,
        })
    }

    /// An unspent output of the best chain, with the mempool's view if asked: its number of confirmations.
    pub(crate) async fn unspent(&self, output: OutPoint, mempool: bool) -> Result<Option<u64>, ChainError> {
        let params = json!([output.txid.to_string(), output.vout, mempool]);
        match self.call("gettxout", params).await {
            Ok(Value::Null) => Ok(None),
            Ok(value) => {
                let confirmations = value.get("confirmations").and_then(Value::as_u64);
                confirmations.map(Some).ok_or_else(|| self.caller.lying("an output without confirmations"))
            }
            // btcd: an output index beyond the last of a transaction that it has in memory.
            Err(CallError::Rpc { .. }) => Ok(None),
            Err(CallError::Chain(error)) => Err(error),
        }
    }

    /// The block that made this unspent output; none if there is no such output.
    async fn unspent_in(&self, output: OutPoint) -> Result<Option<BlockRef>, ChainError> {
        let tip = self.tip().await?;
        let Some(confirmations) = self.unspent(output, false).await? else { return Ok(None) };
        let below = u32::try_from(confirmations).ok().and_then(|depth| depth.checked_sub(1));
        let height = below.and_then(|below| tip.height.checked_sub(below));
        let height = height.ok_or(ChainError::Reorganised { height: tip.height })?;
        // The tip may have moved between the two answers: only the block itself proves it.
        for height in [Some(height), height.checked_add(1), height.checked_sub(1)].into_iter().flatten() {
            if let Some((at, block)) = self.block_at(height).await?
                && block.txdata.iter().any(|transaction| transaction.compute_txid() == output.txid)
            {
                return Ok(Some(at));
            }
        }
        Err(ChainError::Reorganised { height })
    }

    async fn block_at(&self, height: u32) -> Result<Option<(BlockRef, Arc<Block>)>, ChainError> {
        let Some(hash) = self.hash_at(height).await? else { return Ok(None) };
        Ok(self.block(hash).await?.map(|block| (BlockRef { height, hash }, block)))
    }

    /// Looks through blocks from the tip down to `since` for a transaction or for another one that spends an output.
    async fn search(&self, txid: Txid, spent: &[OutPoint], since: u32) -> Result<Option<Found>, ChainError> {
        let tip = self.tip().await?;
        let floor = since.max((tip.height + 1).saturating_sub(STATUS_BLOCKS_MAX));
        for height in (floor..=tip.height).rev() {
            let Some((at, block)) = self.block_at(height).await? else {
                return Err(ChainError::Reorganised { height });
            };
            for transaction in &block.txdata {
                if transaction.compute_txid() == txid {
                    return Ok(Some(Found::Itself(at)));
                }
                if transaction.input.iter().any(|input| spent.contains(&input.previous_output)) {
                    return Ok(Some(Found::Rival(transaction.compute_txid(), at)));
                }
            }
        }
        Ok(None)
    }

    /// Whether a block has spent this output, or made and spent it, as far as can be told. False also when the node
    /// cannot tell.
    pub(crate) async fn was_spent(&self, output: OutPoint) -> Result<bool, ChainError> {
        if self.unspent(output, false).await?.is_some() {
            return Ok(false);
        }
        let made = match self.call("getrawtransaction", json!([output.txid.to_string(), 1])).await {
            Ok(value) => value,
            Err(CallError::Rpc { .. }) => return Ok(false),
            Err(CallError::Chain(error)) => return Err(error),
        };
        let outputs = made.get("vout").and_then(Value::as_array).map_or(0, Vec::len);
        let confirmed = matches!(self.place(output.txid).await?, Place::Block(_));
        let exists = usize::try_from(output.vout).is_ok_and(|index| index < outputs);
        Ok(confirmed && exists)
    }

    /// Whether a recent block holds this transaction, or one that spends the output. For nodes without an index.
    pub(crate) async fn recently(
        &self,
        txid: Txid,
        spent: &[OutPoint],
        blocks: u32,
    ) -> Result<(bool, bool), ChainError> {
        let tip = self.tip().await?;
        match self.search(txid, spent, (tip.height + 1).saturating_sub(blocks)).await {
            Ok(Some(Found::Itself(_))) => Ok((true, false)),
            Ok(Some(Found::Rival(..))) => Ok((false, true)),
            // What was deleted cannot be searched; the answer stays open.
            Ok(None) | Err(ChainError::Pruned { .. }) => Ok((false, false)),
            Err(error) => Err(error),
        }
    }

    /// The transaction of the mempool that spends one of these outputs.
    async fn mempool_spender(&self, outputs: &[OutPoint]) -> Result<Option<Txid>, ChainError> {
        let asked: Vec<Value> = outputs
            .iter()
            .map(|output| json!({ "txid": output.txid.to_string(), "vout": output.vout }))
            .collect();
        match self.call("gettxspendingprevout", json!([asked])).await {
            Ok(found) => {
                let spenders = found.as_array().map(Vec::as_slice).unwrap_or_default();
                let spender =
                    spenders.iter().find_map(|entry| entry.get("spendingtxid").and_then(Value::as_str));
                spender
                    .map(|txid| {
                        txid.parse().map_err(|_| self.caller.lying("a spender that is no transaction"))
                    })
                    .transpose()
            }
            Err(CallError::Rpc { code: NO_METHOD, .. }) => self.spender_by_search(outputs).await,
            Err(error) => Err(self.caller.unexpected("gettxspendingprevout", error)),
        }
    }

    async fn spender_by_search(&self, outputs: &[OutPoint]) -> Result<Option<Txid>, ChainError> {
        let ids = self.call("getrawmempool", json!([false])).await;
        let ids = ids.map_err(|error| self.caller.unexpected("getrawmempool", error))?;
        for id in ids.as_array().map(Vec::as_slice).unwrap_or_default().iter().take(MEMPOOL_TXS_MAX) {
            let Some(id) = id.as_str() else { continue };
            // It may have left meanwhile; Litecoin's mempool also holds what is of the extension block alone.
            let Ok(Value::String(text)) = self.call("getrawtransaction", json!([id, 0])).await else {
                continue;
            };
            let Ok(bytes) = hex::decode(text) else { continue };
            let Ok(transaction) = decode_transaction(&bytes) else { continue };
            if transaction.input.iter().any(|input| outputs.contains(&input.previous_output)) {
                return Ok(Some(transaction.compute_txid()));
            }
        }
        Ok(None)
    }
}
