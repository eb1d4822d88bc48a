//! What the anchorer is told of a chain, from seeds: reorganisations, conflicting spends, drops, looks that come late. After
//! each look the anchorer must know of the chain what there is to know, and the next look must have nothing to tell.
//! Planted bugs must be found.

#![allow(unreachable_pub, dead_code, clippy::panic)]

#[path = "../../../crates/timestamp/tests/model/chain.rs"]
mod chain;

use std::collections::{BTreeMap, BTreeSet};

use chain::{Chain, Tx};
use eschaton_timestamp::anchorer::Want;
use eschaton_timestamp::transaction::sha256d;
use eschaton_timestamp::{AnchorInput, Anchorer, AnchorerConfig};
use timestamp_aggregator::chain::{Found, Place, PlantedBug, tell, tell_planted};

const SEEDS: u64 = 150;
const SEEDS_MAX: u64 = 400;
const VBYTES: u32 = 150;

/// splitmix64: enough for choices.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("small")).expect("small")
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

struct World {
    dice: Dice,
    bug: Option<PlantedBug>,
    chain: Chain,
    anchorer: Anchorer,
    now: u64,
    intervals: u64,
    salt: u64,
    seen: BTreeMap<&'static str, u64>,
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).expect("small")
}

impl World {
    fn new(seed: u64, bug: Option<PlantedBug>) -> Self {
        let config = AnchorerConfig {
            anchor_ms: 1,
            final_blocks: 4,
            buried_blocks: 12,
            in_flight_max: 3,
            ..AnchorerConfig::new(1)
        };
        let anchorer = Anchorer::load(config, &|_: &[u8]| None).expect("empty rows load");
        let mut chain = Chain::default();
        for _ in 0..12 {
            chain.mine(None, || false, 1_000);
        }
        let seen = BTreeMap::new();
        Self { dice: Dice(seed), bug, chain, anchorer, now: 1, intervals: 0, salt: 0, seen }
    }

    fn step(&mut self, input: &AnchorInput) -> Result<(), String> {
        self.anchorer.step(self.now, input).map(drop).map_err(|error| format!("{input:?}: {error}"))
    }

    fn find(&self) -> Found {
        let place = |transaction: &eschaton_timestamp::transaction::Transaction| {
            let txid = transaction.txid();
            if let Some((height, at)) = self.chain.find(&txid) {
                let (header, branch) = (self.chain.blocks[height].header, self.chain.branch(height, at));
                return Place::Block { height: wide(height), header, branch };
            }
            match transaction.inputs().iter().find_map(|input| self.chain.spender(input)) {
                Some((height, by)) => Place::Conflict { by, height: wide(height) },
                None => Place::Mempool(self.chain.mempool.iter().any(|tx| tx.parsed.txid() == txid)),
            }
        };
        let places = self
            .anchorer
            .watched()
            .map(|(_, attempt)| (attempt.transaction.txid(), place(&attempt.transaction)));
        Found { tip: wide(self.chain.tip()), places: places.collect() }
    }

    /// One look, all of it told; then what must hold.
    fn look(&mut self) -> Result<(), String> {
        let found = self.find();
        let told = match self.bug {
            None => tell(&self.anchorer, &found),
            Some(bug) => tell_planted(&self.anchorer, &found, bug),
        };
        for input in &told {
            *self
                .seen
                .entry(match input {
                    AnchorInput::Disconnected(_) => "disconnected",
                    AnchorInput::Confirmed { .. } => "confirmed",
                    AnchorInput::Conflicted { .. } => "conflicted",
                    AnchorInput::Mempool { present: false, .. } => "dropped",
                    _ => "other",
                })
                .or_default() += 1;
            self.step(input)?;
        }
        let found = self.find();
        for anchor in self.anchorer.anchors() {
            let placed: BTreeSet<_> = anchor
                .attempts
                .iter()
                .filter_map(|attempt| {
                    let txid = attempt.transaction.txid();
                    match found.places.get(&txid) {
                        Some(Place::Block { height, header, .. }) => Some((txid, *height, *header)),
                        _ => None,
                    }
                })
                .collect();
            let known = anchor.block.as_ref().map(|block| (block.txid, block.height, block.header));
            match known {
                None if placed.is_empty() => {}
                Some(known) if placed.contains(&known) => {}
                _ => return Err(format!("anchor {} is at {placed:?}, known is {known:?}", anchor.number)),
            }
            for attempt in &anchor.attempts {
                let own = |by| anchor.attempts.iter().any(|of| of.transaction.txid() == by);
                let there = match found.places.get(&attempt.transaction.txid()) {
                    Some(Place::Conflict { by, height }) if !own(*by) => Some(*height),
                    _ => None,
                };
                if attempt.conflict_height != there {
                    return Err(format!("conflict at {there:?}, known is {:?}", attempt.conflict_height));
                }
                if let Some(Place::Mempool(present)) = found.places.get(&attempt.transaction.txid())
                    && anchor.block.is_none()
                    && attempt.seen != *present
                {
                    return Err(format!("in the mempool: {present}, known is {}", attempt.seen));
                }
            }
        }
        if self.anchorer.tip() != found.tip {
            return Err(format!("the tip is {}, known is {}", found.tip, self.anchorer.tip()));
        }
        match tell(&self.anchorer, &found) {
            nothing if nothing.is_empty() => Ok(()),
            more => Err(format!("there is more to tell: {more:?}")),
        }
    }

    /// What the anchorer wants is done.
    fn serve(&mut self) -> Result<(), String> {
        for want in self.anchorer.wants() {
            match want {
                Want::Build { anchor, root, .. } => {
                    let used: BTreeSet<_> = self
                        .anchorer
                        .watched()
                        .flat_map(|(_, attempt)| attempt.transaction.inputs().to_vec())
                        .collect();
                    let mut funds = self.chain.unspent();
                    funds.retain(|outpoint| !used.contains(outpoint));
                    if let Some(input) = funds.first() {
                        self.salt += 1;
                        let tx = Tx::new(&[*input], Some(&root), 1_000, self.salt);
                        self.sign(anchor, &tx)?;
                    }
                }
                Want::Replace { anchor, root, above_sat, spend, .. } => {
                    self.salt += 1;
                    let tx = Tx::new(&[spend], Some(&root), above_sat + 500, self.salt);
                    self.sign(anchor, &tx)?;
                }
                Want::Broadcast { txid, raw, .. } => {
                    let parsed = eschaton_timestamp::transaction::Transaction::parse(&raw)
                        .map_err(|e| e.to_string())?;
                    let fee = self.anchorer.watched().find(|(_, of)| of.transaction.txid() == txid);
                    let fee = fee.map_or(0, |(_, attempt)| attempt.fee_sat);
                    let tx = Tx { raw: raw.to_vec(), parsed, fee, foreign: false };
                    if self.chain.broadcast(tx) {
                        self.step(&AnchorInput::Mempool { txid, present: true })?;
                    }
                }
            }
        }
        Ok(())
    }

    fn sign(&mut self, anchor: u64, tx: &Tx) -> Result<(), String> {
        self.step(&AnchorInput::Signed {
            anchor,
            raw: tx.raw.clone().into(),
            fee_sat: tx.fee,
            vbytes: VBYTES,
        })
    }

    fn live(&mut self) -> Result<(), String> {
        self.step(&AnchorInput::Fee(2_000))?;
        self.look()?;
        for _ in 0..150 {
            self.now += 5;
            let time = u32::try_from(self.chain.tip()).expect("small")
                + 2_000
                + u32::try_from(self.salt % 7).expect("small");
            match self.dice.below(10) {
                0 | 1 => {
                    let root = sha256d(&self.intervals.to_be_bytes());
                    let closed =
                        AnchorInput::Closed { shard: 0, interval: self.intervals, root, closed_ms: self.now };
                    self.intervals += 1;
                    self.step(&closed)?;
                }
                2 | 3 => self.serve()?,
                4 | 5 => {
                    let Self { dice, chain, .. } = self;
                    chain.mine(None, || dice.percent(60), time);
                }
                6 => {
                    // Also to less than there was, as a node that lost its last blocks.
                    let depth = 1 + self.dice.below(3);
                    let again = self.dice.below(depth + 2);
                    let Self { dice, chain, .. } = self;
                    chain.disconnect(depth, || dice.percent(60));
                    for _ in 0..again {
                        chain.mine(None, || dice.percent(50), time + 1);
                    }
                }
                7 if !self.chain.mempool.is_empty() => {
                    let at = self.dice.below(self.chain.mempool.len());
                    self.chain.mempool.swap_remove(at);
                }
                8 if !self.chain.mempool.is_empty() => {
                    let at = self.dice.below(self.chain.mempool.len());
                    let input = self.chain.mempool[at].parsed.inputs()[0];
                    self.salt += 1;
                    let mut thief = Tx::new(&[input], None, 1_000_000, self.salt);
                    thief.foreign = true;
                    self.chain.mine(Some(thief), || false, time);
                }
                _ => self.look()?,
            }
        }
        self.look()
    }
}

fn run(seed: u64, bug: Option<PlantedBug>) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut world = World::new(seed, bug);
    world.live().map(|()| world.seen)
}

#[test]
fn after_each_look_all_is_known() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let happened = run(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        happened.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    println!("{seen:?}");
    for what in ["disconnected", "confirmed", "conflicted", "dropped"] {
        assert!(seen.get(what).is_some_and(|count| *count > 50), "{what}: {seen:?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [
        PlantedBug::KeepsLostBlocks,
        PlantedBug::ForgetsSurvivors,
        PlantedBug::KeepsConflicts,
        PlantedBug::ForgetsDrops,
        PlantedBug::NewestOnly,
        PlantedBug::TipOnly,
    ] {
        let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, run(seed, Some(bug)).err()?)));
        let (seed, broken) = found.unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS_MAX} seeds"));
        println!("{bug:?}: seed {seed}: {broken}");
        assert_eq!(run(seed, Some(bug)).err(), Some(broken), "the same seed shows it again");
    }
}
