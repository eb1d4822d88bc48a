//! Transactions whose inputs are in several shards: reserve, grant, settle, release.

mod common;

use common::*;
use eschaton_ledger::shards_of;
use eschaton_types::pb::log::{Reason, Settle, State, ledger_input::Kind};

/// A coin in each shard, and one transaction that spends them all for an owner of the last.
fn everywhere(shards: u32) -> (Net, Vec<Coin>, eschaton_types::Transaction) {
    let mut net = Net::new(shards);
    let coins: Vec<_> = (0..shards)
        .zip(1_u8..)
        .map(|(shard, tag)| Coin::new(tag, owner(shard, shards, 0), 10 + u64::from(shard)))
        .collect();
    coins.iter().for_each(|coin| net.put(*coin));
    let backwards: Vec<_> = coins.iter().rev().copied().collect();
    let tx = pay(&backwards, owner(shards - 1, shards, 1), 0);
    (net, coins, tx)
}

#[test]
fn two_and_three_shards_spend_together() {
    for shards in [2, 3] {
        let (mut net, coins, tx) = everywhere(shards);
        assert_eq!(shards_of(&tx, shards), (0..shards).collect::<Vec<_>>());
        net.step(0, submit(&tx));
        assert_eq!(net.last(&tx).state(), State::Pending);
        let asked = |net: &Net, shard: u32| matches!(net.between.front(), Some((to, Kind::Reserve(_))) if *to == shard);
        for shard in 1..shards {
            assert!(asked(&net, shard), "one shard after the other, ascending");
            assert!(coins.iter().enumerate().all(|(place, coin)| net.shards[place].is_live(coin)));
            net.deliver();
            assert!(matches!(net.between.front(), Some((0, Kind::Grant(_)))));
            net.deliver();
        }
        let decision = net.last(&tx).clone();
        assert_eq!((decision.state(), decision.ledger_offset), (State::Accepted, 0));
        let spends: Vec<_> = decision.spends.iter().map(|spend| spend.txid.clone()).collect();
        assert_eq!(
            spends,
            tx.body.inputs.iter().map(|input| input.outpoint.txid.to_bytes()).collect::<Vec<_>>()
        );
        net.settle();
        for (shard, coin) in net.shards.iter().zip(&coins) {
            assert!(shard.is_spent_by(coin, &tx));
        }
        assert!(net.shards[coins.len() - 1].is_live(&Coin::of(&tx, 0)));
        assert!(net.is_idle());
        // The same once more, to the coordinator and to a shard that is asked.
        net.step(0, submit(&tx));
        assert!(net.last(&tx).repeated_answer && net.last(&tx).state() == State::Accepted);
    }
}

#[test]
fn balance_is_judged_over_all_shards() {
    let (mut net, coins, tx) = everywhere(2);
    let mut wrong = tx.body;
    wrong.outputs[0].amount = amount(20);
    let wrong = seal(&wrong);
    net.step(0, submit(&wrong));
    net.settle();
    let message = "inputs hold 21 units of product native, outputs and fees take 20; they must be equal";
    is_rejected(net.last(&wrong), Reason::Unbalanced, message);
    assert!(coins.iter().enumerate().all(|(place, coin)| net.shards[place].is_live(coin)));
    assert!(net.is_idle());
}

#[test]
fn a_refusal_releases_all() {
    let (mut net, coins, tx) = everywhere(3);
    let first = pay(&[coins[2]], owner(2, 3, 1), 9);
    net.step(2, submit(&first));
    net.step(0, submit(&tx));
    let queued = pay(&[coins[1]], owner(1, 3, 1), 8);
    net.deliver();
    net.step(1, submit(&queued));
    assert_eq!(net.last(&queued).state(), State::Pending, "shard 1 holds its coin for the other");
    net.settle();
    let message = format!("input 0 is already spent by transaction {}; choose another output", first.txid);
    is_rejected(net.last(&tx), Reason::Spent, &message);
    assert_eq!(net.last(&queued).state(), State::Accepted, "the release lets it go on");
    assert!(net.shards[0].is_live(&coins[0]) && net.is_idle());
}

#[test]
fn only_the_coordinator_gives_up() {
    let (mut net, coins, tx) = everywhere(2);
    net.step(0, submit(&tx));
    net.deliver();
    net.tick_at(1, START_MS + 1_000_000);
    assert_eq!(net.shards[1].core.pending(), 1, "who granted waits for ever");
    let grant = net.between.pop_front().expect("a grant");
    net.tick_at(0, START_MS + 1_000);
    let message = "its inputs could not all be held in time; nothing was spent; submit it again";
    is_rejected(net.last(&tx), Reason::TimedOut, message);
    net.settle();
    // The grant was late.
    net.step(grant.0, grant.1);
    assert!(net.is_idle());
    assert!(coins.iter().enumerate().all(|(place, coin)| net.shards[place].is_live(coin)));
    net.step(0, submit(&tx));
    net.settle();
    assert_eq!(net.last(&tx).state(), State::Accepted, "it may come again");
}

/// Found by the simulator (seeds 111 and 1210): shard 1 refuses the second attempt while its grant to the
/// first is still on the way; with it the coordinator would settle what shard 1 does not hold.
#[test]
fn an_answer_to_an_earlier_attempt_counts_for_nothing() {
    let (mut net, coins, tx) = everywhere(2);
    net.step(0, submit(&tx));
    net.deliver();
    let grant = net.between.pop_front().expect("a grant");
    net.tick_at(0, START_MS + 1_000);
    net.settle();
    let other = pay(&[coins[1]], owner(1, 2, 1), 9);
    net.step(1, submit(&other));
    net.step(0, submit(&tx));
    net.step(grant.0, grant.1);
    assert_eq!(net.last(&tx).state(), State::Pending);
    net.settle();
    assert_eq!(rejection(net.last(&tx)).reason(), Reason::Spent);
    assert!(net.shards[0].is_live(&coins[0]) && net.shards[1].is_spent_by(&coins[1], &other));
    assert!(net.is_idle());
}

#[test]
fn a_late_refusal_does_not_end_the_next_attempt() {
    let (mut net, coins, tx) = everywhere(2);
    let rest = Coin { amount: 1, ..coins[1] };
    net.shard(1).put(rest, START_MS + 2_000);
    net.step(0, submit(&tx));
    net.deliver();
    let refuse = net.between.pop_front().expect("a refusal, for it rests");
    assert!(matches!(refuse.1, Kind::Refuse(_)));
    net.tick_at(0, START_MS + 1_000);
    net.settle();
    net.shard(1).put(coins[1], 0);
    net.step(0, submit(&tx));
    net.step(refuse.0, refuse.1);
    net.settle();
    assert_eq!(net.last(&tx).state(), State::Accepted);
}

#[test]
fn settling_what_is_not_held_is_a_broken_invariant() {
    let (mut net, _, tx) = everywhere(2);
    let settle = Kind::Settle(Settle { txid: tx.txid.to_bytes(), commit: true });
    let error = net.shard(1).try_step(settle).expect_err("nothing is held");
    assert!(matches!(error, eschaton_core::CoreError::Invariant { id: "L4", .. }), "{error}");
    let release = Kind::Settle(Settle { txid: tx.txid.to_bytes(), commit: false });
    assert!(net.shard(1).step(release).is_empty(), "a release of nothing is nothing");
}

#[test]
fn crossing_transactions_do_not_wait_for_each_other() {
    let (mut net, coins, one) = everywhere(2);
    let two = pay(&coins, owner(0, 2, 1), 1);
    net.step(0, submit(&one));
    net.step(0, submit(&two));
    net.settle();
    assert_eq!(net.last(&one).state(), State::Accepted);
    assert_eq!(rejection(net.last(&two)).reason(), Reason::ConflictLost);
    assert!(net.is_idle());
}

#[test]
fn what_is_only_read_elsewhere_is_held_and_free_again() {
    let (mut net, coins, _) = everywhere(2);
    let mut reading = body(&coins[..1], owner(0, 2, 1), 0);
    reading.inputs.push(coins[1].input(true));
    let reading = seal(&reading);
    net.step(0, submit(&reading));
    net.deliver();
    let spends = pay(&coins[1..], owner(1, 2, 1), 1);
    net.step(1, submit(&spends));
    assert_eq!(net.last(&spends).state(), State::Pending, "not under the reader's hands");
    net.settle();
    assert_eq!(net.last(&reading).state(), State::Accepted);
    assert_eq!(net.last(&spends).state(), State::Accepted);
    assert!(net.is_idle());
}
