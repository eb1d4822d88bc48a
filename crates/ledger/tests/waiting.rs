//! Inputs that are not known yet.

mod common;

use common::*;
use eschaton_types::Address;
use eschaton_types::pb::log::{Credit, Credits, Reason, State, ledger_input::Kind};

fn me() -> Address {
    owner(0, 1, 0)
}

fn credit(coin: &Coin) -> Kind {
    let Coin { outpoint, owner, product, amount } = coin;
    Kind::Credits(Credits {
        credits: vec![Credit {
            txid: outpoint.txid.to_bytes(),
            index: outpoint.index.into(),
            owner: owner.to_bytes(),
            product: product.to_bytes(),
            amount: *amount,
            created_at_ms: START_MS,
            spendable_at_ms: START_MS,
        }],
    })
}

#[test]
fn a_credit_completes_a_payment_that_waits() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::new(config(0, 1));
    let tx = pay(&[coin], me(), 0);
    assert_eq!(shard.decide(&tx).state(), State::Pending);
    let again = shard.decide(&tx);
    assert_eq!((again.state(), again.repeated_answer), (State::Pending, true));
    assert_eq!(shard.core.next_timer_ms(), Some(START_MS + 1_000));
    let decision = of(&shard.step(credit(&coin)), &tx);
    assert_eq!((decision.state(), decision.ledger_offset), (State::Accepted, 0));
    assert!(shard.is_spent_by(&coin, &tx) && shard.is_idle());
}

#[test]
fn a_chain_of_payments_may_arrive_backwards() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::new(config(0, 1));
    let first = pay(&[coin], me(), 0);
    let second = pay(&[Coin::of(&first, 0)], me(), 0);
    let third = pay(&[Coin::of(&second, 0)], me(), 0);
    for tx in [&third, &second, &first] {
        assert_eq!(shard.decide(tx).state(), State::Pending);
    }
    let effects = shard.step(credit(&coin));
    let order: Vec<_> = decisions(&effects).into_iter().map(|decision| decision.txid).collect();
    assert_eq!(order, [first.txid.to_bytes(), second.txid.to_bytes(), third.txid.to_bytes()]);
    assert!(shard.is_live(&Coin::of(&third, 0)) && shard.is_idle());
}

#[test]
fn waiting_ends() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::new(config(0, 1));
    let tx = pay(&[coin], me(), 0);
    shard.submit(&tx);
    assert!(shard.tick_at(START_MS + 999).is_empty());
    let message = "an input did not appear in time; check the outpoint and its owner, then submit again";
    is_rejected(&of(&shard.tick_at(START_MS + 1_000), &tx), Reason::UnknownInput, message);
    assert!(shard.is_idle());
    shard.step(credit(&coin));
    assert!(shard.is_live(&coin));
    assert_eq!(shard.decide(&tx).state(), State::Accepted, "it may come again");
}

#[test]
fn what_arrives_is_judged() {
    let (coin, short) = (Coin::new(1, me(), 10), Coin::new(1, me(), 9));
    let mut shard = Shard::new(config(0, 1));
    let tx = pay(&[coin], me(), 0);
    shard.submit(&tx);
    assert_eq!(rejection(&of(&shard.step(credit(&short)), &tx)).reason(), Reason::Unbalanced);
    assert!(shard.is_live(&coin) && shard.is_idle());
}

/// Found by the simulator (seeds 1 and 3): the row seen on arrival was believed when the other came.
#[test]
fn one_that_waits_loses_what_another_spends_meanwhile() {
    let (known, unknown) = (Coin::new(1, me(), 10), Coin::new(2, me(), 5));
    let mut shard = Shard::new(config(0, 1)).with(known);
    let waits = pay(&[known, unknown], me(), 0);
    let spends = pay(&[known], me(), 1);
    shard.submit(&waits);
    let effects = shard.submit(&spends);
    assert_eq!(of(&effects, &spends).state(), State::Accepted);
    let lost = of(&effects, &waits);
    let message =
        format!("transaction {} spent {} first; choose another output", spends.txid, known.outpoint);
    is_rejected(&lost, Reason::ConflictLost, &message);
    assert_eq!(rejection(&lost).spent_by, spends.txid.as_ref());
    assert!(decisions(&shard.step(credit(&unknown))).is_empty());
    assert!(shard.is_spent_by(&known, &spends) && shard.is_live(&unknown) && shard.is_idle());
}

/// Found by the simulator (seeds 16 and 75).
#[test]
fn one_that_waits_loses_what_it_only_reads() {
    let (read, unknown) = (Coin::new(1, me(), 10), Coin::new(2, me(), 5));
    let mut shard = Shard::new(config(0, 1)).with(read);
    let mut waits = body(&[unknown], me(), 0);
    waits.inputs.push(read.input(true));
    let waits = seal(&waits);
    shard.submit(&waits);
    let effects = shard.submit(&pay(&[read], me(), 1));
    assert_eq!(rejection(&of(&effects, &waits)).reason(), Reason::ConflictLost);
    assert!(shard.is_idle());
}

#[test]
fn waiters_for_one_output_are_bounded() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::new(eschaton_ledger::LedgerConfig { contenders_max: 2, ..config(0, 1) });
    let all: Vec<_> = (0..3).map(|note| pay(&[coin], me(), note)).collect();
    assert_eq!(shard.decide(&all[0]).state(), State::Pending);
    assert_eq!(shard.decide(&all[1]).state(), State::Pending);
    let message =
        "too many transactions contend for one of its inputs; wait for their outcome, then submit again";
    is_rejected(&shard.decide(&all[2]), Reason::TooManyContenders, message);
    let effects = shard.step(credit(&coin));
    assert_eq!(of(&effects, &all[0]).state(), State::Accepted, "the first that came");
    assert_eq!(rejection(&of(&effects, &all[1])).reason(), Reason::ConflictLost);
    assert!(shard.is_idle());
}
