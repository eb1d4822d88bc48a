//! Keys and transactions of the tests' own.

use bytes::Bytes;
use eschaton_types::{
    Address, Amount, Body, Input, Key, Network, OutPoint, Output, Product, Transaction, TxId,
};

/// Issues the native coin of the test's network.
pub(crate) struct Mint {
    issuer: Key,
    text: String,
}

impl Mint {
    pub(crate) fn new() -> Self {
        let issuer = key(u64::MAX);
        Self { issuer, text: issuer.address().to_text(Network::Dev) }
    }

    /// Options that make a node take its issuances.
    pub(crate) fn options(&self) -> [&str; 2] {
        ["--native-issuer", &self.text]
    }

    /// One output of `amount` for each of the owners; `nonce` tells issuances apart.
    pub(crate) fn issue(&self, owners: &[Address], amount: u64, nonce: u64) -> Transaction {
        let amount = Amount::new(amount).unwrap();
        let outputs = owners.iter().map(|owner| Output::pay(*owner, Product::Native, amount)).collect();
        let metadata = Bytes::copy_from_slice(&nonce.to_be_bytes());
        Body { metadata, ..body(Vec::new(), outputs) }.issued(&self.issuer).unwrap()
    }
}

/// The `n`-th key.
pub(crate) fn key(n: u64) -> Key {
    let seed = TxId::of_body(&[b"test key ".as_slice(), &n.to_be_bytes()].concat());
    Key::from_secret(seed.0).unwrap()
}

/// An owner whose key nobody has.
pub(crate) fn stranger(n: u8) -> Address {
    Address([n; 32])
}

/// The `index`-th output of a transaction.
pub(crate) fn outpoint(of: &Transaction, index: usize) -> OutPoint {
    OutPoint { txid: of.txid, index: u16::try_from(index).unwrap() }
}

pub(crate) fn input(owner: &Key, outpoint: OutPoint) -> Input {
    Input::spend(outpoint, owner.address(), Product::Native)
}

pub(crate) fn output(to: Address, amount: u64) -> Output {
    Output::pay(to, Product::Native, Amount::new(amount).unwrap())
}

/// A body without fees, locks and metadata.
pub(crate) fn body(inputs: Vec<Input>, outputs: Vec<Output>) -> Body {
    Body::plain(Network::Dev, inputs, outputs)
}

/// Signed by one key for each input.
pub(crate) fn sign(body: &Body, owners: &[&Key]) -> Transaction {
    let owners: Vec<Key> = owners.iter().map(|owner| **owner).collect();
    body.signed(&owners).unwrap()
}

/// All of one output to one receiver.
pub(crate) fn pay(owner: &Key, outpoint: OutPoint, to: Address, amount: u64) -> Transaction {
    sign(&body(vec![input(owner, outpoint)], vec![output(to, amount)]), &[owner])
}
