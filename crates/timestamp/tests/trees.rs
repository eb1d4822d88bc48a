//! Interval trees: the same root as the whole tree at once, paths for every leaf, rows that load at any moment, and
//! the bytes that a digest costs.

#![allow(clippy::panic)]

use std::collections::HashMap;

use bytes::Bytes;
use eschaton_ots::{CalendarUri, commitment, tree};
use eschaton_timestamp::rows::{self, Place};
use eschaton_timestamp::{Item, StampInput, Stamper, StamperConfig, TimestampError, proof};
use sha2::{Digest, Sha256};

type Kept = HashMap<Bytes, Bytes>;

fn item(number: usize) -> Item {
    let hash: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&hash[8..24]);
    // Some are of other lengths, as the calendar protocol allows.
    let digest = match number % 10 {
        7 => Bytes::copy_from_slice(&hash[..20]),
        8 => [&hash[..], &hash[..]].concat().into(),
        _ => Bytes::copy_from_slice(&hash),
    };
    Item { nonce, digest }
}

fn config() -> StamperConfig {
    StamperConfig { interval_ms: 100, ..StamperConfig::new(3) }
}

/// Records of `step` digests each, and then time passes. With `reload` the stamper is loaded anew before each.
fn fill(count: usize, step: usize, reload: bool) -> (Kept, Vec<Place>) {
    let mut kept = Kept::new();
    let mut stamper = Stamper::load(config(), &|_: &[u8]| None).expect("empty");
    let mut places = Vec::new();
    let items: Vec<Item> = (0..count).map(item).collect();
    for part in items.chunks(step) {
        let input = StampInput::Digests(part.to_vec());
        if reload {
            stamper = Stamper::load(config(), &|key: &[u8]| kept.get(key).cloned()).expect("own rows");
        }
        let stamped = stamper.step(&|key: &[u8]| kept.get(key).cloned(), 50, &input).expect("sound");
        places.extend(stamped.placed.iter().map(|placed| placed.place));
        kept.extend(stamped.changes);
    }
    let place = places[0];
    let early = proof::interval_path(&items[0].digest, 3, place, &|key: &[u8]| kept.get(key).cloned());
    assert_eq!(early, Err(TimestampError::Open));
    let closed = stamper.step(&|_: &[u8]| None, 150, &StampInput::Tick).expect("sound");
    assert_eq!(closed.closed.len(), 1, "it is due");
    kept.extend(closed.changes);
    (kept, places)
}

#[test]
fn every_leaf_has_its_path_at_every_size() {
    let uri = CalendarUri::new("http://127.0.0.1:7375").expect("allowed");
    for count in [1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 1_000, 65_535, 65_536, 65_537, 66_000] {
        let (kept, places) = fill(count, 999, false);
        let rows = |key: &[u8]| kept.get(key).cloned();
        let leaves: Vec<tree::Hash> =
            (0..count).map(item).map(|item| commitment(&item.digest, &item.nonce)).collect();
        let root = tree::root(leaves).expect("leaves");
        let every = if count > 2_000 { 997 } else { 1 };
        for number in (0..count).filter(|number| number % every == 0 || number + 300 > count) {
            let digest = item(number).digest;
            let place = places[number];
            assert_eq!(place, Place { interval: 0, index: u32::try_from(number).expect("small") });
            let asked = rows::digest_key(&digest).expect("a digest");
            assert_eq!(Place::from_row(&asked, &rows(&asked).expect("it has a place")), Ok(place));
            let reads = std::cell::RefCell::new(0);
            let counting = |key: &[u8]| {
                *reads.borrow_mut() += 1;
                rows(key)
            };
            let path = proof::interval_path(&digest, 3, place, &counting).expect("closed");
            assert_eq!(path.root, root, "leaf {number} of {count}");
            assert!(*reads.borrow() <= 4, "{} reads", reads.borrow());
            let answer = proof::answer(path.ops, &[&proof::promise(&uri)]).expect("small");
            let pending = answer.pending(&digest).expect("executes");
            assert_eq!(pending[0].commitment, root);
            let chunk = proof::chunk_of(place.index);
            let needed = |count| proof::rows_for_chunk_paths(3, 0, count, chunk);
            let asked = needed(u32::try_from(count).expect("small"));
            let only = |key: &[u8]| rows(key).filter(|_| asked.iter().any(|asked| asked == key));
            let total = u32::try_from(count).expect("small");
            let chunk = proof::chunk_paths(3, 0, (total, &root), chunk, &only).expect("closed");
            let end = proof::promise(&uri).to_bytes().expect("small");
            assert_eq!(chunk.timestamp(&digest, place.index, &end), Ok(answer.to_bytes().expect("small")));
            assert!(chunk.timestamp(&[5; 32], place.index, &end).is_err(), "another's leaf");
            let other = proof::interval_path(&[5; 32], 3, place, &rows);
            assert!(matches!(other, Err(TimestampError::CorruptRow { .. })), "{other:?}");
        }
    }
}

#[test]
fn a_stamper_loads_at_any_moment() {
    for count in [1, 255, 256, 257, 600, 65_536, 65_600] {
        let (stays, _) = fill(count, 97, false);
        let (loads, _) = fill(count, 97, true);
        assert!(stays == loads, "{count} digests");
    }
}

/// A changed or lost byte of any row is found, not served.
#[test]
fn damage_is_told() {
    let (kept, places) = fill(600, 600, false);
    let digest = item(300).digest;
    let mut needed = rows_needed(&kept, places[300]);
    assert_eq!(needed.len(), 3);
    needed.sort();
    for key in needed {
        for at in 0..kept[&key].len() {
            let mut damaged = kept.clone();
            let mut row = kept[&key].to_vec();
            row[at] ^= 0x10;
            damaged.insert(key.clone(), row.into());
            let read = |key: &[u8]| damaged.get(key).cloned();
            if let Ok(path) = proof::interval_path(&digest, 3, places[300], &read) {
                // A neighbour's nonce, or a time: no part of this proof.
                let sound =
                    proof::interval_path(&digest, 3, places[300], &|key: &[u8]| kept.get(key).cloned());
                assert_eq!(Ok(path), sound, "byte {at} of row {}", hex::encode(&key));
            }
        }
        let lost = |asked: &[u8]| kept.get(asked).filter(|_| asked != &key[..]).cloned();
        assert!(proof::interval_path(&digest, 3, places[300], &lost).is_err());
    }
}

fn rows_needed(kept: &Kept, place: Place) -> Vec<Bytes> {
    let needed = proof::rows_for_interval_path(3, place, 600);
    assert!(needed.iter().all(|key| kept.contains_key(key)));
    needed
}

#[test]
fn a_digest_costs_less_than_150_bytes() {
    let (kept, _) = fill(100_000, 10_000, false);
    let all: usize = kept.iter().map(|(key, row)| key.len() + row.len()).sum();
    let each = all as f64 / 100_000.0;
    println!("{each:.1} bytes a digest in rows");
    assert!(each < 100.0, "{each}");
}

#[test]
fn a_digest_is_stamped_once() {
    let mut kept = Kept::new();
    let mut stamper = Stamper::load(config(), &|_: &[u8]| None).expect("empty");
    let mut places = Vec::new();
    for (now, numbers) in [(0, vec![1, 2, 1]), (10, vec![2, 3]), (500, vec![1, 4]), (501, vec![4])] {
        let input = StampInput::Digests(numbers.into_iter().map(item).collect());
        let touched = stamper.touches(&input).expect("digests");
        let read = |key: &[u8]| {
            assert!(touched.iter().any(|declared| declared == key), "an undeclared read");
            kept.get(key).cloned()
        };
        let stamped = stamper.step(&read, now, &input).expect("sound");
        kept.extend(stamped.changes);
        places.extend(stamped.placed);
    }
    let told: Vec<(u64, u32, bool)> =
        places.iter().map(|placed| (placed.place.interval, placed.place.index, placed.repeated)).collect();
    let expected = [
        (0, 0, false),
        (0, 1, false),
        (0, 0, true),
        (0, 1, true),
        (0, 2, false),
        (0, 0, true),
        (1, 0, false),
        (1, 0, true),
    ];
    assert_eq!(told, expected);
    for bad in [vec![], vec![0; 65]] {
        let found = bad.len();
        let input = StampInput::Digests(vec![Item { nonce: [0; 16], digest: bad.into() }]);
        assert_eq!(stamper.touches(&input), Err(TimestampError::Digest { found, max: 64 }));
    }
}

/// The longest answer that can come about: 2^20 digests, 2^20 intervals, a large transaction, a full block.
#[test]
fn the_longest_answer_fits() {
    use eschaton_ots::tree::Side;
    use eschaton_ots::{Chain, commitment_ops};
    use eschaton_timestamp::block::{BRANCH_MAX, BlockBranch};
    use eschaton_timestamp::transaction::Transaction;
    let sides = [Side::Left([1; 32]); 20];
    let mut ops = commitment_ops(&[0; 16]).to_vec();
    ops.extend(tree::branch_ops(&sides));
    ops.extend(tree::branch_ops(&sides));
    let root = [7; 32];
    let mut raw = vec![2, 0, 0, 0, 1];
    raw.extend_from_slice(&[3; 36]);
    raw.extend_from_slice(&[0xfd, 0x00, 0x07]);
    raw.extend_from_slice(&[0; 0x700]);
    raw.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 1]);
    raw.extend_from_slice(&[0; 8]);
    raw.extend_from_slice(&[34, 0x6a, 0x20]);
    raw.extend_from_slice(&root);
    raw.extend_from_slice(&[0; 4]);
    let transaction = Transaction::parse(&raw).expect("sound");
    let branch = BlockBranch { position: 5, hashes: vec![[9; 32]; BRANCH_MAX] };
    let known = proof::block_timestamp(&root, &transaction, &branch, Chain::Bitcoin, 1 << 40).expect("fits");
    let uri = CalendarUri::new(&"a".repeat(eschaton_ots::URI_MAX)).expect("allowed");
    let answer = proof::answer(ops, &[&known, &proof::promise(&uri)]).expect("fits");
    let bytes = answer.to_bytes().expect("attested").len();
    println!("the longest answer has {} operations and {bytes} bytes", answer.depth());
    assert!(answer.depth() <= proof::OPS_MAX && bytes <= 10_000);
}
