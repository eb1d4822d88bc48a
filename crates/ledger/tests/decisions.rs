//! What one shard decides at once: acceptance, every reason for rejection, repetition, issuance.

mod common;

use common::*;
use eschaton_ledger::keys;
use eschaton_types::pb::log::{Outpoint, Reason, State};
use eschaton_types::{AMOUNT_MAX, Network, Output, Product};

fn alone(coin: Coin) -> Shard {
    Shard::new(config(0, 1)).with(coin)
}

fn me() -> eschaton_types::Address {
    owner(0, 1, 0)
}

fn you() -> eschaton_types::Address {
    owner(0, 1, 1)
}

#[test]
fn accepts_in_the_step_that_reads_it() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = alone(coin);
    let tx = seal(&with_fee(body(&[coin], you(), 0), 3));
    let decision = shard.decide(&tx);
    assert_eq!(decision.state(), State::Accepted);
    assert_eq!(decision.spends, [Outpoint { txid: coin.outpoint.txid.to_bytes(), index: 0 }]);
    assert_eq!((decision.outputs, decision.at_ms, decision.ledger_offset), (1, START_MS, 0));
    assert!(!decision.repeated_answer);
    assert!(shard.is_spent_by(&coin, &tx));
    let created = shard.output(&Coin::of(&tx, 0)).expect("created");
    assert_eq!((created.amount, created.created_at_ms, created.spendable_at_ms), (7, START_MS, START_MS));
    assert_eq!(shard.total(keys::fee(0, Product::Native, &tx.txid)), 3);
    assert_eq!(shard.state(&tx), Some(State::Accepted));
    assert!(shard.is_idle());
}

#[test]
fn credits_for_other_shards_leave_with_the_decision() {
    let coin = Coin::new(1, owner(0, 2, 0), 10);
    let mut net = Net::new(2);
    net.put(coin);
    let tx = pay(&[coin], owner(1, 2, 0), 0);
    net.step(0, submit(&tx));
    assert_eq!(net.last(&tx).state(), State::Accepted);
    let abroad = Coin::of(&tx, 0);
    assert!(net.shards[0].output(&abroad).is_none() && net.shards[1].output(&abroad).is_none());
    assert_eq!(net.between.len(), 1, "one record for all credits of a shard");
    net.settle();
    assert!(net.shards[1].is_live(&abroad));
}

#[test]
fn a_repeated_transaction_gets_the_answer_that_it_had() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = alone(coin);
    let tx = pay(&[coin], you(), 0);
    shard.submit(&tx);
    let rows = shard.rows.clone();
    let again = shard.decide(&tx);
    assert_eq!((again.state(), again.repeated_answer), (State::Accepted, true));
    assert!(again.spends.is_empty());
    assert_eq!(shard.rows, rows);
    // Also when what it created is spent by now.
    shard.submit(&pay(&[Coin::of(&tx, 0)], me(), 0));
    assert_eq!(shard.decide(&tx).state(), State::Accepted);
}

#[test]
fn spent() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = alone(coin);
    let (first, second) = (pay(&[coin], you(), 0), pay(&[coin], you(), 1));
    shard.submit(&first);
    let decision = shard.decide(&second);
    let message = format!("input 0 is already spent by transaction {}; choose another output", first.txid);
    is_rejected(&decision, Reason::Spent, &message);
    assert_eq!(rejection(&decision).spent_by, first.txid.as_ref());
    assert_eq!(shard.state(&second), Some(State::Rejected));
}

#[test]
fn wrong_product() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = alone(coin);
    let named = Coin { product: Product::Issued([5; 32]), ..coin };
    let decision = shard.decide(&pay(&[named], you(), 0));
    is_rejected(&decision, Reason::WrongProduct, "input 0 names another product than its output holds");
}

#[test]
fn unbalanced() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = alone(coin);
    for units in [9, 11] {
        let decision = shard.decide(&pay(&[Coin { amount: units, ..coin }], you(), 0));
        let message = format!(
            "inputs hold 10 units of product native, outputs and fees take {units}; they must be equal"
        );
        is_rejected(&decision, Reason::Unbalanced, &message);
    }
    let mut other = body(&[coin], you(), 0);
    other.outputs.push(Output::pay(you(), Product::Issued([5; 32]), amount(1)));
    assert_eq!(rejection(&shard.decide(&seal(&other))).reason(), Reason::Unbalanced);
    assert!(shard.is_live(&coin));
}

#[test]
fn a_looked_at_input_adds_nothing() {
    let (coin, seen) = (Coin::new(1, me(), 10), Coin::new(2, you(), 5));
    let mut shard = alone(coin).with(seen);
    let mut reading = body(&[coin], you(), 0);
    reading.inputs.push(seen.input(true));
    assert_eq!(shard.decide(&seal(&reading)).state(), State::Accepted);
    assert!(shard.is_live(&seen));
    let mut late = body(&[Coin::of(&seal(&reading), 0)], you(), 0);
    late.inputs.push(coin.input(true));
    assert_eq!(
        rejection(&shard.decide(&seal(&late))).reason(),
        Reason::Spent,
        "a spent output is no dependency"
    );
}

#[test]
fn overflow() {
    let (one, two) = (Coin::new(1, me(), AMOUNT_MAX), Coin::new(2, me(), AMOUNT_MAX));
    let mut shard = alone(one).with(two);
    let mut both = body(&[one], you(), 0);
    both.inputs.push(two.input(false));
    let message = "the inputs sum to more than 10^18 units; spend fewer at once";
    is_rejected(&shard.decide(&seal(&both)), Reason::Overflow, message);
}

#[test]
fn time_locks() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = alone(coin);
    let mut early = body(&[coin], you(), 0);
    early.not_before_ms = START_MS + 1;
    let message =
        format!("not valid before {} ms and log time is {START_MS} ms; submit it again then", START_MS + 1);
    is_rejected(&shard.decide(&seal(&early)), Reason::NotYetValid, &message);
    let mut late = body(&[coin], you(), 0);
    late.not_after_ms = START_MS;
    let message = format!("expired at {START_MS} ms and log time is {START_MS} ms; sign a new one");
    is_rejected(&shard.decide(&seal(&late)), Reason::Expired, &message);
    // A rejection is no last word: the same transaction, at its time.
    shard.now_ms = START_MS + 1;
    assert_eq!(shard.decide(&seal(&early)).state(), State::Accepted);
}

#[test]
fn rest() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = alone(coin);
    let mut resting = body(&[coin], you(), 0);
    resting.min_spend_delay_ms = 50;
    let resting = seal(&resting);
    shard.submit(&resting);
    let onward = pay(&[Coin::of(&resting, 0)], me(), 0);
    let message =
        format!("input 0 rests until {} ms and log time is {START_MS} ms; submit again then", START_MS + 50);
    is_rejected(&shard.decide(&onward), Reason::NotYetSpendable, &message);
    shard.now_ms = START_MS + 50;
    assert_eq!(shard.decide(&onward).state(), State::Accepted);
}

#[test]
fn overloaded() {
    let mut shard = Shard::new(eschaton_ledger::LedgerConfig { pending_max: 1, ..config(0, 1) });
    let (one, two) = (pay(&[Coin::new(1, me(), 1)], you(), 0), pay(&[Coin::new(2, me(), 1)], you(), 0));
    assert_eq!(shard.decide(&one).state(), State::Pending);
    let message = "too many transactions are undecided; submit it again later";
    is_rejected(&shard.decide(&two), Reason::Overloaded, message);
    assert_eq!(shard.core.pending(), 1);
}

#[test]
fn a_shard_without_a_say_says_so_and_writes_nothing() {
    let coin = Coin::new(1, owner(0, 2, 0), 10);
    let mut net = Net::new(2);
    net.put(coin);
    let tx = pay(&[coin], owner(0, 2, 1), 0);
    net.step(0, submit(&tx));
    let decision = net.shard(1).decide(&tx);
    is_rejected(
        &decision,
        Reason::UnknownInput,
        "it reached a shard that does not coordinate it; submit it again",
    );
    assert!(decision.repeated_answer, "it decides nothing");
    assert!(net.shards[1].rows.is_empty());
}

#[test]
fn issuance_is_bounded_and_happens_once() {
    let issuer = keys_of(0, 1, 3);
    let product = Product::of_issuer(Network::Dev, &issuer.address());
    let mut shard = Shard::new(config(0, 1));
    let most = issue(&issuer, product, &[(me(), AMOUNT_MAX - 1)], 0);
    assert_eq!(shard.decide(&most).state(), State::Accepted);
    assert_eq!(shard.total(keys::issued(0, product)), AMOUNT_MAX - 1);
    let again = shard.decide(&most);
    assert_eq!((again.state(), again.repeated_answer), (State::Accepted, true));
    let decision = shard.decide(&issue(&issuer, product, &[(me(), 1), (you(), 1)], 1));
    let message = format!("product {product} has {} of at most 10^18 units; issue less", AMOUNT_MAX - 1);
    is_rejected(&decision, Reason::SupplyExceeded, &message);
    assert_eq!(shard.decide(&issue(&issuer, product, &[(me(), 1)], 2)).state(), State::Accepted);
    assert_eq!(shard.total(keys::issued(0, product)), AMOUNT_MAX);
    let mut late = issue(&issuer, product, &[(me(), 1)], 3).body;
    late.not_after_ms = START_MS;
    let witness = issue(&issuer, product, &[(me(), 1)], 3).witness;
    let late = eschaton_types::Transaction::assemble(&late, &witness).expect("within limits");
    assert_eq!(rejection(&shard.decide(&late)).reason(), Reason::Expired);
}
