//! The life of digests, intervals and anchors from seeds: a chain with reorganisations, drops, conflicting spends and
//! fees above the cap, a service that is careless, records that come twice; after every record the core is loaded from
//! its rows and must be the same. T1, "twice", "final", "wallet", "durable" and "replay" are judged.

#![allow(unreachable_pub, clippy::panic)]

mod chain;
mod world;

use std::collections::BTreeMap;

use eschaton_timestamp::PlantedBug;
use world::run;

const SEEDS: u64 = 150;
/// Far more than any planted bug needs.
const SEEDS_MAX: u64 = 600;

#[test]
fn nothing_breaks_in_any_seed() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let happened = run(seed, None).unwrap_or_else(|violation| panic!("{violation:?}"));
        happened.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    println!("{seen:?}");
    // A model in which nothing happens would say nothing.
    for what in [
        "conflict",
        "dropped",
        "final",
        "interval again",
        "reanchored",
        "refused",
        "reorganised",
        "replace",
        "theft",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count > 20), "{what}: {seen:?}");
    }
}

fn is_found(bug: PlantedBug, by: &[&str]) {
    let found = (0..SEEDS_MAX).find_map(|seed| run(seed, Some(bug)).err());
    let violation = found.unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS_MAX} seeds"));
    println!("{bug:?}: {violation:?}");
    assert!(by.contains(&violation.rule), "{bug:?} broke something else: {violation:?}");
    assert_eq!(run(violation.seed, Some(bug)), Err(violation), "the same seed shows it again");
}

#[test]
fn no_digest_deduplication() {
    is_found(PlantedBug::NoDigestDeduplication, &["T1"]);
}

#[test]
fn no_interval_deduplication() {
    is_found(PlantedBug::NoIntervalDeduplication, &["T1"]);
}

#[test]
fn last_row_unwritten() {
    is_found(PlantedBug::LastRowUnwritten, &["T1", "replay"]);
}

#[test]
fn hasty_reanchor() {
    is_found(PlantedBug::HastyReanchor, &["twice"]);
}

#[test]
fn forgets_reorganisation() {
    is_found(PlantedBug::ForgetsReorganisation, &["T1", "twice"]);
}

#[test]
fn independent_bump() {
    is_found(PlantedBug::IndependentBump, &["twice"]);
}

#[test]
fn hasty_final() {
    is_found(PlantedBug::HastyFinal, &["final"]);
}

#[test]
fn signed_unwritten() {
    is_found(PlantedBug::SignedUnwritten, &["replay"]);
}

#[test]
fn shared_inputs() {
    is_found(PlantedBug::SharedInputs, &["wallet"]);
}

#[test]
fn forgets_dropped() {
    is_found(PlantedBug::ForgetsDropped, &["dropped"]);
}
