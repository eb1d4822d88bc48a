//! What anchors must live through, on whatever chain.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::Ordering;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use eschaton_onchain::{SeedSigner, Spend, Wallet, WalletConfig};
use eschaton_ports::Clock;
use eschaton_ports::chain::{ChainSigner, Purpose};

use crate::bench::{Bench, elsewhere, spend};
use crate::kit::{FEE_CAP, Life, SEED, World};

/// Coins for the wallet, and the blocks that make them spendable.
pub(crate) async fn fund(bench: &dyn Bench, life: &Life, coins: u32) {
    let script = life.handle.script().await.unwrap();
    bench.mine(coins, &script).await;
    bench.mine(100, &elsewhere()).await;
}

/// Mines until all is final.
pub(crate) async fn finish(bench: &dyn Bench, world: &World, life: &Life) {
    for _ in 0..20 {
        life.under_way().await;
        bench.mine(1, &elsewhere()).await;
        let tip = u64::from(world.chain.inner.tip().await.unwrap().height);
        let seen = life.until("at the tip", |anchorer| anchorer.tip() == tip).await;
        if seen.waiting().0 == 0 && seen.anchors().all(|anchor| anchor.is_final && anchor.block.is_some()) {
            return world.judge(life).await;
        }
    }
    panic!("not all is final: {:?}", life.handle.anchorer());
}

/// Stamped, anchored, mined, proven; over restarts, several at once.
pub(crate) async fn ordinary(bench: &dyn Bench) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), bench.chain());
    let life = world.live().await;
    world.stamp(&life).await;
    life.says("send some to its address").await;
    fund(bench, &life, 4).await;
    life.under_way().await;
    life.is_well().await;
    // A second one while the first is under way.
    world.stamp(&life).await;
    // An interval of each shard for each stamp; before they are all here, there is more to sign.
    life.until("gathered", |anchorer| {
        let planned: u32 = anchorer.anchors().map(|anchor| anchor.count).sum();
        planned + anchorer.waiting().0 == 4
    })
    .await;
    let seen = life.under_way().await;
    assert!(seen.anchors().filter(|anchor| anchor.block.is_none()).count() >= 2);
    life.end().await;
    // Nothing is signed anew in the next life.
    let attempts = |anchorer: &eschaton_timestamp::Anchorer| -> Vec<_> {
        anchorer.watched().map(|(anchor, attempt)| (anchor, attempt.transaction.txid())).collect()
    };
    let before = attempts(&seen);
    let life = world.live().await;
    let seen = life.under_way().await;
    assert_eq!(attempts(&seen), before);
    finish(bench, &world, &life).await;
    let status = life.handle.status();
    assert!(
        status.balance.free_sat > 0 && status.balance.reserved_sat == 0 && status.problem.is_none(),
        "{status:?}"
    );
    life.end().await;
}

/// A reorganisation drops the block of an anchor, while awake and while away.
pub(crate) async fn reorganised(bench: &dyn Bench) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), bench.chain());
    let life = world.live().await;
    fund(bench, &life, 4).await;
    world.stamp(&life).await;
    life.under_way().await;
    bench.mine(2, &elsewhere()).await;
    life.until("confirmed", |anchorer| anchorer.anchors().all(|anchor| anchor.block.is_some())).await;
    bench.reorganise(2).await;
    life.until("taken back", |anchorer| anchorer.anchors().any(|anchor| anchor.block.is_none())).await;
    let seen = life.under_way().await;
    assert!(seen.anchors().all(|anchor| anchor.attempts.len() == 1), "no new transaction was needed");
    bench.mine(1, &elsewhere()).await;
    life.until("confirmed", |anchorer| anchorer.anchors().all(|anchor| anchor.block.is_some())).await;
    life.end().await;
    bench.reorganise(1).await;
    let life = world.live().await;
    finish(bench, &world, &life).await;
    life.end().await;
}

/// Somebody with the same keys spends an anchor's input: when that is certain, the anchor is made anew with another coin.
pub(crate) async fn conflict(bench: &dyn Bench) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), bench.chain());
    let life = world.live().await;
    fund(bench, &life, 4).await;
    world.stamp(&life).await;
    let seen = life.under_way().await;
    let (_, attempt) = seen.watched().next().unwrap();
    let first = attempt.transaction.txid();
    let identity = world.chain.inner.identity();
    let signer = SeedSigner::new(&SEED, &identity, Purpose::Taproot).unwrap();
    let config = WalletConfig { path: dir.path().join("thief"), birthday: 0 };
    let mut thief = Wallet::open(&config, identity, &signer.account()).unwrap();
    while !thief.catch_up(&world.chain.inner, 1_000).await.unwrap() {}
    let input = attempt.transaction.inputs()[0];
    let input = OutPoint { txid: Txid::from_byte_array(input.txid), vout: input.index };
    let theft = Spend { above_sat: attempt.fee_sat, input: Some(input), ..spend(9, 0x99, 30_000) };
    let psbt = signer.sign(thief.build(&theft).unwrap()).await.unwrap();
    let stolen = thief.finish(psbt).unwrap().transaction;
    world.chain.inner.broadcast(&stolen).await.unwrap();
    bench.mine(1, &elsewhere()).await;
    life.says("who else uses this wallet's keys").await;
    life.until("in conflict", |anchorer| {
        anchorer
            .watched()
            .any(|(_, attempt)| attempt.transaction.txid() == first && attempt.conflict_height.is_some())
    })
    .await;
    bench.mine(3, &elsewhere()).await;
    let seen = life
        .until("made anew", |anchorer| {
            anchorer.anchors().any(|anchor| anchor.attempts.len() > 1 && anchor.attempts.last().unwrap().seen)
        })
        .await;
    assert!(seen.watched().any(|(_, attempt)| attempt.transaction.txid() != first));
    finish(bench, &world, &life).await;
    life.is_well().await;
    life.end().await;
}

/// Fees above the cap are waited out; a transaction that is too cheap is replaced.
pub(crate) async fn fees(bench: &dyn Bench) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), bench.chain());
    world.chain.fee.store(FEE_CAP * 2, Ordering::SeqCst);
    let life = world.live().await;
    fund(bench, &life, 4).await;
    world.stamp(&life).await;
    life.says("the cap is").await;
    let seen = life.until("waiting", |anchorer| anchorer.waiting().0 > 0).await;
    assert_eq!(seen.anchors().count(), 0, "one anchor serves all who wait");
    world.chain.fee.store(2_000, Ordering::SeqCst);
    let seen = life.under_way().await;
    life.is_well().await;
    let newest = |anchorer: &eschaton_timestamp::Anchorer| {
        anchorer.anchors().next().unwrap().attempts.last().unwrap().clone()
    };
    let cheap = newest(&seen);
    assert!((2_000..2_100).contains(&cheap.sat_per_kvb()), "{}", cheap.sat_per_kvb());
    // Dearer, and a block comes without it.
    world.chain.fee.store(8_000, Ordering::SeqCst);
    bench.reorganise(0).await;
    let seen = life
        .until("replaced", |anchorer| {
            let newest = newest(anchorer);
            newest.transaction.txid() != cheap.transaction.txid() && newest.seen
        })
        .await;
    let raised = newest(&seen);
    assert!((8_000..8_200).contains(&raised.sat_per_kvb()), "{}", raised.sat_per_kvb());
    assert!(raised.conflicts_with(&cheap.transaction));
    // By hand.
    let number = seen.anchors().next().unwrap().number;
    life.handle.bump(number, 20_000).await.unwrap();
    life.until("bumped", |anchorer| newest(anchorer).sat_per_kvb() >= 20_000 && newest(anchorer).seen).await;
    finish(bench, &world, &life).await;
    life.end().await;
}

/// The node is away for an hour; clocks jump; stamps are taken all the time.
pub(crate) async fn away(bench: &dyn Bench) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), bench.chain());
    let life = world.live().await;
    fund(bench, &life, 4).await;
    world.stamp(&life).await;
    life.under_way().await;
    world.chain.away.store(true, Ordering::SeqCst);
    life.says("is away").await;
    for minute in 0..6 {
        world.clock.0.fetch_add(600_000, Ordering::SeqCst);
        world.stamp(&life).await;
        let waiting = minute + 1;
        life.until("gathered", |anchorer| {
            let gathered: u32 = anchorer.anchors().map(|anchor| anchor.count).sum();
            gathered + anchorer.waiting().0 > waiting
        })
        .await;
    }
    bench.mine(1, &elsewhere()).await;
    world.chain.away.store(false, Ordering::SeqCst);
    life.is_well().await;
    life.under_way().await;
    // The clock jumps back; log time stands still meanwhile, and nothing else does.
    world.clock.0.store(-7_200_000, Ordering::SeqCst);
    assert!(world.clock.now_ms() > 0);
    bench.mine(1, &elsewhere()).await;
    world.clock.0.store(7_200_000, Ordering::SeqCst);
    world.stamp(&life).await;
    finish(bench, &world, &life).await;
    life.end().await;
}
