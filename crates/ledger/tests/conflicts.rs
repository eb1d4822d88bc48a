//! Several transactions that want one output: queues, windows, weights.

mod common;

use common::*;
use eschaton_ledger::{Contender, LedgerConfig, Weigh, judge_contenders};
use eschaton_types::pb::log::{Reason, State};
use eschaton_types::{Address, Transaction};

fn me() -> Address {
    owner(0, 1, 0)
}

fn window(window_ms: u64) -> LedgerConfig {
    LedgerConfig { window_ms, ..config(0, 1) }
}

fn contenders(coin: Coin, count: u8) -> Vec<Transaction> {
    (0..count).map(|note| pay(&[coin], me(), note)).collect()
}

/// All weight to who comes last.
struct LastSeen;

impl Weigh for LastSeen {
    fn weights(&self, contenders: &[Contender]) -> Vec<u64> {
        let last = contenders.iter().map(|contender| contender.arrived).max();
        contenders.iter().map(|contender| u64::from(Some(contender.arrived) == last)).collect()
    }
}

/// Nobody knows better.
struct Even;

impl Weigh for Even {
    fn weights(&self, contenders: &[Contender]) -> Vec<u64> {
        contenders.iter().map(|_| 50).collect()
    }
}

#[test]
fn a_window_alone_ends_in_acceptance() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::new(window(100)).with(coin);
    let tx = pay(&[coin], me(), 0);
    assert_eq!(shard.decide(&tx).state(), State::Pending);
    assert!(shard.is_live(&coin));
    assert_eq!(shard.core.holds().count(), 1);
    assert!(shard.tick_at(START_MS + 99).is_empty());
    assert_eq!(of(&shard.tick_at(START_MS + 100), &tx).state(), State::Accepted);
    assert!(shard.is_spent_by(&coin, &tx) && shard.is_idle());
}

#[test]
fn the_first_seen_wins_its_window() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::new(window(100)).with(coin);
    let all = contenders(coin, 3);
    for tx in &all {
        assert_eq!(shard.decide(tx).state(), State::Pending);
    }
    let effects = shard.tick_at(START_MS + 100);
    assert_eq!(of(&effects, &all[0]).state(), State::Accepted);
    for loser in &all[1..] {
        let message =
            format!("transaction {} spent {} first; choose another output", all[0].txid, coin.outpoint);
        is_rejected(&of(&effects, loser), Reason::ConflictLost, &message);
    }
    assert!(shard.is_idle());
}

#[test]
fn who_comes_after_the_window_is_no_contender() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::weighing(window(100), || Box::new(LastSeen)).with(coin);
    let all = contenders(coin, 2);
    shard.submit(&all[0]);
    shard.now_ms = START_MS + 100;
    let effects = shard.submit(&all[1]);
    assert_eq!(of(&effects, &all[0]).state(), State::Accepted);
    assert_eq!(rejection(&of(&effects, &all[1])).reason(), Reason::Spent);
}

#[test]
fn a_heavier_contender_wins_though_it_came_later() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::weighing(window(100), || Box::new(LastSeen)).with(coin);
    let all = contenders(coin, 2);
    shard.submit(&all[0]);
    shard.submit(&all[1]);
    let effects = shard.tick_at(START_MS + 100);
    let message =
        format!("transaction {} outweighs it for {}; choose another output", all[1].txid, coin.outpoint);
    is_rejected(&of(&effects, &all[0]), Reason::ConflictLost, &message);
    assert!(shard.is_live(&coin));
    // The winner has a window of its own.
    assert_eq!(of(&shard.tick_at(START_MS + 200), &all[1]).state(), State::Accepted);
    assert!(shard.is_spent_by(&coin, &all[1]) && shard.is_idle());
}

#[test]
fn a_near_tie_extends_the_window_to_its_maximum() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::weighing(window(100), || Box::new(Even)).with(coin);
    let all = contenders(coin, 2);
    all.iter().for_each(|tx| drop(shard.submit(tx)));
    for later in [100, 200, 300] {
        assert!(shard.tick_at(START_MS + later).is_empty(), "too close at {later}");
        assert_eq!(shard.core.next_timer_ms(), Some(START_MS + later + 100));
    }
    let known: Vec<_> = (0..).zip(&all).map(|(arrived, tx)| Contender { txid: tx.txid, arrived }).collect();
    let winner = judge_contenders(&coin.outpoint, &known, &Even, true);
    let first_wins = winner == Some(eschaton_ledger::Verdict::Winner(all[0].txid));
    let (winner, loser) = if first_wins { (&all[0], &all[1]) } else { (&all[1], &all[0]) };
    let mut effects = shard.tick_at(START_MS + 400);
    assert_eq!(rejection(&of(&effects, loser)).reason(), Reason::ConflictLost);
    if !first_wins {
        effects = shard.tick_at(START_MS + 500);
    }
    assert_eq!(of(&effects, winner).state(), State::Accepted);
    assert!(shard.is_idle());
}

#[test]
fn queues_are_bounded() {
    let coin = Coin::new(1, me(), 10);
    let mut shard = Shard::new(LedgerConfig { contenders_max: 2, ..window(100) }).with(coin);
    let all = contenders(coin, 4);
    for tx in &all[..3] {
        assert_eq!(shard.decide(tx).state(), State::Pending);
    }
    let message =
        "too many transactions contend for one of its inputs; wait for their outcome, then submit again";
    is_rejected(&shard.decide(&all[3]), Reason::TooManyContenders, message);
    // Other outputs are as free as ever.
    let free = Coin::new(2, me(), 5);
    shard.put(free, 0);
    assert_eq!(shard.decide(&pay(&[free], me(), 9)).state(), State::Pending);
}

#[test]
fn a_release_promotes_the_next_in_line() {
    let (here, there) = (Coin::new(1, owner(0, 2, 0), 10), Coin::new(2, owner(1, 2, 0), 5));
    let mut net = Net::new(2);
    net.put(here);
    let wide = pay(&[here, there], owner(0, 2, 1), 0);
    net.step(0, submit(&wide));
    net.shard(0).now_ms = START_MS + 10;
    let line: Vec<_> = (1..4).map(|note| pay(&[here], owner(0, 2, 1), note)).collect();
    for tx in &line {
        net.step(0, submit(tx));
        assert_eq!(net.last(tx).state(), State::Pending);
    }
    net.tick_at(0, START_MS + 1_000);
    assert_eq!(rejection(net.last(&wide)).reason(), Reason::TimedOut);
    assert_eq!(net.last(&line[0]).state(), State::Accepted, "the first in line");
    for loser in &line[1..] {
        assert_eq!(rejection(net.last(loser)).reason(), Reason::ConflictLost);
    }
    net.settle();
    assert!(net.shards[0].is_spent_by(&here, &line[0]) && net.is_idle());
}

#[test]
fn a_contender_for_two_outputs_stands_in_both_lines() {
    let (one, two) = (Coin::new(1, me(), 10), Coin::new(2, me(), 5));
    let mut shard = Shard::weighing(window(100), || Box::new(LastSeen)).with(one).with(two);
    let first = pay(&[one], me(), 0);
    let both = pay(&[one, two], me(), 1);
    let third = pay(&[two], me(), 2);
    shard.submit(&first);
    shard.submit(&both);
    shard.now_ms = START_MS + 50;
    shard.submit(&third);
    let effects = shard.tick_at(START_MS + 100);
    // `both` is heavier than `first`, but `third` holds its other output.
    assert_eq!(rejection(&of(&effects, &first)).reason(), Reason::ConflictLost);
    let effects = shard.tick_at(START_MS + 150);
    assert_eq!(of(&effects, &third).state(), State::Accepted, "it came last");
    assert_eq!(rejection(&of(&effects, &both)).reason(), Reason::ConflictLost);
    assert!(shard.is_live(&one) && shard.is_idle());
}
