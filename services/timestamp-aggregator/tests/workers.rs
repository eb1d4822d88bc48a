//! Digests through the workers on real engines: placed, closed, anchored, and all of it again after a crash.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eschaton_core::{Table, Topic, TopicPartition};
use eschaton_driver::scan_all;
use eschaton_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, OsRng, StoreOptions, SystemClock};
use eschaton_kit::{Health, Ports};
use eschaton_ports::NewRecord;
use eschaton_timestamp::anchorer::Want;
use eschaton_timestamp::rows::{Place, anchor_key, digest_key, shard_of};
use eschaton_timestamp::{Anchor, AnchorInput, AnchorerConfig, Item, StampInput, proof};
use prost::Message;
use timestamp_aggregator::{Aggregator, AggregatorConfig};
use tokio_util::sync::CancellationToken;

const SHARDS: u32 = 2;

fn ports(dir: &Path) -> Ports {
    let (log, _) = EmbeddedLog::open(&dir.join("log"), &LogOptions::new(SHARDS)).unwrap();
    let (store, _) = EmbeddedStore::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    Ports {
        log: Arc::new(log),
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        rng: Arc::new(OsRng::new().unwrap()),
        signer: None,
    }
}

fn config() -> AggregatorConfig {
    let anchorer = AnchorerConfig { anchor_ms: 1, ..AnchorerConfig::new(SHARDS) };
    AggregatorConfig { interval_ms: 20, anchorer, ..AggregatorConfig::new(SHARDS) }
}

/// The shard's own: a digest belongs to one shard.
fn digest(shard: u32, round: u8, number: u8) -> Bytes {
    let digest = |salt: u32| [&salt.to_be_bytes()[..], &[round, number, 0, 7]].concat();
    let belongs = |digest: &Vec<u8>| shard_of(&digest_key(digest).unwrap(), SHARDS) == shard;
    (0..).map(digest).find(belongs).unwrap().into()
}

async fn submit(ports: &Ports, shard: u32, round: u8) {
    let item =
        |number| Item { nonce: [round.wrapping_mul(16) ^ number; 16], digest: digest(shard, round, number) };
    let payload = StampInput::Digests((0..10).map(item).collect()).encode();
    let to = TopicPartition { topic: Topic::Stamps, partition: shard };
    let record = NewRecord { to, at_ms: ports.clock.now_ms(), id: None, trace: None, payload };
    ports.log.append(vec![record]).await.unwrap();
}

/// Events of a shard until `count` intervals are closed.
async fn closed(ports: &Ports, shard: u32, count: usize) -> Vec<eschaton_types::pb::log::IntervalClosed> {
    let at = TopicPartition { topic: Topic::Stamped, partition: shard };
    let wait = async {
        loop {
            let records = ports.log.read(at, 0, 10_000, 1 << 24).await.unwrap();
            let closed: Vec<_> = records
                .into_iter()
                .filter_map(|record| {
                    match eschaton_types::pb::log::StampEvent::decode(record.payload).unwrap().kind {
                        Some(eschaton_types::pb::log::stamp_event::Kind::Closed(closed)) => Some(closed),
                        _ => None,
                    }
                })
                .collect();
            if closed.len() >= count {
                return closed;
            }
            ports.clock.sleep_ms(5).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
}

/// Every digest of a round has a path to the root of its interval, and that one to the root of an anchor.
async fn check(ports: &Ports, shard: u32, round: u8) {
    let mut rows = HashMap::new();
    for table in [Table::Digests, Table::Intervals, Table::Anchors] {
        rows.extend(scan_all(ports.store.as_ref(), table, b"").await.unwrap());
    }
    let read = |key: &[u8]| rows.get(key).cloned();
    for number in 0..10 {
        let digest = digest(shard, round, number);
        let key = digest_key(&digest).unwrap();
        let place = Place::from_row(&key, &rows[&key]).unwrap();
        let path = proof::interval_path(&digest, shard, place, &read).unwrap();
        let root = proof::root_place(&path.root, &read).unwrap().unwrap();
        let anchor = Anchor::from_row(root.anchor, &rows[&anchor_key(root.anchor)]).unwrap();
        let above = proof::anchor_path(&path.root, root, anchor.count, &read).unwrap();
        assert_eq!(above.root, anchor.root);
    }
}

/// Runs an aggregator, has it place a round in both shards, and gives the anchors that want a transaction.
async fn round(ports: &Ports, round: u8, intervals: usize) -> Vec<u64> {
    let (health, stop) = (Health::default(), CancellationToken::new());
    let aggregator = Aggregator::start(&config(), ports, &health, &stop);
    aggregator.inbox().tell(&[AnchorInput::Fee(1_000)]).await.unwrap();
    for shard in 0..SHARDS {
        submit(ports, shard, round).await;
        closed(ports, shard, intervals).await;
    }
    let mut view = aggregator.anchors();
    let all_planned = view.wait_for(|view| {
        view.as_ref().is_some_and(|anchorer| {
            let planned: u32 = anchorer.anchors().map(|anchor| anchor.count).sum();
            usize::try_from(planned).unwrap() == intervals * SHARDS as usize
        })
    });
    let view = tokio::time::timeout(Duration::from_secs(20), all_planned).await.unwrap().unwrap().clone();
    let wanted = view.unwrap().wants().into_iter().map(|want| match want {
        Want::Build { anchor, .. } => anchor,
        other => unreachable!("nothing was signed: {other:?}"),
    });
    let wanted = wanted.collect();
    stop.cancel();
    aggregator.join().await;
    assert!(health.problems().is_empty(), "{:?}", health.problems());
    for shard in 0..SHARDS {
        check(ports, shard, round).await;
    }
    wanted
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_come_into_anchors_and_a_lost_store_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = round(&ports(dir.path()), 1, 1).await;
    assert!(!first.is_empty(), "an anchor wants a transaction");
    let ports = ports(dir.path());
    let again = round(&ports, 2, 2).await;
    assert!(
        first.iter().all(|anchor| again.contains(anchor)),
        "wants outlive the process: {first:?} {again:?}"
    );
    // The same digest once more: it keeps its place, and no interval is closed for it.
    let before = closed(&ports, 0, 2).await.len();
    let (stop, health) = (CancellationToken::new(), Health::default());
    let aggregator = Aggregator::start(&config(), &ports, &health, &stop);
    submit(&ports, 0, 1).await;
    ports.clock.sleep_ms(200).await;
    assert_eq!(closed(&ports, 0, before).await.len(), before);
    stop.cancel();
    aggregator.join().await;

    let fresh = tempfile::tempdir().unwrap();
    let (store, _) = EmbeddedStore::open(fresh.path(), &StoreOptions::default()).unwrap();
    let rebuilt = Ports { store: Arc::new(store), ..ports.clone() };
    let stop = CancellationToken::new();
    let aggregator = Aggregator::start(&config(), &rebuilt, &health, &stop);
    aggregator.anchors().wait_for(Option::is_some).await.unwrap();
    // Stampers have opened when they have taken this.
    for shard in 0..SHARDS {
        submit(&rebuilt, shard, 3).await;
        closed(&rebuilt, shard, before + 1).await;
    }
    stop.cancel();
    aggregator.join().await;
    for shard in 0..SHARDS {
        check(&rebuilt, shard, 1).await;
        check(&rebuilt, shard, 2).await;
    }
}
