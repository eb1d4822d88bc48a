//! Who is outside: clients that submit, ask again and are told; the ticker; the trouble-maker's clock.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use conflict_resolver::ShardGauges;
use eschaton_core::{Topic, TopicPartition};
use eschaton_ledger::shards_of;
use eschaton_ports::{Clock, Log, NewRecord};
use eschaton_types::pb::log::{Decision, LedgerInput, Reason, State, Tick, ledger_input::Kind};
use eschaton_types::{Transaction, TxId};
use prost::Message;

use crate::ambient::SimClock;
use crate::bug::Bug;
use crate::log::SimLog;
use crate::workload::Wish;
use crate::world::Sim;

/// Submits wishes in their order, and some of them again.
pub(crate) async fn client(sim: Sim, wishes: Vec<Wish>) {
    let clock = SimClock::new(sim.clone());
    let log = SimLog(sim.clone());
    let mut later: VecDeque<(u64, Arc<Transaction>)> = VecDeque::new();
    let mut wishes = wishes.into_iter();
    while let Some(wish) = wishes.next() {
        sim.sleep(wish.pause_ms).await;
        let more = {
            let mut world = sim.world();
            let most = world.profile.append_max;
            world.dice.below(most)
        };
        let mut round = vec![wish.tx];
        for _ in 0..more {
            round.extend(wishes.next().map(|wish| wish.tx));
        }
        submit(&sim, &log, &clock, &round).await;
        for tx in round {
            let mut world = sim.world();
            let percent = world.profile.repeats_percent;
            let (repeat, delay_ms) = (world.dice.percent(percent), world.dice.below(1_500));
            if repeat {
                later.push_back((world.now_ms + delay_ms, tx));
            }
        }
        while later.front().is_some_and(|(at, _)| *at <= sim.world().now_ms) {
            let Some((_, tx)) = later.pop_front() else { break };
            submit(&sim, &log, &clock, &[tx]).await;
        }
    }
    for (at, tx) in later {
        let wait_ms = at.saturating_sub(sim.world().now_ms);
        sim.sleep(wait_ms).await;
        submit(&sim, &log, &clock, std::slice::from_ref(&tx)).await;
        if sim.world().dice.percent(10) {
            let anywhere = {
                let mut world = sim.world();
                let shards = world.profile.shards.into();
                u32::try_from(world.dice.below(shards)).unwrap_or(0)
            };
            submit_to(&sim, &log, &clock, &[(&tx, anywhere)]).await;
        }
    }
}

/// As ingress does: to the shards that coordinate, together, again and again until the log has them all.
async fn submit(sim: &Sim, log: &SimLog, clock: &SimClock, txs: &[Arc<Transaction>]) {
    let shards = sim.world().profile.shards;
    let coordinated = txs.iter().filter_map(|tx| Some((&**tx, *shards_of(tx, shards).first()?)));
    submit_to(sim, log, clock, &coordinated.collect::<Vec<_>>()).await;
}

async fn submit_to(sim: &Sim, log: &SimLog, clock: &SimClock, txs: &[(&Transaction, u32)]) {
    let records: Vec<_> = txs
        .iter()
        .map(|(tx, partition)| NewRecord {
            to: TopicPartition { topic: Topic::Ledger, partition: *partition },
            at_ms: clock.now_ms(),
            id: None,
            trace: None,
            payload: Bytes::from(LedgerInput { kind: Some(Kind::Submit(tx.bytes.clone())) }.encode_to_vec()),
        })
        .collect();
    sim.world().submitting += 1;
    while log.append(records.clone()).await.is_err() {
        sim.sleep(3).await;
    }
    let mut world = sim.world();
    world.submitting -= 1;
    if world.bug == Some(Bug::ReplyBeforeCommit) {
        for (tx, _) in txs {
            let verdict = world.audit.tell(tx.txid, State::Accepted, false);
            world.check(verdict);
        }
    }
}

/// Reads decisions as clients do, and submits again what may pass the next time.
pub(crate) async fn tail(sim: Sim, partition: u32) {
    let at = TopicPartition { topic: Topic::Decisions, partition };
    let (log, clock) = (SimLog(sim.clone()), SimClock::new(sim.clone()));
    let (mut from, mut seen) = sim.world().tails.remove(&partition).unwrap_or_default();
    loop {
        sim.until(|world| world.stopping || world.log.end(at) > from).await;
        if sim.world().stopping {
            sim.world().tails.insert(partition, (from, seen));
            return;
        }
        let Ok(records) = log.read(at, from, 16, 1 << 20).await else { continue };
        for record in records {
            from = record.offset + 1;
            if record.id.as_ref().is_some_and(|id| !seen.pass(id)) {
                continue;
            }
            let Ok(decision) = Decision::decode(record.payload) else { continue };
            if let Some(tx) = told(&sim, &decision) {
                submit(&sim, &log, &clock, &[tx]).await;
            }
        }
    }
}

/// Records what a client is told; gives a transaction that it submits again.
fn told(sim: &Sim, decision: &Decision) -> Option<Arc<Transaction>> {
    let txid = TxId::from_slice(&decision.txid, "txid").ok()?;
    let mut world = sim.world();
    let verdict = world.audit.tell(txid, decision.state(), decision.repeated_answer);
    world.check(verdict);
    let reason = decision.rejection.as_ref().map(|rejection| rejection.reason())?;
    let passing = matches!(
        reason,
        Reason::TimedOut
            | Reason::UnknownInput
            | Reason::NotYetValid
            | Reason::NotYetSpendable
            | Reason::TooManyContenders
            | Reason::Overloaded
    );
    if passing && world.faults && world.dice.percent(40) { world.audit.transaction(&txid) } else { None }
}

/// As the resolver's ticker does: tells time to shards that wait for it.
pub(crate) async fn ticker(sim: Sim) {
    let clock = SimClock::new(sim.clone());
    let log = SimLog(sim.clone());
    let payload = Bytes::from(LedgerInput { kind: Some(Kind::Tick(Tick {})) }.encode_to_vec());
    loop {
        let tick_ms = sim.world().profile.tick_ms;
        sim.sleep(tick_ms).await;
        if sim.world().stopping {
            return;
        }
        let now = clock.now_ms();
        let is_due = |shard: u32, gauges: &[ShardGauges]| {
            usize::try_from(shard)
                .ok()
                .and_then(|at| gauges.get(at))
                .is_some_and(|g| g.next_timer_ms() <= now)
        };
        let due: Vec<u32> = {
            let world = sim.world();
            world
                .gauges
                .iter()
                .filter(|(shard, workers)| workers.iter().any(|gauges| is_due(**shard, gauges)))
                .map(|(shard, _)| *shard)
                .collect()
        };
        let ticks: Vec<_> = due
            .into_iter()
            .map(|partition| NewRecord {
                to: TopicPartition { topic: Topic::Ledger, partition },
                at_ms: now,
                id: None,
                trace: None,
                payload: payload.clone(),
            })
            .collect();
        if !ticks.is_empty() {
            // Lost ticks come again.
            let _ = log.append(ticks).await;
        }
    }
}
