//! Every planted bug is found, and by an invariant that it can break. A simulator that finds none of
//! them would say nothing about the code without them.

use eschaton_sim::{Bug, Violation, run};

/// Far more than any needs; a change of the workload shifts the numbers.
const SEEDS_MAX: u64 = 500;

fn found(name: &str) -> Violation {
    let bug = Bug::named(name).expect("a known name");
    let found = (0..SEEDS_MAX).find_map(|seed| run(seed, Some(bug), false).err());
    assert!(found.is_some(), "{name} is not found in {SEEDS_MAX} seeds");
    found.expect("asserted")
}

fn is_found(name: &str, by: &[&str]) {
    let violation = found(name);
    println!("{name}: {violation}");
    assert!(by.contains(&violation.invariant), "{name} broke something else: {violation}");
    let again = run(violation.seed, Bug::named(name), false).expect_err("the same seed shows it again");
    assert_eq!(again, violation);
}

#[test]
fn rows_before_commit() {
    is_found("rows-before-commit", &["L1", "L3", "L4", "state"]);
}

#[test]
fn no_deduplication() {
    // L1: outputs that another shard creates twice.
    is_found("no-deduplication", &["L1", "L3", "L4"]);
}

#[test]
fn wall_clock() {
    is_found("wall-clock", &["L3"]);
}

#[test]
fn no_reapply() {
    is_found("no-reapply", &["L1", "L2", "L3", "L4", "state"]);
}

#[test]
fn credits_after_commit() {
    is_found("credits-after-commit", &["L1"]);
}

#[test]
fn gaps_pass() {
    is_found("gaps-pass", &["L1"]);
}

#[test]
fn forgets_unsent() {
    is_found("forgets-unsent", &["L4"]);
}

#[test]
fn sends_once() {
    is_found("sends-once", &["L4"]);
}

#[test]
fn no_overlay() {
    is_found("no-overlay", &["L1", "L2", "L3"]);
}

#[test]
fn reply_before_commit() {
    is_found("reply-before-commit", &["L3"]);
}

#[test]
fn missing_fsync() {
    // "state": a worker itself may be the first to see that its store knows more than the log.
    // L1: what the lost end of the log had paid is on the way again while the store has it already.
    is_found("missing-fsync", &["L1", "L3", "L4", "state"]);
}

#[test]
fn zombie_commits() {
    is_found("zombie-commits", &["L3"]);
}

#[test]
fn reservation_never_released() {
    is_found("reservation-never-released", &["L2", "L3", "L4", "state"]);
}

#[test]
fn watermark_before_rows() {
    is_found("watermark-before-rows", &["L1", "L2", "L3", "L4", "P1", "P2", "state"]);
}

#[test]
fn forgets_newer() {
    is_found("forgets-newer", &["L1", "L2", "L3", "L4", "state"]);
}

#[test]
fn stale_cache() {
    is_found("stale-cache", &["L1", "L2", "L3", "L4", "state"]);
}

#[test]
fn counts_records() {
    is_found("counts-records", &["L1", "L2", "L3", "L4", "state"]);
}

#[test]
fn reads_past_open() {
    is_found("reads-past-open", &["L1", "L2", "L3", "L4", "P1", "P2", "state"]);
}

#[test]
fn claim_leaves_open() {
    is_found("claim-leaves-open", &["L1", "L3", "P1", "P2", "state"]);
}

#[test]
fn no_stamps() {
    is_found("no-stamps", &["L1", "L2", "L3", "L4", "P1", "P2", "state"]);
}

#[test]
fn half_written_trees() {
    is_found("half-written-trees", &["L2", "P1", "P2"]);
}

#[test]
fn all_are_tested() {
    let tests = include_str!("planted.rs");
    for (name, _) in Bug::ALL {
        assert!(tests.contains(&format!("is_found(\"{name}\"")), "{name} has no test");
    }
}
