//! `kill -9` at random moments over the whole life of anchors: this program runs itself as the node, kills it, and judges what
//! is on the disk. `ESCHATON_TEST_KILLS` says how often, 100 unless given; seeds are told, so that a failure can be had again.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

#[path = "../../../crates/onchain/tests/bench/mod.rs"]
mod bench;
mod kit;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::elsewhere;
use bytes::Bytes;
use eschaton_core::Table;
use eschaton_driver::scan_all;
use eschaton_embedded::SystemClock;
use eschaton_ports::Clock;
use eschaton_ports::chain::Chain;
use eschaton_regtest::{RegtestChain, RegtestConfig};
use eschaton_timestamp::Anchor;
use kit::{Life, World};

const DIR: &str = "ESCHATON_TEST_KILLS_DIR";
const ROUND: &str = "ESCHATON_TEST_KILLS_ROUND";

/// Small numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn chain(dir: &Path) -> RegtestChain {
    RegtestChain::open(&RegtestConfig::new(dir.join("chain")), Arc::new(SystemClock)).unwrap()
}

async fn fund(chain: &RegtestChain, life: &Life) {
    let height = chain.tip().await.unwrap().height;
    if height < 4 {
        chain.mine(4 - height, life.handle.script().await.unwrap()).await.unwrap();
    }
    if height < 104 {
        chain.mine(104 - height.max(4), elsewhere()).await.unwrap();
    }
}

/// The node: takes stamps, says which ones it acknowledged, mines now and then, for ever.
async fn node(dir: &Path, round: u32) {
    let chain = chain(dir);
    let mut world = World::new(dir, Arc::new(chain.clone()));
    world.round = round;
    let life = world.live().await;
    fund(&chain, &life).await;
    let mut dice = Dice(round.into());
    loop {
        let known = world.stamped.len();
        world.stamp(&life).await;
        let mut out = std::io::stdout().lock();
        for (shard, digest) in &world.stamped[known..] {
            // Durable on the log by now.
            writeln!(out, "{shard} {}", hex::encode(digest)).unwrap();
        }
        out.flush().unwrap();
        drop(out);
        if dice.below(3) == 0 {
            chain.mine(1, elsewhere()).await.unwrap();
        }
        SystemClock.sleep_ms(dice.below(60)).await;
        assert!(
            life.health.problems().iter().all(|problem| !problem.contains("damage")),
            "{:?}",
            life.health.problems()
        );
    }
}

fn start(
    dir: &Path,
    round: u32,
    acknowledged: &Arc<Mutex<Vec<(u32, Bytes)>>>,
) -> (Child, std::thread::JoinHandle<()>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, acknowledged) = (child.stdout.take().unwrap(), acknowledged.clone());
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            let Ok(line) = line else { return };
            // The last one may be cut.
            let Some((shard, digest)) = line.split_once(' ') else { continue };
            let (Ok(shard), Ok(digest)) = (shard.parse(), hex::decode(digest)) else { continue };
            if digest.len() == 9 {
                acknowledged.lock().unwrap().push((shard, Bytes::from(digest)));
            }
        }
    });
    (child, reader)
}

/// No two anchors have transactions that spend one output.
async fn no_input_twice(life: &Life) {
    let rows = scan_all(life.ports.store.as_ref(), Table::Anchors, b"A").await.unwrap();
    let mut spent = BTreeMap::new();
    for (key, row) in rows {
        let number = u64::from_be_bytes(key[1..9].try_into().unwrap());
        for attempt in Anchor::from_row(number, &row).unwrap().attempts {
            for input in attempt.transaction.inputs() {
                let other = spent.insert(*input, number);
                assert!(
                    other.is_none_or(|other| other == number),
                    "anchors {other:?} and {number} spend {input:?}"
                );
            }
        }
    }
    assert!(!spent.is_empty());
}

async fn judge(dir: &Path, acknowledged: Vec<(u32, Bytes)>, kills: u32) {
    let chain = chain(dir);
    let mut world = World::new(dir, Arc::new(chain.clone()));
    world.stamped = acknowledged;
    let life = world.live().await;
    fund(&chain, &life).await;
    for _ in 0..60 {
        life.under_way().await;
        chain.mine(1, elsewhere()).await.unwrap();
        let tip = u64::from(chain.tip().await.unwrap().height);
        let seen = life.until("at the tip", |anchorer| anchorer.tip() == tip).await;
        if seen.waiting().0 == 0 && seen.anchors().all(|anchor| anchor.is_final && anchor.block.is_some()) {
            break;
        }
    }
    world.judge(&life).await;
    no_input_twice(&life).await;
    let height = chain.tip().await.unwrap().height;
    println!("{kills} kills: {} acknowledged digests, all proven; chain {height} high", world.stamped.len());
    life.end().await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(dir) = std::env::var_os(DIR) {
        let round = std::env::var(ROUND).unwrap().parse().unwrap();
        return runtime.block_on(node(Path::new(&dir), round));
    }
    let kills = std::env::var("ESCHATON_TEST_KILLS").map_or(100, |kills| kills.parse().unwrap());
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = std::env::var("ESCHATON_TEST_SEED").map_or(seed, |seed| seed.parse().unwrap());
    println!("ESCHATON_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let acknowledged: Arc<Mutex<Vec<(u32, Bytes)>>> = Arc::default();
    for kill in 0..kills {
        let before = acknowledged.lock().unwrap().len();
        let (mut child, reader) = start(dir.path(), kill * 100_000, &acknowledged);
        // Sometimes while it opens, mostly while it works.
        if dice.below(5) > 0 {
            for _ in 0..600 {
                if acknowledged.lock().unwrap().len() > before {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        std::thread::sleep(Duration::from_millis(dice.below(900)));
        assert!(child.try_wait().unwrap().is_none(), "the node ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > usize::try_from(kills).unwrap() * 10, "{} digests", acknowledged.len());
    runtime.block_on(judge(dir.path(), acknowledged, kills));
}
