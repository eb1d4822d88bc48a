//! Latencies of shards that moved and of those that did not.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::owners::{Owners, moved};
use super::pour::Sample;
use super::{MovesArgs, seconds};
use crate::cores;
use crate::plot::millis;
use crate::report::{machine, table};

/// After a move's beginning its consequences are looked at for so long at least: the time until the moved shards answer
/// may be too short to see the others' p99.
const LOOK: Duration = Duration::from_secs(5);

/// What makes shards move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Comes,
    Goes,
    Dies,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Comes => "a resolver comes",
            Kind::Goes => "a resolver goes",
            Kind::Dies => "a resolver is killed",
        }
    }

    /// How long a moved shard's payments may wait.
    fn stall_max_s(self) -> f64 {
        if self == Kind::Dies { 12.0 } else { 3.0 }
    }
}

/// One move.
pub(super) struct Move {
    pub(super) kind: Kind,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// What a move did.
#[derive(Serialize, Clone, Debug)]
struct Cost {
    what: &'static str,
    /// Since the load began.
    at_s: f64,
    moved_shards: Vec<u32>,
    /// The longest wait of a moved shard's payment; 0 when none moved.
    stall_s: f64,
    /// Over which the others were looked at.
    window_s: f64,
    others: usize,
    others_p50_ms: f64,
    others_p99_ms: f64,
}

/// All moves of one sort, planned or not.
#[derive(Serialize, Clone, Debug)]
struct Sum {
    moves: usize,
    stall_max_s: f64,
    stall_aim_s: f64,
    others_p99_ms: f64,
    /// Others' p99 over that of the quiet time; to be below 2.
    others_p99_ratio: f64,
}

/// What one run of scenario `moves` found.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Moves {
    scenario: &'static str,
    rate: f64,
    quiet_p50_ms: f64,
    quiet_p99_ms: f64,
    quiet_max_ms: f64,
    quiet_payments: u64,
    planned: Sum,
    killed: Sum,
    moves: Vec<Cost>,
    acknowledged: usize,
    lost: u64,
    resolvers: usize,
    shards: u32,
    cores: usize,
    cpu: String,
    commit: String,
    command: String,
}

fn latencies<'a>(samples: impl Iterator<Item = &'a Sample>) -> anyhow::Result<Histogram<u64>> {
    let mut all = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
    for sample in samples {
        all.record(u64::try_from(sample.latency().as_micros())?.max(1))?;
    }
    Ok(all)
}

pub(super) fn judge(
    args: &MovesArgs,
    began: Instant,
    samples: &[Sample],
    moves: &[Move],
    seen: &[(Instant, Owners)],
    lost: u64,
) -> anyhow::Result<Moves> {
    let first = moves.first().map_or(began, |first| first.began);
    let last = moves.last().map_or(began, |last| last.ended);
    // A second at the load's beginning is for connections.
    let is_quiet = |sample: &&Sample| {
        (sample.due > began + Duration::from_secs(1) && sample.accepted < first) || sample.due > last
    };
    let quiet = latencies(samples.iter().filter(is_quiet))?;
    ensure!(quiet.len() >= 100, "{} payments in the quiet time are too few to compare with", quiet.len());
    let mut costs = Vec::new();
    let mut others_of = [latencies([].into_iter())?, latencies([].into_iter())?];
    for Move { kind, began: at, ended } in moves {
        let shards = moved(seen, *at, *ended);
        let within = |sample: &&Sample, to: Instant| sample.accepted >= *at && sample.due < to;
        // What falls due just before the next move may wait for that one.
        let half = *at + ended.duration_since(*at) / 2;
        let of_moved = samples.iter().filter(|sample| within(sample, half) && shards.contains(&sample.shard));
        let slowest = of_moved.max_by_key(|sample| sample.latency());
        let window_end = slowest.map_or(*at + LOOK, |sample| sample.accepted.max(*at + LOOK));
        let others =
            samples.iter().filter(|sample| within(sample, window_end) && !shards.contains(&sample.shard));
        let others = latencies(others)?;
        others_of[usize::from(*kind == Kind::Dies)].add(&others)?;
        costs.push((
            *kind,
            Cost {
                what: kind.name(),
                at_s: seconds(at.duration_since(began)),
                moved_shards: shards.into_iter().collect(),
                stall_s: slowest.map_or(0.0, |sample| seconds(sample.latency())),
                window_s: seconds(window_end.duration_since(*at)),
                others: usize::try_from(others.len())?,
                others_p50_ms: millis(others.value_at_quantile(0.5)),
                others_p99_ms: millis(others.value_at_quantile(0.99)),
            },
        ));
    }
    let quiet_p99_ms = millis(quiet.value_at_quantile(0.99));
    let sum = |is_dead: bool| {
        let of_sort = costs.iter().filter(|(kind, _)| (*kind == Kind::Dies) == is_dead);
        let others_p99_ms = millis(others_of[usize::from(is_dead)].value_at_quantile(0.99));
        Sum {
            moves: of_sort.clone().count(),
            stall_max_s: of_sort.map(|(_, cost)| cost.stall_s).fold(0.0, f64::max),
            stall_aim_s: if is_dead { Kind::Dies } else { Kind::Comes }.stall_max_s(),
            others_p99_ms,
            others_p99_ratio: others_p99_ms / quiet_p99_ms,
        }
    };
    let (planned, killed) = (sum(false), sum(true));
    ensure!(
        costs.iter().all(|(kind, cost)| *kind != Kind::Dies || !cost.moved_shards.is_empty()),
        "a resolver was killed and no shard was seen to move; nothing was measured"
    );
    let (cpu, commit) = machine();
    Ok(Moves {
        scenario: "moves",
        rate: args.rate,
        quiet_p50_ms: millis(quiet.value_at_quantile(0.5)),
        quiet_p99_ms,
        quiet_max_ms: millis(quiet.max()),
        quiet_payments: quiet.len(),
        planned,
        killed,
        moves: costs.into_iter().map(|(_, cost)| cost).collect(),
        acknowledged: samples.len(),
        lost,
        resolvers: args.resolvers,
        shards: args.shards,
        cores: cores(),
        cpu,
        commit,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    })
}

impl Moves {
    pub(super) fn print(&self) {
        println!(
            "\n  {:<22} {:>7} {:<14} {:>8} {:>9} {:>8} {:>12} {:>12}",
            "move", "at", "shards", "stall", "window", "others", "others' p50", "others' p99"
        );
        for cost in &self.moves {
            let shards: Vec<String> = cost.moved_shards.iter().map(u32::to_string).collect();
            println!(
                "  {:<22} {:>5.0} s {:<14} {:>6.2} s {:>7.1} s {:>8} {:>9.1} ms {:>9.1} ms",
                cost.what,
                cost.at_s,
                shards.join(" "),
                cost.stall_s,
                cost.window_s,
                cost.others,
                cost.others_p50_ms,
                cost.others_p99_ms
            );
        }
        let words = |sum: &Sum| {
            format!(
                "{} moves; longest stall {:.2} s (to be below {:.0} s); others' p99 {:.1} ms, {:.2} x the quiet one (below 2)",
                sum.moves, sum.stall_max_s, sum.stall_aim_s, sum.others_p99_ms, sum.others_p99_ratio
            )
        };
        table(&[
            ("load", format!("{:.0}/s over {} shards, {} resolvers", self.rate, self.shards, self.resolvers)),
            (
                "quiet",
                format!(
                    "p50 {:.1} ms, p99 {:.1} ms, max {:.0} ms of {} payments",
                    self.quiet_p50_ms, self.quiet_p99_ms, self.quiet_max_ms, self.quiet_payments
                ),
            ),
            ("planned", words(&self.planned)),
            ("killed", words(&self.killed)),
            ("acknowledged / lost", format!("{} / {}", self.acknowledged, self.lost)),
        ]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MovesArgs,
    }

    #[test]
    fn what_waits_for_the_next_move_is_no_stall_of_this_one() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let sample = |shard: u32, due: u64, accepted: u64| Sample {
            shard,
            payment: 0,
            due: at(due),
            accepted: at(accepted),
        };
        // Shard 0 moves at 10 s and waits for a second; at 30 s its new owner is killed.
        let mut samples: Vec<Sample> =
            (1_100..9_000).step_by(50).map(|due| sample(1, due, due + 100)).collect();
        samples.push(sample(0, 10_100, 11_100));
        samples.push(sample(0, 29_900, 39_900));
        samples.push(sample(1, 12_000, 12_100));
        let moves = [(Kind::Goes, 10_000, 30_000), (Kind::Dies, 30_000, 60_000)]
            .map(|(kind, from, to)| Move { kind, began: at(from), ended: at(to) });
        let owned = |ms: u64, by: &str| (at(ms), vec![Some(by.to_owned()), Some("b".to_owned())]);
        let seen = [owned(9_000, "a"), owned(11_000, "b"), owned(31_000, "b"), owned(40_000, "c")];
        let args = Line::parse_from(["moves", "--kafka", "x", "--cql", "y"]).args;
        let judged = judge(&args, began, &samples, &moves, &seen, 0).unwrap();
        let stalls: Vec<f64> = judged.moves.iter().map(|cost| cost.stall_s).collect();
        assert_eq!(stalls, [1.0, 10.0]);
        assert_eq!((judged.planned.stall_max_s, judged.killed.stall_max_s), (1.0, 10.0));
    }
}
