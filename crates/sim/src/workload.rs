//! What clients want, made from the seed before the run.

use std::sync::Arc;

use bytes::Bytes;
use eschaton_types::{
    AMOUNT_MAX, Address, Amount, Body, Fee, Input, KeySet, Network, OutPoint, Output, OwnerProof, Product,
    Rules, Transaction, TxId, Witness,
};

use crate::dice::Dice;
use crate::profile::Profile;

/// One transaction, who submits it, and how long after the one before.
pub(crate) struct Wish {
    pub(crate) tx: Arc<Transaction>,
    pub(crate) client: u64,
    pub(crate) pause_ms: u64,
}

#[derive(Clone, Copy)]
struct Coin {
    outpoint: OutPoint,
    owner: usize,
    product: Product,
    amount: u64,
}

/// Makes wishes. Its keys are 32 bytes of chance and its signatures zeros: the core trusts ingress, and
/// curve arithmetic would take nearly all of a run's time.
pub(crate) struct Workload {
    dice: Dice,
    profile: Profile,
    owners: Vec<KeySet>,
    products: Vec<(usize, Product)>,
    /// Outputs that may come to be, by the wishes made so far.
    coins: Vec<Coin>,
    /// Outputs that were meant to be spent: what contenders and fools spend again.
    used: Vec<Coin>,
    made: u64,
}

impl Workload {
    pub(crate) fn new(mut dice: Dice, profile: &Profile) -> Self {
        let owners: Vec<_> = (0..dice.between(6, 24)).filter_map(|_| key_set(&mut dice)).collect();
        let mut products = vec![(0, Product::Native)];
        for _ in 0..dice.below(3) {
            let issuer = dice.index(owners.len());
            let address = owners.get(issuer).map(KeySet::address);
            products.extend(address.map(|address| (issuer, Product::of_issuer(Network::Dev, &address))));
        }
        Self {
            dice,
            profile: profile.clone(),
            owners,
            products,
            coins: Vec::new(),
            used: Vec::new(),
            made: 0,
        }
    }

    /// The wishes of one round.
    pub(crate) fn round(&mut self, now_ms: u64) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for issued in 0..self.products.len() {
            self.issue(issued, &mut wishes);
        }
        while wishes.len() < usize::try_from(self.profile.transactions).unwrap_or(0) {
            if self.coins.len() < 3 || self.dice.percent(3) {
                let product = self.dice.index(self.products.len());
                self.issue(product, &mut wishes);
            }
            if self.dice.percent(self.profile.odd_percent) {
                self.odd(now_ms, &mut wishes);
            } else if self.dice.percent(self.profile.conflicts_percent) {
                self.contend(&mut wishes);
            } else {
                let coins = self.choose();
                let body = self.pay(&coins);
                self.wish(body, true, &mut wishes);
            }
        }
        wishes
    }

    /// `likely`: its outputs are worth spending.
    fn wish(&mut self, body: Body, likely: bool, wishes: &mut Vec<Wish>) {
        let witness = Witness {
            owners: body.consumed().filter_map(|input| self.prove(&input.owner)).collect(),
            ..Witness::default()
        };
        self.submit(&body, &witness, likely, wishes);
    }

    fn submit(&mut self, body: &Body, witness: &Witness, likely: bool, wishes: &mut Vec<Wish>) {
        let Ok(tx) = Transaction::assemble(body, witness) else { return };
        let rules = Rules { network: Network::Dev, native_issuer: Some(self.address(0)) };
        // What ingress refuses never reaches the log.
        if tx.check(&rules).is_err() {
            return;
        }
        for (index, output) in (0u16..).zip(&body.outputs).filter(|_| likely) {
            let outpoint = OutPoint { txid: tx.txid, index };
            if let Some(owner) = self.owners.iter().position(|keys| keys.address() == output.owner) {
                self.coins.push(Coin {
                    outpoint,
                    owner,
                    product: output.product,
                    amount: output.amount.units(),
                });
            }
        }
        let pause_ms = if self.dice.percent(60) { 0 } else { self.dice.below(40) };
        let client = self.dice.below(self.profile.clients);
        wishes.push(Wish { tx: Arc::new(tx), client, pause_ms });
    }

    fn prove(&self, owner: &Address) -> Option<OwnerProof> {
        let keys = self.owners.iter().find(|keys| keys.address() == *owner)?.clone();
        let signatures = (0..keys.threshold()).map(|key| (key, [0; 64])).collect();
        Some(OwnerProof { keys, signatures })
    }

    fn address(&self, owner: usize) -> Address {
        self.owners.get(owner).map_or(Address([0; 32]), KeySet::address)
    }

    fn somebody(&mut self) -> Address {
        let owner = self.dice.index(self.owners.len());
        self.address(owner)
    }

    fn body(&mut self) -> Body {
        self.made += 1;
        Body {
            network: Network::Dev,
            inputs: Vec::new(),
            outputs: Vec::new(),
            fees: Vec::new(),
            not_before_ms: 0,
            not_after_ms: 0,
            min_spend_delay_ms: 0,
            metadata: Bytes::copy_from_slice(&self.made.to_be_bytes()),
        }
    }

    fn issue(&mut self, place: usize, wishes: &mut Vec<Wish>) {
        let Some((issuer, product)) = self.products.get(place).copied() else { return };
        let mut body = self.body();
        // Now and then so much that the supply's bound is met.
        let most = if self.dice.percent(8) { AMOUNT_MAX / 10 } else { 1_000 };
        for _ in 0..self.dice.between(2, 8) {
            let owner = self.somebody();
            body.outputs.push(Output::pay(owner, product, amount(self.dice.between(1, most))));
        }
        let issuer = self.address(issuer);
        let witness = Witness { issuer: self.prove(&issuer), ..Witness::default() };
        self.submit(&body, &witness, true, wishes);
    }

    /// Takes coins to spend: newest first when payments are to form chains.
    fn choose(&mut self) -> Vec<Coin> {
        let count =
            if self.dice.percent(self.profile.several_owners_percent) { self.dice.between(2, 4) } else { 1 };
        let mut chosen = Vec::new();
        for _ in 0..count {
            let from = if self.dice.percent(self.profile.chains_percent) {
                self.coins.len().saturating_sub(3)
            } else {
                0
            };
            let place = from + self.dice.index(self.coins.len().saturating_sub(from));
            if place < self.coins.len() {
                chosen.push(self.coins.swap_remove(place));
            }
        }
        self.used.extend(&chosen);
        chosen
    }

    /// A payment of all these coins, balanced.
    fn pay(&mut self, coins: &[Coin]) -> Body {
        let mut body = self.body();
        let mut products: Vec<_> = coins.iter().map(|coin| coin.product).collect();
        products.sort_unstable();
        products.dedup();
        for coin in coins {
            body.inputs.push(self.input(coin, false));
        }
        for product in products {
            let sum: u64 = coins.iter().filter(|coin| coin.product == product).map(|coin| coin.amount).sum();
            let mut rest = sum;
            if rest > 1 && self.dice.percent(30) {
                let fee = self.dice.between(1, (rest - 1).min(5));
                rest -= fee;
                body.fees.push(Fee { product, amount: amount(fee) });
            }
            while rest > 1 && self.dice.percent(50) && body.outputs.len() < 6 {
                let part = self.dice.between(1, rest - 1);
                rest -= part;
                let owner = self.somebody();
                body.outputs.push(Output::pay(owner, product, amount(part)));
            }
            let owner = self.somebody();
            body.outputs.push(Output::pay(owner, product, amount(rest)));
        }
        if self.dice.percent(10)
            && let Some(coin) = self.any()
            && body.inputs.iter().all(|input| input.outpoint != coin.outpoint)
        {
            body.inputs.push(self.input(&coin, true));
        }
        body
    }

    fn any(&mut self) -> Option<Coin> {
        let coins = if self.dice.percent(60) { &self.coins } else { &self.used };
        coins.get(self.dice.index(coins.len())).copied()
    }

    fn input(&self, coin: &Coin, read_only: bool) -> Input {
        Input { outpoint: coin.outpoint, owner: self.address(coin.owner), product: coin.product, read_only }
    }

    /// Several payments that want the same coin, each with other coins beside it.
    fn contend(&mut self, wishes: &mut Vec<Wish>) {
        let mut shared = self.choose();
        if self.dice.percent(30) {
            shared = self.any().into_iter().collect();
        }
        shared.truncate(2);
        for contender in 0..self.dice.between(2, 5) {
            let mut coins = shared.clone();
            if self.dice.percent(40) {
                coins.extend(self.any().filter(|coin| coins.iter().all(|c| c.outpoint != coin.outpoint)));
            }
            if self.dice.percent(50) {
                coins.reverse();
            }
            let body = self.pay(&coins);
            self.wish(body, contender == 0, wishes);
        }
    }

    /// What an honest wallet does not send, or has to send again.
    fn odd(&mut self, now_ms: u64, wishes: &mut Vec<Wish>) {
        let coins = self.choose();
        let mut body = self.pay(&coins);
        match self.dice.below(7) {
            0 => body.inputs.extend(coins.first().map(|coin| {
                // Never created.
                let outpoint = OutPoint { txid: TxId([self.dice.below(200).to_be_bytes()[7]; 32]), index: 0 };
                Input { outpoint, ..self.input(coin, false) }
            })),
            1 => {
                if let Some(output) = body.outputs.first_mut() {
                    output.amount = amount(output.amount.units() + 1);
                }
            }
            2 => body.not_before_ms = now_ms + self.dice.below(3_000),
            3 => body.not_after_ms = now_ms + self.dice.between(1, 2_000),
            4 | 5 => body.min_spend_delay_ms = self.dice.below(2_000),
            _ => {
                if let Some(input) = body.inputs.first_mut() {
                    input.product = Product::Issued([9; 32]);
                }
            }
        }
        let likely = self.dice.percent(30);
        self.wish(body, likely, wishes);
    }
}

fn key_set(dice: &mut Dice) -> Option<KeySet> {
    let many = if dice.percent(20) { dice.between(2, 3) } else { 1 };
    let mut keys: Vec<_> = (0..many)
        .map(|_| {
            let mut key = [0; 32];
            for part in key.chunks_exact_mut(8) {
                part.copy_from_slice(&dice.next().to_be_bytes());
            }
            key
        })
        .collect();
    keys.sort_unstable();
    KeySet::new(keys, u32::try_from(dice.between(1, many)).unwrap_or(1)).ok()
}

fn amount(units: u64) -> Amount {
    Amount::new(units.min(AMOUNT_MAX)).unwrap_or_default()
}
