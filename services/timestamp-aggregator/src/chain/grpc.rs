//! `eschaton.anchor.v1` and `eschaton.chain.v1`: conversion and status only.

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, Txid};
use bytes::Bytes;
use eschaton_api::anchor::{self, anchors_server};
use eschaton_api::chain::{self, chain_server};
use eschaton_headers::TxInBlock;
use eschaton_ports::chain::{Chain, ChainError, ChainHeader, ChainIdentity, ChainNetwork, Coin, HEADERS_MAX};
use eschaton_timestamp::{Anchor, Anchorer};
use tonic::{Request, Response, Status};

use super::ChainHandle;

/// Blocks of a beacon unless asked otherwise, and at most.
const BEACON: u32 = 6;
const BEACON_MAX: u32 = 144;
/// Blocks that one call mines.
const MINE_MAX: u32 = 1_000;

/// Mines on a private chain, where this process has one.
#[async_trait]
pub trait Miner: Send + Sync + 'static {
    /// That many blocks; each is durable when it returns. The error is for people.
    async fn mine(&self, blocks: u32) -> Result<Vec<BlockHash>, String>;
}

/// What a chain is called: `bitcoin`, `litecoin-regtest`.
pub fn chain_name(identity: &ChainIdentity) -> &'static str {
    match (identity.coin, identity.network) {
        (Coin::Bitcoin, ChainNetwork::Main) => "bitcoin",
        (Coin::Bitcoin, ChainNetwork::Test) => "bitcoin-testnet",
        (Coin::Bitcoin, ChainNetwork::Regtest) => "bitcoin-regtest",
        (Coin::Litecoin, ChainNetwork::Main) => "litecoin",
        (Coin::Litecoin, ChainNetwork::Test) => "litecoin-testnet",
        (Coin::Litecoin, ChainNetwork::Regtest) => "litecoin-regtest",
    }
}

/// Serves both packages.
#[derive(Clone)]
pub struct ChainGrpc {
    handle: ChainHandle,
    miner: Option<Arc<dyn Miner>>,
    fee_cap_sat_per_kvb: u64,
}

impl ChainGrpc {
    /// Over the service at work. `miner` where the chain is this process's own.
    pub fn new(handle: ChainHandle, miner: Option<Arc<dyn Miner>>, fee_cap_sat_per_kvb: u64) -> Self {
        Self { handle, miner, fee_cap_sat_per_kvb }
    }

    fn anchorer(&self) -> Result<Arc<Anchorer>, Status> {
        let elsewhere =
            "the anchors are with another process, or still being loaded; ask again, or ask that one";
        self.handle.anchorer().ok_or_else(|| Status::unavailable(elsewhere))
    }

    fn chain(&self) -> Arc<dyn Chain> {
        self.handle.chain()
    }
}

fn refused(error: ChainError) -> Status {
    if error.passes() {
        Status::unavailable(error.to_string())
    } else {
        Status::failed_precondition(error.to_string())
    }
}

fn shown(anchor: &Anchor, tip: u64) -> anchor::Anchor {
    use anchor::AnchorState as State;
    let newest = anchor.counting();
    let state = match (&anchor.block, newest) {
        (Some(_), _) if anchor.is_final => State::Final,
        (Some(_), _) => State::Confirmed,
        (None, Some(attempt)) if attempt.seen => State::Broadcast,
        (None, Some(_)) => State::Signed,
        (None, None) => State::Planned,
    };
    let height = anchor.block.as_ref().map_or(0, |block| block.height);
    anchor::Anchor {
        number: anchor.number,
        intervals: anchor.count,
        root: Bytes::copy_from_slice(&anchor.root),
        planned_ms: anchor.planned_ms,
        state: state.into(),
        txid: newest.map(|of| Bytes::copy_from_slice(&of.transaction.txid())).unwrap_or_default(),
        fee_sat: newest.map_or(0, |attempt| attempt.fee_sat),
        vbytes: newest.map_or(0, |attempt| attempt.vbytes),
        attempts: u32::try_from(anchor.attempts.len()).unwrap_or(u32::MAX),
        height,
        confirmations: if height == 0 { 0 } else { tip.saturating_add(1).saturating_sub(height) },
    }
}

#[async_trait]
impl anchors_server::Anchors for ChainGrpc {
    async fn get_address(
        &self,
        request: Request<anchor::GetAddressRequest>,
    ) -> Result<Response<anchor::GetAddressResponse>, Status> {
        let address = self.handle.address(request.get_ref().new).await;
        let address = address.map_err(|error| Status::internal(error.to_string()))?;
        let chain = chain_name(&self.chain().identity()).to_owned();
        Ok(Response::new(anchor::GetAddressResponse { address, chain }))
    }

    async fn get_balance(
        &self,
        _: Request<anchor::GetBalanceRequest>,
    ) -> Result<Response<anchor::GetBalanceResponse>, Status> {
        let status = self.handle.status();
        Ok(Response::new(anchor::GetBalanceResponse {
            free_sat: status.balance.free_sat,
            reserved_sat: status.balance.reserved_sat,
            immature_sat: status.balance.immature_sat,
            height: status.tip.map_or(0, |tip| tip.height.into()),
            fee_sat_per_kvb: status.fee_sat_per_kvb.unwrap_or(0),
            chain: chain_name(&self.chain().identity()).to_owned(),
            problem: status.problem.unwrap_or_default(),
        }))
    }

    async fn list_anchors(
        &self,
        _: Request<anchor::ListAnchorsRequest>,
    ) -> Result<Response<anchor::ListAnchorsResponse>, Status> {
        let anchorer = self.anchorer()?;
        let mut anchors: Vec<_> = anchorer.anchors().map(|anchor| shown(anchor, anchorer.tip())).collect();
        anchors.reverse();
        let waiting_intervals = anchorer.waiting().0;
        Ok(Response::new(anchor::ListAnchorsResponse { anchors, waiting_intervals }))
    }

    async fn bump_anchor(
        &self,
        request: Request<anchor::BumpAnchorRequest>,
    ) -> Result<Response<anchor::BumpAnchorResponse>, Status> {
        let anchor::BumpAnchorRequest { number, sat_per_kvb } = request.into_inner();
        let cap = self.fee_cap_sat_per_kvb;
        if sat_per_kvb == 0 || sat_per_kvb > cap {
            return Err(Status::invalid_argument(format!(
                "{sat_per_kvb} sat/kvB is not between 1 and the cap of {cap}; ask for less, or raise the cap"
            )));
        }
        let anchorer = self.anchorer()?;
        let anchor = anchorer.anchor(number).ok_or_else(|| {
            Status::not_found(format!("anchor {number} is not followed: planned never, or deep in the chain"))
        })?;
        if let Some(block) = &anchor.block {
            return Err(Status::failed_precondition(format!(
                "anchor {number} is in block {} already",
                block.height
            )));
        }
        let told = self.handle.bump(number, sat_per_kvb).await;
        told.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(anchor::BumpAnchorResponse {}))
    }
}

fn header_bytes(header: &ChainHeader) -> Bytes {
    serialize(&header.header).into()
}

#[async_trait]
impl chain_server::Chain for ChainGrpc {
    async fn get_beacon(
        &self,
        request: Request<chain::GetBeaconRequest>,
    ) -> Result<Response<chain::Beacon>, Status> {
        let count = match request.get_ref().blocks {
            0 => BEACON,
            blocks @ 1..=BEACON_MAX => blocks,
            blocks => {
                return Err(Status::invalid_argument(format!(
                    "{blocks} blocks; possible are 1 to {BEACON_MAX}"
                )));
            }
        };
        let source = self.chain();
        let tip = source.tip().await.map_err(refused)?;
        let from = (tip.height + 1).saturating_sub(count);
        let headers = source.headers(from, count).await.map_err(refused)?;
        let name = chain_name(&source.identity());
        let block = |header: &ChainHeader| chain::BeaconBlock {
            chain: name.to_owned(),
            height: header.at.height.into(),
            hash: Bytes::copy_from_slice(&header.at.hash.to_byte_array()),
            header: header_bytes(header),
        };
        Ok(Response::new(chain::Beacon { blocks: headers.iter().rev().map(block).collect() }))
    }

    async fn get_headers(
        &self,
        request: Request<chain::GetHeadersRequest>,
    ) -> Result<Response<chain::GetHeadersResponse>, Status> {
        let chain::GetHeadersRequest { from_height, count } = request.into_inner();
        if !(1..=HEADERS_MAX).contains(&count) {
            return Err(Status::invalid_argument(format!(
                "{count} headers; possible are 1 to {HEADERS_MAX}"
            )));
        }
        let source = self.chain();
        let headers = source.headers(from_height, count).await.map_err(refused)?;
        Ok(Response::new(chain::GetHeadersResponse {
            chain: chain_name(&source.identity()).to_owned(),
            from_height,
            headers: headers.iter().map(header_bytes).collect(),
        }))
    }

    async fn prove_transaction(
        &self,
        request: Request<chain::ProveTransactionRequest>,
    ) -> Result<Response<chain::ProveTransactionResponse>, Status> {
        use chain::prove_transaction_request::Block;
        let chain::ProveTransactionRequest { txid, block } = request.into_inner();
        let invalid = |what: &str| Status::invalid_argument(format!("{what} is not 32 bytes"));
        let txid = Txid::from_byte_array(txid[..].try_into().map_err(|_| invalid("txid"))?);
        let missing = |what: String| Status::not_found(what);
        let source = self.chain();
        let hash = match block {
            Some(Block::Hash(hash)) => {
                BlockHash::from_byte_array(hash[..].try_into().map_err(|_| invalid("hash"))?)
            }
            Some(Block::Height(height)) => source
                .hash_at(height)
                .await
                .map_err(refused)?
                .ok_or_else(|| missing(format!("the chain has no block {height} yet")))?,
            None => return Err(Status::invalid_argument("name the block, by height or hash")),
        };
        let unknown = || missing(format!("the node has no block {hash}"));
        let header = source.header(hash).await.map_err(refused)?.ok_or_else(unknown)?;
        let block = source.block(hash).await.map_err(refused)?.ok_or_else(unknown)?;
        let proof = TxInBlock::build_for(&block.txdata, txid)
            .map_err(|error| missing(format!("transaction {txid} in block {hash}: {error}")))?;
        Ok(Response::new(chain::ProveTransactionResponse {
            chain: chain_name(&source.identity()).to_owned(),
            height: header.at.height,
            header: header_bytes(&header),
            proof: proof.to_bytes().into(),
        }))
    }

    async fn mine(
        &self,
        request: Request<chain::MineRequest>,
    ) -> Result<Response<chain::MineResponse>, Status> {
        let Some(miner) = &self.miner else {
            let others = "the chain is not this node's own; mine with the node that it is of";
            return Err(Status::unimplemented(others));
        };
        let blocks = request.get_ref().blocks;
        if !(1..=MINE_MAX).contains(&blocks) {
            return Err(Status::invalid_argument(format!("{blocks} blocks; possible are 1 to {MINE_MAX}")));
        }
        let hashes = miner.mine(blocks).await.map_err(Status::failed_precondition)?;
        let tip = self.chain().tip().await.map_err(refused)?;
        Ok(Response::new(chain::MineResponse {
            hashes: hashes.iter().map(|hash| Bytes::copy_from_slice(&hash.to_byte_array())).collect(),
            height: tip.height,
        }))
    }
}
