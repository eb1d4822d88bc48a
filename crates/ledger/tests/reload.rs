//! What a core keeps in memory is its rows and nothing else: taken over between any two records it goes
//! on in the same way.

mod common;

use common::*;
use eschaton_core::{Effect, Table};
use eschaton_ledger::{Contender, LedgerConfig, Weigh, shards_of};
use eschaton_types::pb::log::{State, Tick, ledger_input::Kind};
use eschaton_types::{Transaction, shard_of};
use proptest::prelude::*;

/// Weights that differ, tie and nearly tie, from the ids alone.
struct ById;

impl Weigh for ById {
    fn weights(&self, contenders: &[Contender]) -> Vec<u64> {
        contenders.iter().map(|contender| u64::from(contender.txid.0[0] % 4) * 20).collect()
    }
}

/// One thing that happens: its numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    Submit { coins: Vec<u8>, read: Option<u8>, to: u8, note: u8 },
    Again { which: u8 },
    Deliver { from: u8 },
    Pass { shard: u8, ms: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 1..4), prop::option::weighted(0.2, any::<u8>()), any::<u8>(), 0..3_u8)
            .prop_map(|(coins, read, to, note)| Act::Submit { coins, read, to, note }),
        1 => any::<u8>().prop_map(|which| Act::Again { which }),
        6 => any::<u8>().prop_map(|from| Act::Deliver { from }),
        2 => (any::<u8>(), 1..400_u64).prop_map(|(shard, ms)| Act::Pass { shard, ms }),
    ]
}

/// Shards, and a line of messages from each to each.
struct World {
    shards: Vec<Shard>,
    lines: Vec<Vec<(u32, Kind)>>,
    coins: Vec<Coin>,
    submitted: Vec<Transaction>,
    reloads: bool,
}

impl World {
    fn new(shards: u32, window_ms: u64, bounds: (usize, usize), reloads: bool) -> Self {
        let settings = |shard| LedgerConfig {
            window_ms,
            pending_max: bounds.0,
            contenders_max: bounds.1,
            reserve_ms: 300,
            wait_ms: 500,
            ..config(shard, shards)
        };
        let mut world = Self {
            shards: (0..shards).map(|shard| Shard::weighing(settings(shard), || Box::new(ById))).collect(),
            lines: (0..shards).map(|_| Vec::new()).collect(),
            coins: Vec::new(),
            submitted: Vec::new(),
            reloads,
        };
        for tag in 0..9_u8 {
            let shard = u32::from(tag) % shards;
            let coin = Coin::new(tag + 1, owner(shard, shards, usize::from(tag) % 2), 10);
            world.shards[shard as usize].put(coin, 0);
            world.coins.push(coin);
        }
        world
    }

    fn count(&self) -> u32 {
        u32::try_from(self.shards.len()).expect("small")
    }

    fn step(&mut self, shard: u32, kind: Kind) -> Vec<Effect> {
        let count = self.count();
        let shard = &mut self.shards[shard as usize];
        if self.reloads {
            shard.reload();
        }
        let effects = shard.step(kind);
        let source = shard.config.shard;
        for (to, kind) in messages(&effects) {
            assert!(to < count);
            self.lines[source as usize].push((to, kind));
        }
        effects
    }

    fn send(&mut self, tx: &Transaction) -> Vec<Effect> {
        let coordinator = shards_of(tx, self.count())[0];
        self.step(coordinator, submit(tx))
    }

    fn act(&mut self, act: &Act) -> Vec<Effect> {
        match act {
            Act::Submit { coins, read, to, note } => {
                let mut chosen: Vec<Coin> = Vec::new();
                for place in coins {
                    let coin = self.coins[usize::from(*place) % self.coins.len()];
                    if chosen.iter().all(|other| other.outpoint != coin.outpoint) {
                        chosen.push(coin);
                    }
                }
                let count = self.count();
                let mut body =
                    body(&chosen, owner(u32::from(*to) % count, count, usize::from(to / 8) % 2), *note);
                if let Some(read) = read {
                    let coin = self.coins[usize::from(*read) % self.coins.len()];
                    if chosen.iter().all(|other| other.outpoint != coin.outpoint) {
                        body.inputs.push(coin.input(true));
                    }
                }
                let tx = seal(&body);
                self.coins.push(Coin::of(&tx, 0));
                self.submitted.push(tx.clone());
                self.send(&tx)
            }
            Act::Again { which } => {
                match self.submitted.get(usize::from(*which) % self.submitted.len().max(1)) {
                    Some(tx) => {
                        let tx = tx.clone();
                        self.send(&tx)
                    }
                    None => Vec::new(),
                }
            }
            Act::Deliver { from } => {
                let line = usize::from(*from) % self.lines.len();
                if self.lines[line].is_empty() {
                    return Vec::new();
                }
                let (to, kind) = self.lines[line].remove(0);
                self.step(to, kind)
            }
            Act::Pass { shard, ms } => {
                let shard = u32::from(*shard) % self.count();
                self.shards[shard as usize].now_ms += ms;
                self.step(shard, Kind::Tick(Tick {}))
            }
        }
    }

    /// Time passes and all is delivered until nothing is left.
    fn settle(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..200 {
            for line in 0..self.lines.len() {
                while !self.lines[line].is_empty() {
                    let (to, kind) = self.lines[line].remove(0);
                    effects.extend(self.step(to, kind));
                }
            }
            if self.shards.iter().all(Shard::is_idle) && self.lines.iter().all(Vec::is_empty) {
                break;
            }
            for shard in 0..self.count() {
                self.shards[shard as usize].now_ms += 100;
                effects.extend(self.step(shard, Kind::Tick(Tick {})));
            }
        }
        assert!(self.shards.iter().all(Shard::is_idle), "something never ends");
        effects
    }

    /// L1: units that are live.
    fn live(&self) -> u64 {
        let rows = self.shards.iter().flat_map(|shard| &shard.rows);
        rows.filter(|((table, _), _)| *table == Table::Outputs)
            .map(|(_, row)| {
                <eschaton_types::pb::state::OutputRow as prost::Message>::decode(row.clone())
                    .expect("own row")
            })
            .filter(|row| row.spent_by.is_empty())
            .map(|row| row.amount)
            .sum()
    }

    fn accepted(&self) -> Vec<Transaction> {
        let mut accepted: Vec<_> = self
            .submitted
            .iter()
            .filter(|tx| {
                let coordinator = shards_of(tx, self.count())[0];
                self.shards[coordinator as usize].state(tx) == Some(State::Accepted)
            })
            .cloned()
            .collect();
        accepted.sort_by_key(|tx| tx.txid);
        accepted.dedup_by_key(|tx| tx.txid);
        accepted
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_core_that_loads_its_rows_goes_on_the_same(
        shards in 1..4_u32,
        window_ms in prop_oneof![Just(0_u64), Just(120)],
        bounds in prop_oneof![Just((1_000_usize, 8_usize)), Just((4, 2))],
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut stays = World::new(shards, window_ms, bounds, false);
        let mut loads = World::new(shards, window_ms, bounds, true);
        for act in &acts {
            prop_assert_eq!(stays.act(act), loads.act(act), "{:?}", act);
        }
        prop_assert_eq!(stays.settle(), loads.settle());
        for (one, other) in stays.shards.iter().zip(&loads.shards) {
            prop_assert_eq!(&one.rows, &other.rows);
        }
        prop_assert_eq!(stays.live(), 90, "nine coins of ten units");
    }

    /// No output has two spenders, and every accepted transaction spends all that it consumes.
    #[test]
    fn what_is_accepted_is_spent_once(
        shards in 1..4_u32,
        window_ms in prop_oneof![Just(0_u64), Just(120)],
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut world = World::new(shards, window_ms, (1_000, 8), false);
        acts.iter().for_each(|act| drop(world.act(act)));
        world.settle();
        let accepted = world.accepted();
        for tx in &accepted {
            for input in tx.body.consumed() {
                let shard = &world.shards[shard_of(&input.owner, shards) as usize];
                let coin = world.coins.iter().find(|coin| coin.outpoint == input.outpoint).expect("made above");
                prop_assert!(shard.is_spent_by(coin, tx), "{} does not have {}", tx.txid, input.outpoint);
            }
        }
    }

    /// Submissions carry no id, so the log may hold any prefix of them again: what was accepted stays,
    /// and answers come again without a row being touched.
    #[test]
    fn submitting_everything_again_changes_nothing_that_was_accepted(
        shards in 1..4_u32,
        acts in prop::collection::vec(act(), 1..40),
        prefix in 0..40_usize,
    ) {
        let mut world = World::new(shards, 0, (1_000, 8), false);
        acts.iter().for_each(|act| drop(world.act(act)));
        world.settle();
        let accepted = world.accepted();
        let rows: Vec<_> = world.shards.iter().map(|shard| shard.rows.clone()).collect();
        for tx in &accepted {
            let effects = world.send(tx);
            let decision = of(&effects, tx);
            prop_assert!(decision.repeated_answer && decision.state() == State::Accepted && effects.len() == 1);
        }
        prop_assert_eq!(&rows, &world.shards.iter().map(|shard| shard.rows.clone()).collect::<Vec<_>>());
        // The others may fare better now; nothing accepted may fare worse.
        for tx in world.submitted.iter().take(prefix).cloned().collect::<Vec<_>>() {
            world.send(&tx);
        }
        world.settle();
        prop_assert_eq!(world.live(), 90);
        let now = world.accepted();
        prop_assert!(accepted.iter().all(|tx| now.iter().any(|other| other.txid == tx.txid)));
    }
}
