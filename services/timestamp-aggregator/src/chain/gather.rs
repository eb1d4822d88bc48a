//! Looks at the chain for [`super::look`]. The wallet knows where everything is that spends its outputs; the node is
//! asked for blocks, and for what only its mempool knows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction, Txid};
use eschaton_onchain::Wallet;
use eschaton_ports::chain::{BlockRef, Chain, ChainError, TxStatus, Watched};
use eschaton_timestamp::anchorer::Attempt;
use eschaton_timestamp::block::BlockBranch;
use eschaton_timestamp::{Anchor, Anchorer};

use super::look::{Found, Hash, Place};

/// How far back a transaction is looked for that paid us and is in no block any more: a day and more of Bitcoin.
const LOST_BLOCKS: u32 = 288;

/// What is still to be asked about a transaction.
enum Ask {
    Nothing(Place),
    /// The way through this block.
    Block(BlockRef),
    /// Whether the mempool holds it.
    Mempool(Watched),
    /// What became of the transaction that made its input, last seen at this height.
    Origin(Transaction, u32),
}

/// A look in two parts, so that the wallet is not held while the node is asked.
pub(crate) struct Look {
    tip: BlockRef,
    asks: Vec<(Hash, Ask)>,
}

impl Look {
    /// What the wallet knows. `mempool`: the node's mempool shall be asked too.
    pub(crate) fn begin(anchorer: &Anchorer, wallet: &Wallet, mempool: bool) -> Self {
        let confirmed = wallet.confirmed();
        let watched: HashSet<Hash> =
            anchorer.watched().map(|(_, attempt)| attempt.transaction.txid()).collect();
        let tip = wallet.tip();
        let asks = anchorer.anchors().flat_map(|anchor| {
            let (confirmed, watched) = (&confirmed, &watched);
            anchor.attempts.iter().map(move |attempt| {
                let ask = ask(anchor, attempt, wallet, confirmed, watched, mempool.then_some(tip));
                (attempt.transaction.txid(), ask)
            })
        });
        Self { tip, asks: asks.collect() }
    }

    /// Asks the node for the rest.
    pub(crate) async fn finish(self, chain: &Arc<dyn Chain>) -> Result<Found, ChainError> {
        let mut places = BTreeMap::new();
        for (txid, ask) in self.asks {
            let place = match ask {
                Ask::Nothing(place) => place,
                Ask::Block(block) => branch(chain, &txid, block).await?,
                Ask::Mempool(watched) => match chain.status(&watched).await? {
                    TxStatus::InMempool | TxStatus::InBlock { .. } => Place::Mempool(true),
                    TxStatus::Unknown | TxStatus::Conflicted { .. } => Place::Mempool(false),
                },
                Ask::Origin(origin, height) => lost(chain, &origin, height).await?,
            };
            places.insert(txid, place);
        }
        Ok(Found { tip: self.tip.height.into(), places })
    }
}

fn ask(
    anchor: &Anchor,
    attempt: &Attempt,
    wallet: &Wallet,
    confirmed: &HashMap<Txid, BlockRef>,
    watched: &HashSet<Hash>,
    mempool: Option<BlockRef>,
) -> Ask {
    let txid = attempt.transaction.txid();
    if let Some(block) = confirmed.get(&Txid::from_byte_array(txid)) {
        let known = anchor.block.as_ref().filter(|known| {
            let hash = eschaton_timestamp::transaction::sha256d(&known.header);
            // A block's hash is the double SHA-256 of its header for both coins.
            known.txid == txid && block.hash.to_byte_array() == hash
        });
        return match known {
            Some(known) => Ask::Nothing(Place::Block {
                height: known.height,
                header: known.header,
                branch: known.branch.clone(),
            }),
            None => Ask::Block(*block),
        };
    }
    let inputs: Vec<OutPoint> = attempt
        .transaction
        .inputs()
        .iter()
        .map(|input| OutPoint { txid: Txid::from_byte_array(input.txid), vout: input.index })
        .collect();
    for input in &inputs {
        for by in wallet.spenders(*input) {
            if let Some(block) = confirmed.get(&by) {
                let (by, height) = (by.to_byte_array(), u64::from(block.height));
                return Ask::Nothing(Place::Conflict { by, height });
            }
        }
    }
    // An input may be gone with the transaction that made it. One of our own is judged by the anchorer.
    for input in &inputs {
        if !confirmed.contains_key(&input.txid)
            && !watched.contains(&input.txid.to_byte_array())
            && let Some(origin) = wallet.transaction(input.txid)
        {
            return Ask::Origin(origin, wallet.last_height(input.txid).unwrap_or(0));
        }
    }
    match mempool {
        Some(tip) if attempt.seen && anchor.block.is_none() => {
            Ask::Mempool(Watched { txid: Txid::from_byte_array(txid), inputs, outputs: 1, since: tip.height })
        }
        _ => Ask::Nothing(Place::Nowhere),
    }
}

async fn branch(chain: &Arc<dyn Chain>, txid: &Hash, at: BlockRef) -> Result<Place, ChainError> {
    let moved = ChainError::Reorganised { height: at.height };
    let block = chain.block(at.hash).await?.ok_or(moved.clone())?;
    let txids: Vec<Hash> =
        block.txdata.iter().map(|transaction| transaction.compute_txid().to_byte_array()).collect();
    let position = txids.iter().position(|of| of == txid).ok_or(moved.clone())?;
    let branch = BlockBranch::of(&txids, position).ok_or(moved)?;
    let header = serialize(&block.header)
        .try_into()
        .map_err(|_| ChainError::Invalid { detail: "a header that has not 80 bytes".to_owned() })?;
    Ok(Place::Block { height: at.height.into(), header, branch })
}

/// What became of a transaction that paid this wallet and is in no block any more.
async fn lost(chain: &Arc<dyn Chain>, origin: &Transaction, height: u32) -> Result<Place, ChainError> {
    if origin.is_coinbase() {
        // Nothing brings it back but its block. The block in its place takes what it would have made.
        let Some(hash) = chain.hash_at(height).await? else { return Ok(Place::Nowhere) };
        let block = chain.block(hash).await?;
        let rival = block.as_ref().and_then(|block| block.txdata.first()).map(Transaction::compute_txid);
        return Ok(match rival {
            Some(rival) if rival != origin.compute_txid() => {
                Place::Conflict { by: rival.to_byte_array(), height: height.into() }
            }
            _ => Place::Nowhere,
        });
    }
    match chain.status(&Watched::new(origin, height.saturating_sub(LOST_BLOCKS))).await? {
        TxStatus::Conflicted { by: Some(by), block: Some(block) } => {
            Ok(Place::Conflict { by: by.to_byte_array(), height: block.height.into() })
        }
        TxStatus::Unknown => {
            // It paid us: whoever wants it to confirm again is us.
            if let Err(error) = chain.broadcast(origin).await {
                tracing::warn!(txid = %origin.compute_txid(), %error, "a payment to the wallet was dropped and is not taken again");
            }
            Ok(Place::Nowhere)
        }
        TxStatus::Conflicted { .. } | TxStatus::InMempool | TxStatus::InBlock { .. } => Ok(Place::Nowhere),
    }
}
