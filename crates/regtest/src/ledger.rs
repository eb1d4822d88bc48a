use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::{Amount, Block, BlockHash, OutPoint, Transaction, TxOut, Txid, Work};
use eschaton_headers::{Params, check_proof_of_work};
use eschaton_ports::chain::BlockRef;

use crate::rules::{self, AHEAD_MAX_S, Coin, Place, SpendError};
use crate::scripts;

/// A block and its place.
pub(crate) struct Node {
    pub(crate) block: Arc<Block>,
    pub(crate) height: u32,
    work: Work,
    /// Its transactions break a rule, which showed when its branch was about to win.
    invalid: bool,
}

/// What became of a block.
#[derive(Debug)]
pub(crate) enum Submitted {
    Known,
    Side,
    /// It is the tip; these transactions of the former best chain are no longer in a block.
    Best {
        undone: Vec<Transaction>,
    },
}

/// All blocks, and the best chain's coins. In memory alone: what is durable is the file of blocks.
pub(crate) struct Ledger {
    params: Params,
    nodes: HashMap<BlockHash, Node>,
    best: Vec<BlockHash>,
    coins: HashMap<OutPoint, Coin>,
    /// What each block of the best chain spent, to undo it.
    undo: Vec<Vec<(OutPoint, Coin)>>,
    transactions: HashMap<Txid, u32>,
    spenders: HashMap<OutPoint, (Txid, u32)>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let hash = genesis.block_hash();
        let node = Node { work: genesis.header.work(), block: Arc::new(genesis), height: 0, invalid: false };
        Self {
            params: Params::bitcoin_regtest(),
            nodes: HashMap::from([(hash, node)]),
            best: vec![hash],
            // Nobody can spend the genesis block's output: Bitcoin Core never had it among its coins.
            coins: HashMap::new(),
            undo: vec![Vec::new()],
            transactions: HashMap::new(),
            spenders: HashMap::new(),
        }
    }

    pub(crate) fn tip(&self) -> BlockRef {
        let height = u32::try_from(self.best.len() - 1).unwrap_or(u32::MAX);
        BlockRef { height, hash: self.best[self.best.len() - 1] }
    }

    pub(crate) fn hash_at(&self, height: u32) -> Option<BlockHash> {
        self.best.get(usize::try_from(height).ok()?).copied()
    }

    pub(crate) fn node(&self, hash: &BlockHash) -> Option<&Node> {
        self.nodes.get(hash)
    }

    pub(crate) fn coin(&self, output: &OutPoint) -> Option<&Coin> {
        self.coins.get(output)
    }

    /// The block of the best chain that holds a transaction.
    pub(crate) fn place(&self, txid: &Txid) -> Option<BlockRef> {
        let height = *self.transactions.get(txid)?;
        Some(BlockRef { height, hash: self.hash_at(height)? })
    }

    /// Who spent an output, in which block of the best chain.
    pub(crate) fn spender(&self, output: &OutPoint) -> Option<(Txid, BlockRef)> {
        let (txid, height) = *self.spenders.get(output)?;
        Some((txid, BlockRef { height, hash: self.hash_at(height)? }))
    }

    /// The median time of the eleven blocks before this height of the best chain.
    pub(crate) fn median_before(&self, height: u32) -> u32 {
        let last = usize::try_from(height).unwrap_or(usize::MAX).min(self.best.len());
        let blocks = self.best[last.saturating_sub(11)..last].iter();
        let mut times: Vec<u32> =
            blocks.filter_map(|hash| self.nodes.get(hash)).map(|node| node.block.header.time).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }

    /// The same before a child of any block.
    fn median_on(&self, parent: BlockHash) -> u32 {
        let (mut times, mut at) = (Vec::new(), parent);
        while let Some(node) = self.nodes.get(&at).filter(|_| times.len() < 11) {
            times.push(node.block.header.time);
            at = node.block.header.prev_blockhash;
        }
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }

    /// The place that the next block's transactions have.
    pub(crate) fn next_place(&self) -> Place {
        let height = self.tip().height + 1;
        Place { height, median: self.median_before(height) }
    }

    /// Takes a block in, if it keeps the rules; else nothing changes. `now`: seconds since 1970; none for blocks that were taken
    /// in before.
    pub(crate) fn submit(&mut self, block: Arc<Block>, now: Option<u32>) -> Result<Submitted, String> {
        let (header, hash) = (block.header, block.block_hash());
        if let Some(known) = self.nodes.get(&hash) {
            return if known.invalid {
                Err("it was refused before".to_owned())
            } else {
                Ok(Submitted::Known)
            };
        }
        let parent = self.nodes.get(&header.prev_blockhash).ok_or("its parent is not known")?;
        if parent.invalid {
            return Err("its parent was refused".to_owned());
        }
        let (height, work) = (parent.height + 1, parent.work + header.work());
        check_proof_of_work(&self.params, &header).map_err(|error| error.to_string())?;
        if header.time <= self.median_on(header.prev_blockhash) {
            return Err("its time is not after the median of those before it".to_owned());
        }
        if now.is_some_and(|now| header.time > now.saturating_add(AHEAD_MAX_S)) {
            return Err("its time is more than two hours ahead of the clock".to_owned());
        }
        rules::block_alone(&block, height)?;
        let best_work = self.nodes.get(&self.tip().hash).map(|node| node.work);
        self.nodes.insert(hash, Node { block, height, work, invalid: false });
        if best_work.is_some_and(|best| work <= best) {
            return Ok(Submitted::Side);
        }
        match self.reorganise(hash) {
            Ok(undone) => Ok(Submitted::Best { undone }),
            Err(error) => {
                // Its own bytes are not kept; an ancestor that was found out stays marked.
                self.nodes.remove(&hash);
                Err(error)
            }
        }
    }

    /// Makes a block the tip, or leaves all as it was.
    fn reorganise(&mut self, hash: BlockHash) -> Result<Vec<Transaction>, String> {
        let mut branch = Vec::new();
        let mut at = hash;
        while let Some(node) = self.nodes.get(&at).filter(|node| self.hash_at(node.height) != Some(at)) {
            branch.push((at, node.block.clone()));
            at = node.block.header.prev_blockhash;
        }
        let fork = self.nodes.get(&at).map_or(0, |node| node.height);
        let mut old = Vec::new();
        while self.tip().height > fork {
            old.extend(self.disconnect());
        }
        for (hash, block) in branch.iter().rev() {
            if let Err(error) = self.connect(*hash, block) {
                if let Some(node) = self.nodes.get_mut(hash) {
                    node.invalid = true;
                }
                while self.tip().height > fork {
                    self.disconnect();
                }
                for (hash, block) in old.iter().rev() {
                    self.connect(*hash, block)
                        .map_err(|again| format!("{error}; then the former chain: {again}"))?;
                }
                return Err(error);
            }
        }
        let undone = old.iter().rev().flat_map(|(_, block)| block.txdata.iter().skip(1).cloned());
        Ok(undone.collect())
    }

    /// Adds a block on the tip: all is checked before anything changes.
    fn connect(&mut self, hash: BlockHash, block: &Arc<Block>) -> Result<(), String> {
        let place = self.next_place();
        let mut made: HashMap<OutPoint, Coin> = HashMap::new();
        let mut spent: Vec<(OutPoint, Coin, Txid)> = Vec::new();
        let mut gone = std::collections::HashSet::new();
        let mut fees = Amount::ZERO;
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            if !rules::is_final(transaction, place) {
                return Err(format!("{txid} is locked still"));
            }
            // BIP 30: heights in coinbases keep ids apart, and this says so.
            if self.transactions.contains_key(&txid) {
                return Err(format!("{txid} is in a block already"));
            }
            if !transaction.is_coinbase() {
                let mut coins = Vec::new();
                for input in &transaction.input {
                    let output = input.previous_output;
                    let coin = made.get(&output).or_else(|| self.coins.get(&output)).cloned();
                    let coin = coin
                        .filter(|_| gone.insert(output))
                        .ok_or_else(|| format!("{txid} spends {output}, which is not there"))?;
                    coins.push(coin.clone());
                    spent.push((output, coin, txid));
                }
                let fee = rules::spend(transaction, &coins, place.height).map_err(|error| match error {
                    SpendError::Immature => format!("{txid} spends a coinbase that is too young"),
                    SpendError::Invalid(why) => format!("{txid}: {why}"),
                })?;
                if !rules::relative_locks_came(transaction, &coins, place, |height| {
                    self.median_before(height)
                }) {
                    return Err(format!("{txid} has a relative lock that has not come"));
                }
                let outputs: Vec<TxOut> = coins.into_iter().map(|coin| coin.output).collect();
                scripts::check(transaction, &outputs).map_err(|why| format!("{txid}: {why}"))?;
                fees = fees.checked_add(fee).ok_or("fees of more than all money")?;
            }
            for (vout, output) in (0..).zip(&transaction.output) {
                if !output.script_pubkey.is_op_return() {
                    let coin = Coin {
                        output: output.clone(),
                        height: place.height,
                        coinbase: transaction.is_coinbase(),
                    };
                    made.insert(OutPoint { txid, vout }, coin);
                }
            }
        }
        let most = rules::subsidy(place.height).checked_add(fees).ok_or("fees of more than all money")?;
        let paid = rules::output_sum(&block.txdata[0])?;
        if paid > most {
            return Err(format!("its coinbase takes {paid}, of {most}"));
        }
        self.best.push(hash);
        self.coins.extend(made);
        let mut undo = Vec::new();
        for (output, coin, txid) in spent {
            self.coins.remove(&output);
            self.spenders.insert(output, (txid, place.height));
            undo.push((output, coin));
        }
        self.undo.push(undo);
        self.transactions
            .extend(block.txdata.iter().map(|transaction| (transaction.compute_txid(), place.height)));
        Ok(())
    }

    /// Takes the tip off; none at genesis.
    fn disconnect(&mut self) -> Option<(BlockHash, Arc<Block>)> {
        if self.best.len() < 2 {
            return None;
        }
        let hash = self.best.pop()?;
        let block = self.nodes.get(&hash)?.block.clone();
        for (output, coin) in self.undo.pop()?.into_iter().rev() {
            self.spenders.remove(&output);
            self.coins.insert(output, coin);
        }
        // After the inputs: what this block made and spent itself is gone as well.
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            self.transactions.remove(&txid);
            for vout in (0..).take(transaction.output.len()) {
                self.coins.remove(&OutPoint { txid, vout });
            }
        }
        Some((hash, block))
    }
}
