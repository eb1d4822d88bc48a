//! Deterministic keys and transactions. Secrets are one byte repeated, so that another
//! implementation can read them off the vectors.

use bytes::Bytes;
use eschaton_types::{
    Address, Amount, Body, Fee, Input, Key, KeySet, Network, OutPoint, Output, OwnerProof, Product, Rules,
    Transaction, TxError, TxId, Witness, musig_sign,
};

/// The key whose secret is `byte`, 32 times.
pub(crate) fn key(byte: u8) -> Key {
    Key::from_secret([byte; 32]).expect("a repeated small byte is below the curve's order")
}

pub(crate) fn amount(units: u64) -> Amount {
    Amount::new(units).expect("within 10^18")
}

/// The native coin's issuer in all tests.
pub(crate) fn treasury() -> Key {
    key(0x70)
}

pub(crate) fn rules(network: Network) -> Rules {
    Rules { network, native_issuer: Some(treasury().address()) }
}

/// Output `index` of a made-up transaction `tag`, owned by `owner`.
pub(crate) fn input(tag: u8, index: u16, owner: Address) -> Input {
    let outpoint = OutPoint { txid: TxId([tag; 32]), index };
    Input { outpoint, owner, product: Product::Native, read_only: false }
}

pub(crate) fn pay(owner: Address, units: u64) -> Output {
    Output::pay(owner, Product::Native, amount(units))
}

pub(crate) fn body(inputs: Vec<Input>, outputs: Vec<Output>) -> Body {
    Body {
        network: Network::Dev,
        inputs,
        outputs,
        fees: vec![],
        not_before_ms: 0,
        not_after_ms: 0,
        min_spend_delay_ms: 0,
        metadata: Bytes::new(),
    }
}

/// One input of key 1, one output to key 2.
pub(crate) fn simple_body() -> Body {
    body(vec![input(0xa1, 0, key(1).address())], vec![pay(key(2).address(), 5)])
}

pub(crate) fn txid(body: &Body) -> TxId {
    TxId::of_body(&body.encode())
}

/// A witness in which each key proves one consumed input.
pub(crate) fn owners(body: &Body, keys: &[Key]) -> Witness {
    let txid = txid(body);
    Witness { owners: keys.iter().map(|key| key.prove(&txid)).collect(), ..Witness::default() }
}

pub(crate) fn issuer(body: &Body, key: &Key) -> Witness {
    Witness { issuer: Some(key.prove(&txid(body))), ..Witness::default() }
}

/// The whole stateless judgement of a transaction from outside, on the development network.
pub(crate) fn judge(bytes: Bytes) -> Result<Transaction, TxError> {
    let transaction = Transaction::decode(bytes)?;
    transaction.check(&rules(Network::Dev))?;
    transaction.verify_signatures()?;
    Ok(transaction)
}

/// [`judge`] of a typed body and witness.
pub(crate) fn judge_parts(body: &Body, witness: &Witness) -> Result<Transaction, TxError> {
    judge(Transaction::assemble(body, witness)?.bytes)
}

/// A transaction with what another implementation needs to make it again.
pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: Vec<Key>,
    /// Seeds of the MuSig2 nonces, one for each key.
    pub(crate) seeds: Vec<[u8; 32]>,
    pub(crate) body: Body,
    pub(crate) witness: Witness,
}

impl Fixture {
    fn new(name: &'static str, about: &'static str, keys: Vec<Key>, body: Body, witness: Witness) -> Self {
        Self { name, about, keys, seeds: vec![], body, witness }
    }

    pub(crate) fn transaction(&self) -> Transaction {
        Transaction::assemble(&self.body, &self.witness).expect("a fixture is well formed")
    }
}

/// Every kind of transaction, each valid.
pub(crate) fn all() -> Vec<Fixture> {
    vec![
        payment(),
        two_products(),
        read_only(),
        time_locks(),
        key_set(),
        aggregate(),
        confirmation(),
        native_issuance(),
        coloured_issuance(),
    ]
}

fn payment() -> Fixture {
    let keys = vec![key(1), key(2)];
    let to_two = vec![pay(key(2).address(), 1_500_000_000), pay(key(1).address(), 498_999_000)];
    let mut body = body(vec![input(0xa1, 0, key(1).address())], to_two);
    body.network = Network::Main;
    body.fees = vec![Fee { product: Product::Native, amount: amount(1_000) }];
    let witness = owners(&body, &keys[..1]);
    Fixture::new(
        "payment",
        "one input, a payment, the change and a fee, on the main network",
        keys,
        body,
        witness,
    )
}

fn two_products() -> Fixture {
    let coloured = Product::of_issuer(Network::Dev, &key(0x71).address());
    let keys: Vec<_> = (1..=12).map(key).collect();
    let mut body = body(vec![], vec![]);
    for (position, key) in (0_u8..).zip(&keys) {
        let product = if position % 3 == 2 { coloured } else { Product::Native };
        // The last index that is allowed, among others.
        let index = if position == 11 { 255 } else { u16::from(position) };
        body.inputs.push(Input { product, ..input(0xb0 + position, index, key.address()) });
        let units = u64::from(position) + 1;
        body.outputs.push(Output::pay(key.address(), product, amount(units * units)));
    }
    body.outputs[0].amount = amount(1_000_000_000_000_000);
    body.outputs[2].data = Bytes::from_static(b"blake3 of a document");
    body.fees = vec![
        Fee { product: Product::Native, amount: amount(300) },
        Fee { product: coloured, amount: amount(1) },
    ];
    let witness = owners(&body, &keys);
    let about = "twelve inputs and outputs of the native coin and of a coloured one, a fee in each";
    Fixture::new("two_products", about, keys, body, witness)
}

fn read_only() -> Fixture {
    let keys = vec![key(1), key(2)];
    let mut body = simple_body();
    // It stands first, yet the proof of the second input is the first one.
    body.inputs.insert(0, Input { read_only: true, ..input(0xc1, 3, key(9).address()) });
    let witness = owners(&body, &keys[..1]);
    Fixture::new("read_only", "depends on an output of key 9 without its proof", keys, body, witness)
}

fn time_locks() -> Fixture {
    let keys = vec![key(3), key(4)];
    let mut body = body(vec![input(0xd1, 1, key(3).address())], vec![pay(key(4).address(), 42)]);
    body.not_before_ms = 1_767_225_600_000;
    body.not_after_ms = 1_798_761_600_000;
    body.min_spend_delay_ms = 86_400_000;
    body.metadata = Bytes::from_static(b"invoice 2026-0042");
    let witness = owners(&body, &keys[..1]);
    let about = "valid in a window, outputs rest a day, metadata";
    Fixture::new("time_locks", about, keys, body, witness)
}

/// Keys 5, 6 and 7, any two.
pub(crate) fn two_of_three() -> (Vec<Key>, KeySet) {
    let keys: Vec<_> = (5..=7).map(key).collect();
    let mut publics: Vec<_> = keys.iter().map(Key::x_only).collect();
    publics.sort_unstable();
    (keys, KeySet::new(publics, 2).expect("three ascending keys"))
}

fn key_set() -> Fixture {
    let (keys, set) = two_of_three();
    let body = body(vec![input(0xe1, 0, set.address())], vec![pay(key(2).address(), 7)]);
    let proof = OwnerProof::sign(&set, &[keys[2], keys[0]], &txid(&body)).expect("two of the set's keys");
    let witness = Witness { owners: vec![proof], ..Witness::default() };
    Fixture::new("key_set", "spends from two of three keys, signed by secrets 7 and 5", keys, body, witness)
}

fn aggregate() -> Fixture {
    let keys = vec![key(8), key(9), key(10)];
    let seeds = vec![[0x81; 32], [0x82; 32], [0x83; 32]];
    let inputs = (0_u8..).zip(&keys).map(|(tag, key)| input(0xf0 + tag, 0, key.address())).collect();
    let body = body(inputs, vec![pay(key(2).address(), 30)]);
    let aggregate = musig_sign(&keys, &seeds, &txid(&body)).expect("a seed for each key");
    let witness = Witness { aggregate: Some(aggregate), ..Witness::default() };
    let about = "three inputs with one MuSig2 signature; seeds are the nonces' and need not be reproduced";
    Fixture { seeds, ..Fixture::new("aggregate", about, keys, body, witness) }
}

fn confirmation() -> Fixture {
    let keys = vec![key(1), key(2)];
    let mut body = simple_body();
    body.outputs[0].confirmation_required = true;
    body.outputs.push(pay(key(1).address(), 6));
    let mut witness = owners(&body, &keys[..1]);
    witness.confirmations = vec![keys[1].prove(&txid(&body))];
    Fixture::new("confirmation", "the receiver, key 2, signs as well", keys, body, witness)
}

fn native_issuance() -> Fixture {
    let mut body = body(vec![], vec![pay(key(1).address(), 900_000_000_000_000_000)]);
    body.outputs.push(pay(key(2).address(), 100_000_000_000_000_000));
    body.metadata = Bytes::from_static(b"genesis");
    let witness = issuer(&body, &treasury());
    let about = "the configured issuer creates the whole supply, 10^18 units";
    Fixture::new("native_issuance", about, vec![treasury(), key(1), key(2)], body, witness)
}

fn coloured_issuance() -> Fixture {
    let maker = key(0x71);
    let product = Product::of_issuer(Network::Test, &maker.address());
    let mut body = body(vec![], vec![Output::pay(key(1).address(), product, amount(21_000_000))]);
    body.network = Network::Test;
    body.metadata = Bytes::from_static(b"nonce 1");
    let witness = issuer(&body, &maker);
    let about = "an issuer creates its own product, on the test network";
    Fixture::new("coloured_issuance", about, vec![maker, key(1)], body, witness)
}
