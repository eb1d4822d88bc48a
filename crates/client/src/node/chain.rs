//! The chain underneath and its anchors. What a node says of blocks is checked: hashes, work, links, branches.

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Transaction, Txid};
use bytes::Bytes;
use eschaton_api::MESSAGE_BYTES_MAX;
use eschaton_api::anchor::{self, anchors_client::AnchorsClient};
use eschaton_api::chain::{self, chain_client::ChainClient, prove_transaction_request::Block};
use eschaton_headers::{HeaderChain, Params, TxInBlock, check_proof_of_work};

use super::{Node, NodeError};

/// Headers of one page.
const PAGE: u32 = 2_000;

/// A block of a beacon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconBlock {
    /// The chain's name, as in `bitcoin-regtest`.
    pub chain: String,
    /// Its height, as the node says.
    pub height: u64,
    /// Its header, whose hash it is known by.
    pub header: Header,
}

/// A transaction that was proven to be in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InBlock {
    /// The chain's name.
    pub chain: String,
    /// The block's height, as the node says. A [`HeaderChain`] knows better.
    pub height: u32,
    /// The block's header; its work was checked, its place in the chain was not.
    pub header: Header,
    /// The transaction, without witnesses.
    pub transaction: Transaction,
}

fn wrong(detail: String) -> NodeError {
    NodeError::Answer { detail }
}

/// A header from a node: its bytes, and its work by the rules of the chain of this name. A name that is unknown has rules that
/// nobody could check.
fn header(chain: &str, bytes: &[u8]) -> Result<Header, NodeError> {
    let params = match chain {
        "bitcoin" => Params::bitcoin(),
        "bitcoin-testnet" => Params::bitcoin_testnet4(),
        "bitcoin-regtest" => Params::bitcoin_regtest(),
        "litecoin" => Params::litecoin(),
        "litecoin-testnet" => Params::litecoin_testnet4(),
        "litecoin-regtest" => Params::litecoin_regtest(),
        other => return Err(wrong(format!("a chain {other:?} that this program does not know"))),
    };
    let header: Header = deserialize(bytes).map_err(|error| wrong(format!("a block header: {error}")))?;
    check_proof_of_work(&params, &header).map_err(|error| wrong(error.to_string()))?;
    Ok(header)
}

/// Checks a beacon: each hash is its header's, each header has its work and is the next one's parent.
fn checked_beacon(beacon: chain::Beacon) -> Result<Vec<BeaconBlock>, NodeError> {
    let mut blocks: Vec<BeaconBlock> = Vec::new();
    for block in beacon.blocks {
        let header = header(&block.chain, &block.header)?;
        if header.block_hash().to_byte_array() != block.hash[..] {
            return Err(wrong(format!("block {} has another hash than its header", block.height)));
        }
        let follows = blocks.last().is_none_or(|newer| {
            newer.header.prev_blockhash == header.block_hash() && newer.height == block.height + 1
        });
        if !follows {
            return Err(wrong(format!("block {} is not the parent of the one after it", block.height)));
        }
        blocks.push(BeaconBlock { chain: block.chain, height: block.height, header });
    }
    Ok(blocks)
}

/// Checks that an answer proves what was asked.
fn checked_proof(answer: chain::ProveTransactionResponse, txid: Txid) -> Result<InBlock, NodeError> {
    let header = header(&answer.chain, &answer.header)?;
    let proof = TxInBlock::from_bytes(&answer.proof).map_err(|error| wrong(error.to_string()))?;
    let transaction = proof.verify(&header).map_err(|error| wrong(error.to_string()))?;
    if transaction.compute_txid() != txid {
        return Err(wrong(format!("a proof of transaction {}", transaction.compute_txid())));
    }
    Ok(InBlock { chain: answer.chain, height: answer.height, header, transaction })
}

macro_rules! client {
    ($client:ident, $node:expr) => {
        $client::new($node.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    };
}

impl Node {
    /// An address that pays for the node's anchors, and the chain's name.
    pub async fn anchor_address(&self, new: bool) -> Result<anchor::GetAddressResponse, NodeError> {
        self.call("an address for anchors", async || {
            let request = self.request(anchor::GetAddressRequest { new });
            client!(AnchorsClient, self).get_address(request).await
        })
        .await
    }

    /// What the anchors' wallet has.
    pub async fn anchor_balance(&self) -> Result<anchor::GetBalanceResponse, NodeError> {
        self.call("the anchors' wallet", async || {
            client!(AnchorsClient, self).get_balance(self.request(anchor::GetBalanceRequest {})).await
        })
        .await
    }

    /// Anchors that are followed.
    pub async fn anchors(&self) -> Result<anchor::ListAnchorsResponse, NodeError> {
        self.call("anchors", async || {
            client!(AnchorsClient, self).list_anchors(self.request(anchor::ListAnchorsRequest {})).await
        })
        .await
    }

    /// Has an anchor's fee raised to at least this, satoshi for 1,000 virtual bytes.
    pub async fn bump_anchor(&self, number: u64, sat_per_kvb: u64) -> Result<(), NodeError> {
        self.call("a higher fee", async || {
            let request = self.request(anchor::BumpAnchorRequest { number, sat_per_kvb });
            client!(AnchorsClient, self).bump_anchor(request).await
        })
        .await
        .map(drop)
    }

    /// Has a private chain mine; gives the height that it has then. Asked once: each request mines anew.
    pub async fn mine(&self, blocks: u32) -> Result<chain::MineResponse, NodeError> {
        let what = "blocks of a private chain";
        let mut client = client!(ChainClient, self);
        let answer = self.once(what, client.mine(self.request(chain::MineRequest { blocks }))).await;
        answer.map_err(|status| self.error(what, &status, 1))
    }

    /// The newest blocks, the newest first; checked as far as headers go.
    pub async fn beacon(&self, blocks: u32) -> Result<Vec<BeaconBlock>, NodeError> {
        let beacon = self
            .call("recent blocks", async || {
                client!(ChainClient, self).get_beacon(self.request(chain::GetBeaconRequest { blocks })).await
            })
            .await?;
        checked_beacon(beacon)
    }

    /// Takes the node's headers into a chain of one's own until it has no more, and checks every one. `now_s` is the
    /// caller's time in seconds since 1970. Reads on from the chain's tip; a node with another branch shows as an error
    /// that says so, then begin with a new chain or ask another node.
    pub async fn follow_headers(&self, chain: &mut HeaderChain, now_s: u32) -> Result<(), NodeError> {
        loop {
            let from_height = chain.tip().height.saturating_add(1);
            let page = self
                .call("headers", async || {
                    let request = chain::GetHeadersRequest { from_height, count: PAGE };
                    client!(ChainClient, self).get_headers(self.request(request)).await
                })
                .await?;
            if page.headers.is_empty() {
                return Ok(());
            }
            for bytes in &page.headers {
                let header: Header =
                    deserialize(bytes).map_err(|error| wrong(format!("a block header: {error}")))?;
                chain.add(header, now_s).map_err(|error| wrong(error.to_string()))?;
            }
        }
    }

    /// Proves that a transaction is in the best chain's block at this height, and checks it. That the block is of the best
    /// chain is the node's word; [`HeaderChain::place`] of its hash is not.
    pub async fn transaction_in_block(&self, txid: Txid, height: u32) -> Result<InBlock, NodeError> {
        let answer = self
            .call("a transaction in a block", async || {
                let request = chain::ProveTransactionRequest {
                    txid: Bytes::copy_from_slice(&txid.to_byte_array()),
                    block: Some(Block::Height(height)),
                };
                client!(ChainClient, self).prove_transaction(self.request(request)).await
            })
            .await?;
        checked_proof(answer, txid)
    }
}

impl BeaconBlock {
    /// The header as miners hash it.
    pub fn bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes.copy_from_slice(&bitcoin::consensus::serialize(&self.header));
        bytes
    }

    /// When its miner says that it was made, ms since 1970.
    pub fn time_ms(&self) -> u64 {
        u64::from(self.header.time) * 1_000
    }

    /// What data includes to show that it is not older.
    pub fn hash(&self) -> BlockHash {
        self.header.block_hash()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::consensus::serialize;

    use super::*;

    /// The genesis block and what the node says of it.
    fn block() -> (bitcoin::Block, chain::BeaconBlock) {
        let block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let told = chain::BeaconBlock {
            chain: "bitcoin-regtest".to_owned(),
            height: 0,
            hash: Bytes::copy_from_slice(&block.block_hash().to_byte_array()),
            header: serialize(&block.header).into(),
        };
        (block, told)
    }

    #[test]
    fn a_beacon_that_lies_is_caught() {
        let (_, honest) = block();
        let one = |block: &chain::BeaconBlock| checked_beacon(chain::Beacon { blocks: vec![block.clone()] });
        assert_eq!(one(&honest).unwrap()[0].height, 0);
        let hash = chain::BeaconBlock { hash: vec![1; 32].into(), ..honest.clone() };
        assert!(one(&hash).is_err());
        // A header without the work of the main chain.
        let poor = chain::BeaconBlock { chain: "bitcoin".to_owned(), ..honest.clone() };
        assert!(one(&poor).is_err());
        let unknown = chain::BeaconBlock { chain: "gold".to_owned(), ..honest.clone() };
        assert!(one(&unknown).is_err());
        let twice = chain::Beacon { blocks: vec![honest.clone(), honest] };
        assert!(checked_beacon(twice).is_err(), "a block is not its own parent");
    }

    #[test]
    fn a_proof_of_another_transaction_is_caught() {
        let (block, told) = block();
        let txid = block.txdata[0].compute_txid();
        let answer = chain::ProveTransactionResponse {
            chain: told.chain,
            height: 0,
            header: told.header,
            proof: TxInBlock::build_for(&block.txdata, txid).unwrap().to_bytes().into(),
        };
        assert_eq!(checked_proof(answer.clone(), txid).unwrap().transaction.compute_txid(), txid);
        assert!(checked_proof(answer.clone(), Txid::all_zeros()).is_err());
        for at in 0..answer.proof.len() {
            let mut proof = answer.proof.to_vec();
            proof[at] ^= 1;
            let changed = chain::ProveTransactionResponse { proof: proof.into(), ..answer.clone() };
            assert!(checked_proof(changed, txid).is_err(), "byte {at}");
        }
    }
}
