//! What the kinds of nodes do differently, in one place.

use bitcoin::BlockHash;
use serde_json::{Value, json};

use eschaton_ports::chain::{BlockRef, ChainError, ChainNetwork};

use crate::call::{CallError, Caller, NO_METHOD};

/// How a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// bitcoind, litecoind and what descends from them.
    Core,
    /// btcd, ltcd.
    Btcd,
}

/// A chain whose last block is older has not caught up (Bitcoin Core, `DEFAULT_MAX_TIP_AGE`).
const TIP_AGE_MAX_S: u64 = 24 * 3_600;
/// Headers ahead of blocks that are ordinary while a block is being checked.
const HEADERS_AHEAD_MAX: u64 = 6;

/// Asks for a method that only btcd and ltcd have.
pub(crate) async fn detect(caller: &Caller) -> Result<Dialect, ChainError> {
    match caller.call("getbestblock", json!([])).await {
        Ok(_) => Ok(Dialect::Btcd),
        Err(CallError::Rpc { code: NO_METHOD, .. }) => Ok(Dialect::Core),
        Err(error) => Err(caller.unexpected("getbestblock", error)),
    }
}

/// The tip, unless the node is still loading blocks. On regtest there is nobody to load from.
pub(crate) async fn tip(
    caller: &Caller,
    dialect: Dialect,
    network: ChainNetwork,
) -> Result<BlockRef, ChainError> {
    let syncing = |detail| Err(ChainError::Syncing { node: caller.node(), detail });
    match dialect {
        Dialect::Core => {
            let info = call(caller, "getblockchaininfo", json!([])).await?;
            let at = block_ref(caller, &info, "blocks", "bestblockhash")?;
            let headers = info.get("headers").and_then(Value::as_u64).unwrap_or(0);
            let loading = info.get("initialblockdownload").and_then(Value::as_bool).unwrap_or(false);
            let behind = headers.saturating_sub(u64::from(at.height)) > HEADERS_AHEAD_MAX;
            if behind || (loading && network != ChainNetwork::Regtest) {
                return syncing(format!("{} of {headers} blocks", at.height));
            }
            Ok(at)
        }
        Dialect::Btcd => {
            let best = call(caller, "getbestblock", json!([])).await?;
            let at = block_ref(caller, &best, "height", "hash")?;
            if network != ChainNetwork::Regtest {
                let header = call(caller, "getblockheader", json!([at.hash.to_string(), true])).await?;
                let time = header.get("time").and_then(Value::as_u64).unwrap_or(0);
                let age = (caller.clock().now_ms() / 1_000).saturating_sub(time);
                if age > TIP_AGE_MAX_S {
                    return syncing(format!("its last block, {}, is {age} s old", at.height));
                }
            }
            Ok(at)
        }
    }
}

/// A method that every node of the dialect has.
pub(crate) async fn call(caller: &Caller, method: &'static str, params: Value) -> Result<Value, ChainError> {
    caller.call(method, params).await.map_err(|error| caller.unexpected(method, error))
}

fn block_ref(caller: &Caller, value: &Value, height: &str, hash: &str) -> Result<BlockRef, ChainError> {
    let found = value.get(height).and_then(Value::as_u64).and_then(|height| u32::try_from(height).ok());
    let height = found.ok_or_else(|| caller.lying("a tip without height"))?;
    let hash = value.get(hash).and_then(Value::as_str).and_then(|hash| hash.parse::<BlockHash>().ok());
    Ok(BlockRef { height, hash: hash.ok_or_else(|| caller.lying("a tip without hash"))? })
}
