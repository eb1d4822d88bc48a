//! CPU of our processes per payment with different numbers of resolvers, on the same engines, topics and tables.

use std::sync::Arc;

use anyhow::ensure;
use serde::Serialize;

use super::{Cluster, ClusterArgs, STREAMS, Shape, cpu_s, settle};
use crate::lookup::lost;
use crate::node::Running;
use crate::scenario::{bar, fill, real, run_id, sign, whole};
use crate::workload::{Payment, Workload};
use crate::{closed, cores, open, report};

/// How often each number of resolvers has its turn, in alternation.
const TURNS: usize = 2;

/// One turn.
#[derive(Serialize, Clone, Debug)]
struct Turn {
    resolvers: usize,
    accepted_per_s: f64,
    cpu_us_per_payment: f64,
    /// By process: ingress, prover, resolvers.
    cpu_us_by_process: Vec<f64>,
}

/// All turns, and what they say.
#[derive(Serialize, Clone, Debug)]
struct Comparison {
    scenario: &'static str,
    /// Payments per second that were offered; absent in a closed loop.
    rate: Option<f64>,
    turns: Vec<Turn>,
    /// For each number of resolvers: mean of its turns, microseconds.
    cpu_us_per_payment: Vec<(usize, f64)>,
    /// The last number's mean over the first's.
    ratio: f64,
    acknowledged: usize,
    lost: u64,
    shards: u32,
    seconds_each: f64,
    cores: usize,
    cpu: String,
    commit: String,
    command: String,
}

struct Bench {
    args: ClusterArgs,
    cluster: Cluster,
    /// Ingress, prover.
    others: [Running; 2],
    payments: Arc<Vec<Payment>>,
    /// Of the payments, those that were handed in.
    used: usize,
    acknowledged: Vec<usize>,
    seconds: f64,
}

pub(super) async fn run(args: ClusterArgs, numbers: Vec<usize>) -> anyhow::Result<()> {
    ensure!(numbers.len() >= 2, "--compare-resolvers takes two numbers at least, for example 1,4");
    ensure!(
        numbers.iter().all(|number| (1..=64).contains(number)),
        "--compare-resolvers takes numbers from 1 to 64"
    );
    let turns = TURNS * numbers.len();
    let seconds = args.seconds / real(u64::try_from(turns)?);
    let dir = tempfile::tempdir()?;
    let id = run_id()?;
    let name = format!("compare{}", hex::encode(&id[8..16]));
    let workload = Arc::new(Workload::new(id)?);
    let most = whole(args.rate.unwrap_or(args.most) * args.seconds) + u64::try_from(turns)? * 1_024;
    let (issuances, payments) = sign(&workload, most).await?;
    let shape = Shape { shards: args.shards, partition_bits: args.partition_bits };
    let cluster = Cluster::make(dir.path(), &name, &args.engines, &shape, &workload.issuer()).await?;
    let others = [cluster.start("gossip-ingress,query")?, cluster.start("merkle-prover")?];
    let mut bench = Bench { args, cluster, others, payments, used: 0, acknowledged: Vec::new(), seconds };
    let filler = bench.cluster.start("conflict-resolver")?;
    fill(&bench.others[0].url, &workload, bench.args.outputs, issuances).await?;
    settle(&bench.cluster).await?;
    filler.stop()?;

    let mut done = Vec::new();
    for _ in 0..TURNS {
        for resolvers in &numbers {
            done.push(bench.turn(*resolvers).await?);
        }
    }
    bench.finish(done, &numbers).await
}

impl Bench {
    async fn turn(&mut self, count: usize) -> anyhow::Result<Turn> {
        let resolvers: Vec<Running> =
            (0..count).map(|_| self.cluster.start("conflict-resolver")).collect::<anyhow::Result<_>>()?;
        // Every shard has its owner when this returns.
        settle(&self.cluster).await?;
        let measured: Vec<(&str, u32)> =
            self.others.iter().chain(&resolvers).map(|process| ("", process.pid())).collect();
        let before = cpu_s(&measured)?;
        let url = self.others[0].url.clone();
        let left = Arc::new(self.payments[self.used..].iter().map(Payment::clone).collect::<Vec<_>>());
        let (used, accepted, seconds, acknowledged) = match self.args.rate {
            Some(rate) => {
                let shown = bar("open loop", whole(rate * self.seconds));
                let run = open::run(&url, left, 0, rate, self.seconds, STREAMS, &shown).await?;
                shown.finish_and_clear();
                (run.used, run.counts.accepted, run.seconds, run.acknowledged)
            }
            None => {
                let shown = bar("closed loop", whole(self.args.most * self.seconds));
                let limit = left.len();
                let run = closed::run(&url, left, limit, self.seconds, &shown).await?;
                shown.finish_and_clear();
                ensure!(run.used < limit, "the closed loop ran out of payments; repeat with a higher --most");
                (run.used, run.counts.accepted, run.seconds, run.acknowledged)
            }
        };
        // What a payment costs after its answer belongs to it: rows, trees.
        settle(&self.cluster).await?;
        let spent: Vec<f64> =
            cpu_s(&measured)?.iter().zip(&before).map(|(after, before)| after - before).collect();
        ensure!(accepted > 0, "nothing was accepted with {count} resolvers");
        let each: Vec<f64> = spent.iter().map(|spent| spent * 1e6 / real(accepted)).collect();
        self.acknowledged.extend(acknowledged.iter().map(|index| self.used + index));
        self.used += used;
        for process in resolvers {
            process.stop()?;
        }
        let turn = Turn {
            resolvers: count,
            accepted_per_s: real(accepted) / seconds,
            cpu_us_per_payment: each.iter().sum(),
            cpu_us_by_process: each,
        };
        println!(
            "{count} resolvers: {:.0} accepted/s, {:.0} us of CPU per payment",
            turn.accepted_per_s, turn.cpu_us_per_payment
        );
        Ok(turn)
    }

    async fn finish(self, turns: Vec<Turn>, numbers: &[usize]) -> anyhow::Result<()> {
        let resolver = self.cluster.start("conflict-resolver")?;
        settle(&self.cluster).await?;
        let lost = lost(&self.others[0].url, &self.payments, &self.acknowledged).await?;
        resolver.stop()?;
        let [edge, prover] = self.others;
        prover.stop()?;
        edge.stop()?;
        let mean = |number: usize| {
            let of_it = turns.iter().filter(|turn| turn.resolvers == number);
            let (sum, count) =
                of_it.fold((0.0, 0.0), |(sum, count), turn| (sum + turn.cpu_us_per_payment, count + 1.0));
            sum / count
        };
        let means: Vec<(usize, f64)> = numbers.iter().map(|number| (*number, mean(*number))).collect();
        let ratio = match (means.first(), means.last()) {
            (Some((_, first)), Some((_, last))) => last / first,
            _ => 0.0,
        };
        let (cpu, commit) = report::machine();
        self.args.json.as_ref().map_or(Ok(()), |path| {
            let result = Comparison {
                scenario: "cluster --compare-resolvers",
                rate: self.args.rate,
                turns: turns.clone(),
                cpu_us_per_payment: means.clone(),
                ratio,
                acknowledged: self.acknowledged.len(),
                lost,
                shards: self.args.shards,
                seconds_each: self.seconds,
                cores: cores(),
                cpu,
                commit,
                command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            };
            report::write(path, &result)
        })?;
        for (number, us) in &means {
            println!("mean with {number} resolvers: {us:.0} us of our CPU per payment");
        }
        println!(
            "ratio {ratio:.3}, to be at most 1.15; {} acknowledged, {lost} lost",
            self.acknowledged.len()
        );
        ensure!(lost == 0, "{lost} acknowledged payments are lost");
        Ok(())
    }
}
