//! The clean code, over a few seeds; `cargo run --release -p eschaton-sim -- --seeds 10000` runs more.

use eschaton_sim::{Coverage, Violation, run, run_twice};

const SEEDS: u64 = 150;

#[test]
fn no_invariant_breaks_and_everything_happens() -> Result<(), Violation> {
    let mut coverage = Coverage::new();
    for seed in 0..SEEDS {
        for (what, times) in run(seed, None, false)?.coverage {
            *coverage.entry(what).or_default() += times;
        }
    }
    for what in [
        "accepted in one shard",
        "accepted in two shards",
        "accepted in more shards",
        "issuance accepted",
        "pending",
        "repeated answer",
        "REASON_SPENT",
        "REASON_UNKNOWN_INPUT",
        "REASON_WRONG_PRODUCT",
        "REASON_UNBALANCED",
        "REASON_NOT_YET_VALID",
        "REASON_EXPIRED",
        "REASON_NOT_YET_SPENDABLE",
        "REASON_CONFLICT_LOST",
        "REASON_TIMED_OUT",
        "REASON_TOO_MANY_CONTENDERS",
        "REASON_OVERLOADED",
        "fenced commits",
        "torn commits",
        "torn appends",
        "aborted transactions",
        "transactions left open",
        "records held back",
        "overridden rows",
        "completed trees",
        "taken back",
        "log unsure",
        "log refused",
        "late batches",
        "store unsure",
        "store refused",
        "worker crashes",
        "machine crashes",
        "takeovers",
    ] {
        assert!(
            coverage.get(what).is_some_and(|times| *times > 0),
            "no {what} in {SEEDS} seeds: {coverage:?}"
        );
    }
    Ok(())
}

#[test]
fn a_seed_decides_everything() -> Result<(), Violation> {
    (1_000..1_020).chain([u64::MAX]).try_for_each(|seed| run_twice(seed, None).map(drop))
}

#[test]
fn other_seeds_are_other_runs() {
    let traces: Vec<_> =
        (0..5).filter_map(|seed| run(seed, None, false).ok()).map(|outcome| outcome.trace).collect();
    assert!(traces.iter().enumerate().all(|(place, trace)| !traces[..place].contains(trace)), "{traces:?}");
}
