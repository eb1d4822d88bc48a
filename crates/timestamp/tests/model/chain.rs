//! A chain with blocks of real transactions, a mempool, reorganisations and strangers who spend our outputs.

use std::collections::{BTreeMap, BTreeSet};

use eschaton_ots::Header;
use eschaton_ots::tree::Hash;
use eschaton_timestamp::block::BlockBranch;
use eschaton_timestamp::transaction::{Outpoint, Transaction, sha256d};

/// Blocks before a block's reward may be spent; deeper than any reorganisation here.
const MATURITY: usize = 5;

#[derive(Clone, Debug)]
pub struct Tx {
    pub raw: Vec<u8>,
    pub parsed: Transaction,
    pub fee: u64,
    /// Of a stranger who has our keys.
    pub foreign: bool,
}

impl Tx {
    /// Spends `inputs`; output 0 is the wallet's.
    pub fn new(inputs: &[Outpoint], payload: Option<&Hash>, fee: u64, salt: u64) -> Self {
        let mut raw = vec![2, 0, 0, 0, u8::try_from(inputs.len()).expect("few")];
        for input in inputs {
            raw.extend_from_slice(&input.txid);
            raw.extend_from_slice(&input.index.to_le_bytes());
            raw.extend_from_slice(&[0, 0xfd, 0xff, 0xff, 0xff]);
        }
        raw.push(if payload.is_some() { 2 } else { 1 });
        raw.extend_from_slice(&(1_000_000 + salt).to_le_bytes());
        raw.extend_from_slice(&[2, 0x51, 0x51]);
        if let Some(payload) = payload {
            raw.extend_from_slice(&[0; 8]);
            raw.extend_from_slice(&[34, 0x6a, 0x20]);
            raw.extend_from_slice(payload);
        }
        raw.extend_from_slice(&[0; 4]);
        let parsed = Transaction::parse(&raw).expect("well formed");
        Self { raw, parsed, fee, foreign: false }
    }

    pub fn conflicts(&self, other: &Self) -> bool {
        self.parsed.inputs().iter().any(|input| other.parsed.inputs().contains(input))
    }
}

#[derive(Clone, Debug)]
pub struct Block {
    pub txs: Vec<Tx>,
    pub header: Header,
}

#[derive(Default)]
pub struct Chain {
    pub blocks: Vec<Block>,
    pub mempool: Vec<Tx>,
    /// What blocks pushed out of the mempool: other nodes may bring it back.
    pub evicted: Vec<Tx>,
    rewards: u64,
}

impl Chain {
    /// Height of the last block; block 0 is there from the beginning.
    pub fn tip(&self) -> usize {
        self.blocks.len() - 1
    }

    fn spent(&self) -> BTreeSet<Outpoint> {
        let txs = self.blocks.iter().flat_map(|block| &block.txs);
        txs.flat_map(|tx| tx.parsed.inputs().iter().copied()).collect()
    }

    /// The wallet's outputs that may be spent.
    pub fn unspent(&self) -> Vec<Outpoint> {
        let spent = self.spent();
        let mut found = Vec::new();
        for (height, block) in self.blocks.iter().enumerate() {
            for (at, tx) in block.txs.iter().enumerate() {
                let outpoint = Outpoint { txid: tx.parsed.txid(), index: 0 };
                let mature = at > 0 || height + MATURITY <= self.tip();
                if mature && !tx.foreign && !spent.contains(&outpoint) {
                    found.push(outpoint);
                }
            }
        }
        found
    }

    fn can_confirm(&self, tx: &Tx, unspent: &BTreeSet<Outpoint>) -> bool {
        tx.parsed.inputs().iter().all(|input| unspent.contains(input))
    }

    /// What a node does with a transaction: takes it if its inputs are there and it pays more than all that it
    /// conflicts with. Tells whether the mempool holds it.
    pub fn broadcast(&mut self, tx: Tx) -> bool {
        let txid = tx.parsed.txid();
        if self.mempool.iter().any(|other| other.parsed.txid() == txid) {
            return true;
        }
        let unspent = self.unspent().into_iter().collect();
        let cheaper = |other: &Tx| other.fee < tx.fee;
        if !self.can_confirm(&tx, &unspent)
            || !self.mempool.iter().filter(|other| other.conflicts(&tx)).all(cheaper)
        {
            return false;
        }
        let (gone, kept) = self.mempool.drain(..).partition(|other: &Tx| other.conflicts(&tx));
        self.mempool = kept;
        let gone: Vec<Tx> = gone;
        self.evicted.extend(gone);
        self.mempool.push(tx);
        true
    }

    /// A block with those of the mempool that `take` chooses, and `foreign` before them.
    pub fn mine(&mut self, foreign: Option<Tx>, mut take: impl FnMut() -> bool, time: u32) {
        self.rewards += 1;
        let nowhere = Outpoint { txid: [0; 32], index: u32::MAX };
        let mut txs = vec![Tx::new(&[nowhere], None, 0, self.rewards)];
        let mut unspent: BTreeSet<Outpoint> = self.unspent().into_iter().collect();
        for tx in foreign.into_iter().chain(std::mem::take(&mut self.mempool)) {
            let forced = tx.foreign;
            if (forced || take()) && self.can_confirm(&tx, &unspent) {
                unspent.retain(|outpoint| !tx.parsed.inputs().contains(outpoint));
                txs.push(tx);
            } else if !forced {
                self.mempool.push(tx);
            }
        }
        let (gone, kept) =
            self.mempool.drain(..).partition(|tx: &Tx| txs.iter().any(|mined| mined.conflicts(tx)));
        self.mempool = kept;
        let gone: Vec<Tx> = gone;
        self.evicted.extend(gone);
        let txids: Vec<Hash> = txs.iter().map(|tx| tx.parsed.txid()).collect();
        let branch = BlockBranch::of(&txids, 0).expect("a reward");
        let previous = self.blocks.last().map_or([0; 32], |block| sha256d(&block.header));
        let mut header = [0; 80];
        header[4..36].copy_from_slice(&previous);
        header[36..68].copy_from_slice(&branch.root(&txids[0]));
        header[68..72].copy_from_slice(&time.to_le_bytes());
        self.blocks.push(Block { txs, header });
    }

    /// Takes blocks away. Their transactions, and what they had pushed out, are in the network again if `back`
    /// says so of each.
    pub fn disconnect(&mut self, depth: usize, mut back: impl FnMut() -> bool) {
        let gone = self.blocks.split_off(self.blocks.len() - depth);
        let own = gone.into_iter().flat_map(|block| block.txs.into_iter().skip(1)).filter(|tx| !tx.foreign);
        let candidates: Vec<Tx> = own.chain(std::mem::take(&mut self.evicted)).collect();
        for tx in candidates {
            if back() {
                let _ = self.broadcast(tx.clone()); // it may conflict with what is there
            }
        }
    }

    /// Height and place of a transaction.
    pub fn find(&self, txid: &Hash) -> Option<(usize, usize)> {
        self.blocks.iter().enumerate().find_map(|(height, block)| {
            Some((height, block.txs.iter().position(|tx| tx.parsed.txid() == *txid)?))
        })
    }

    /// Who spends an output of the wallet, and where.
    pub fn spender(&self, outpoint: &Outpoint) -> Option<(usize, Hash)> {
        self.blocks.iter().enumerate().find_map(|(height, block)| {
            let spends = |tx: &&Tx| tx.parsed.inputs().contains(outpoint);
            Some((height, block.txs.iter().find(spends)?.parsed.txid()))
        })
    }

    pub fn branch(&self, height: usize, place: usize) -> BlockBranch {
        let txids: Vec<Hash> = self.blocks[height].txs.iter().map(|tx| tx.parsed.txid()).collect();
        BlockBranch::of(&txids, place).expect("in the block")
    }

    /// How many transactions of the chain carry each payload.
    pub fn payloads(&self, roots: &[Hash]) -> BTreeMap<Hash, usize> {
        let mut counts: BTreeMap<Hash, usize> = roots.iter().map(|root| (*root, 0)).collect();
        for tx in self.blocks.iter().flat_map(|block| &block.txs) {
            for (root, count) in &mut counts {
                *count += usize::from(tx.parsed.around(root).is_ok());
            }
        }
        counts
    }
}
