//! What the chain suite works with: a node's bench, a key, and matured coins.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, WitnessMerkleNode, transaction,
};
use bytes::Bytes;
use futures::lock::Mutex;

use crate::chain::{BlockRef, Chain, Watched};

/// A chain under test and what a suite needs beside the port. The chain is a regtest of its own.
#[async_trait]
pub trait ChainBench: Send + Sync + 'static {
    /// The adapter.
    fn chain(&self) -> Arc<dyn Chain>;
    /// Hands the node a block past the adapter. Fine if it does not become the tip. Panics if it is refused.
    async fn submit_block(&self, block: Bytes);
    /// The coin's proof-of-work hash of a header, as a little-endian number.
    fn proof_of_work(&self, header: &[u8; 80]) -> [u8; 32];
    /// Seconds since 1970, for the blocks' times.
    fn now_s(&self) -> u32;
    /// Coins of a block by consensus at this height, without fees.
    fn subsidy(&self, height: u32) -> Amount;
    /// Blocks to mine before anything else, for nodes whose rules begin with some vote of blocks.
    fn blocks_first(&self) -> u32 {
        0
    }
    /// What the node is known to lack; the suite then demands `Unsupported`.
    fn lacks(&self) -> Lacks {
        Lacks::default()
    }
}

/// What a kind of node cannot do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lacks {
    /// `broadcast_package`
    pub packages: bool,
    /// `accepts`
    pub accepts: bool,
    /// A higher fee in a second spend's favour: the first that the mempool holds stays.
    pub replacement: bool,
}

/// An output of the suite's key.
#[derive(Clone, Debug)]
pub(super) struct Coin {
    /// Where.
    pub(super) outpoint: OutPoint,
    /// How much.
    pub(super) value: Amount,
}

/// A bench with matured coins. Clones share them.
#[derive(Clone)]
pub struct Rig {
    /// The bench.
    pub(super) bench: Arc<dyn ChainBench>,
    /// The chain under test.
    pub(super) chain: Arc<dyn Chain>,
    coins: Arc<Mutex<VecDeque<(u32, Coin)>>>,
}

const MATURITY: u32 = 100;
const FEE: Amount = Amount::from_sat(20_000);

fn key() -> SecretKey {
    SecretKey::from_slice(&[7; 32]).unwrap()
}

fn public_key() -> PublicKey {
    key().public_key(&Secp256k1::new())
}

/// The suite's P2WPKH script.
pub(super) fn script() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&bitcoin::CompressedPublicKey(public_key()).wpubkey_hash())
}

/// The script of a key that differs by `number`.
pub(super) fn other_script(number: u8) -> ScriptBuf {
    let key = SecretKey::from_slice(&[number.max(1); 32]).unwrap().public_key(&Secp256k1::new());
    ScriptBuf::new_p2wpkh(&bitcoin::CompressedPublicKey(key).wpubkey_hash())
}

/// Spends coins of the suite's key into these outputs, replaceable, signed.
pub(super) fn spend_into(coins: &[Coin], output: Vec<TxOut>) -> Transaction {
    let input = coins.iter().map(|coin| TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    });
    let mut transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: input.collect(),
        output,
    };
    sign(&mut transaction, coins);
    transaction
}

/// Signs all inputs, which spend these coins in this order.
pub(super) fn sign(transaction: &mut Transaction, coins: &[Coin]) {
    let secp = Secp256k1::new();
    for (index, coin) in coins.iter().enumerate() {
        let hash = SighashCache::new(&*transaction)
            .p2wpkh_signature_hash(index, &script(), coin.value, EcdsaSighashType::All)
            .unwrap();
        let signature = secp.sign_ecdsa(&Message::from_digest(hash.to_byte_array()), &key());
        let signature = bitcoin::ecdsa::Signature { signature, sighash_type: EcdsaSighashType::All };
        transaction.input[index].witness = Witness::p2wpkh(&signature, &public_key());
    }
}

/// Spends a coin to the suite's key again, less this fee. `mark` makes the transaction differ from others.
pub(super) fn spend(coin: &Coin, fee: Amount, mark: u8) -> Transaction {
    let first = coin.value / 2;
    let rest = coin.value - first - fee;
    let output = vec![
        TxOut { value: first, script_pubkey: script() },
        TxOut { value: rest, script_pubkey: other_script(mark) },
    ];
    spend_into(std::slice::from_ref(coin), output)
}

/// As [`spend`], with an ordinary fee.
pub(super) fn pay(coin: &Coin) -> Transaction {
    spend(coin, FEE, 1)
}

/// The first output of what [`spend`] made.
pub(super) fn change(transaction: &Transaction) -> Coin {
    let outpoint = OutPoint { txid: transaction.compute_txid(), vout: 0 };
    Coin { outpoint, value: transaction.output[0].value }
}

impl Rig {
    /// A rig on this bench. Mines until there are coins.
    pub(super) async fn new(bench: Arc<dyn ChainBench>) -> Self {
        let chain = bench.chain();
        let rig = Self { bench, chain, coins: Arc::default() };
        rig.mine(rig.bench.blocks_first()).await;
        rig
    }

    /// A coin that is mature at the tip and nobody else has.
    pub(super) async fn coin(&self) -> Coin {
        let mut coins = self.coins.lock().await;
        if coins.is_empty() {
            for block in self.mine(30).await {
                let coinbase = &block.1.txdata[0];
                let outpoint = OutPoint { txid: coinbase.compute_txid(), vout: 0 };
                coins.push_back((block.0.height, Coin { outpoint, value: coinbase.output[0].value }));
            }
        }
        let (height, coin) = coins.pop_front().unwrap();
        let tip = self.tip().await;
        if let Some(missing) = (height + MATURITY).checked_sub(tip.height) {
            self.mine(missing).await;
        }
        coin
    }

    /// The chain's tip.
    pub(super) async fn tip(&self) -> BlockRef {
        self.chain.tip().await.unwrap()
    }

    /// The block at this height.
    pub(super) async fn at(&self, height: u32) -> BlockRef {
        BlockRef { height, hash: self.chain.hash_at(height).await.unwrap().expect("a block at this height") }
    }

    /// Mines empty blocks on the tip.
    pub(super) async fn mine(&self, count: u32) -> Vec<(BlockRef, Block)> {
        let tip = self.tip().await;
        self.mine_on(tip, count, 0).await
    }

    /// Mines one block on the tip with these transactions.
    pub(super) async fn mine_with(&self, transactions: Vec<Transaction>) -> (BlockRef, Block) {
        let tip = self.tip().await;
        self.mine_one(tip, transactions, 0).await
    }

    /// Mines a branch of empty blocks on any block; `branch` makes it differ from others.
    pub(super) async fn mine_on(&self, parent: BlockRef, count: u32, branch: u8) -> Vec<(BlockRef, Block)> {
        let mut mined: Vec<(BlockRef, Block)> = Vec::new();
        for _ in 0..count {
            let parent = mined.last().map_or(parent, |block| block.0);
            mined.push(self.mine_one(parent, Vec::new(), branch).await);
        }
        mined
    }

    /// Mines one block on this parent.
    pub(super) async fn mine_one(
        &self,
        parent: BlockRef,
        transactions: Vec<Transaction>,
        branch: u8,
    ) -> (BlockRef, Block) {
        let before = self.chain.header(parent.hash).await.unwrap().expect("the parent's header").header;
        let block = self.build(parent, before, transactions, branch);
        self.bench.submit_block(Bytes::from(serialize(&block))).await;
        (BlockRef { height: parent.height + 1, hash: block.block_hash() }, block)
    }

    /// A valid block on this parent; not handed in.
    pub(super) fn build(
        &self,
        parent: BlockRef,
        before: Header,
        transactions: Vec<Transaction>,
        branch: u8,
    ) -> Block {
        let height = parent.height + 1;
        let mut coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                // BIP 34, then a byte of the branch: a coinbase script has at least two.
                script_sig: bitcoin::script::Builder::new()
                    .push_int(i64::from(height))
                    .push_slice([branch, 0xE5])
                    .into_script(),
                sequence: Sequence::MAX,
                witness: Witness::from_slice(&[[0_u8; 32]]),
            }],
            output: vec![TxOut { value: self.bench.subsidy(height), script_pubkey: script() }],
        };
        let mut txdata = vec![coinbase.clone()];
        txdata.extend(transactions);
        let leaves = txdata.iter().enumerate().map(|(index, transaction)| match index {
            0 => [0; 32],
            _ => transaction.compute_wtxid().to_byte_array(),
        });
        let root =
            bitcoin::merkle_tree::calculate_root(leaves.map(WitnessMerkleNode::from_byte_array)).unwrap();
        let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
        // BIP 141: OP_RETURN, 36 bytes, aa21a9ed, commitment.
        let mut bytes = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
        bytes.extend(commitment.to_byte_array());
        coinbase.output.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(bytes) });
        txdata[0] = coinbase;
        let header = Header {
            // Votes (BIP 9) for relative locks and for witnesses, where those are still asked for.
            version: Version::from_consensus(0x2000_0003),
            prev_blockhash: parent.hash,
            merkle_root: TxMerkleNode::all_zeros(),
            time: (before.time + 1).max(self.bench.now_s().saturating_sub(3_600)),
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        self.grind(&mut block.header);
        block
    }

    fn grind(&self, header: &mut Header) {
        let target = Target::from_compact(header.bits).to_le_bytes();
        loop {
            let bytes: [u8; 80] = serialize(header).try_into().unwrap();
            let hash = self.bench.proof_of_work(&bytes);
            if hash.iter().rev().le(target.iter().rev()) {
                return;
            }
            header.nonce += 1;
        }
    }

    /// Asks after a transaction that was not in a block so far.
    pub(super) async fn watch(&self, transaction: &Transaction) -> Watched {
        Watched::new(transaction, self.tip().await.height)
    }
}

/// A hash that no block has.
pub(super) fn nowhere() -> BlockHash {
    BlockHash::from_byte_array([0x5a; 32])
}

/// An id that no transaction has.
pub(super) fn nobody() -> Txid {
    Txid::from_byte_array([0x5a; 32])
}
