//! Payments through a cluster, beside what its engines take by themselves.

mod bound;
mod compare;
mod processes;
mod report;
mod writes;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use eschaton_node::cluster_state;
use indicatif::ProgressBar;

pub(crate) use processes::{Cluster, Engines, ServiceArgs, Shape, serve};

use crate::lookup::lost;
use crate::node::Running;
use crate::open::count;
use crate::scenario::{bar, fill, real, run_id, sign, whole};
use crate::workload::Workload;
use crate::{closed, cores, open, plot, process};

/// Of the open loop. Decisions take some 100 ms here.
const STREAMS: usize = 128;

#[derive(Args)]
#[command(
    after_help = "Example:\n  deploy/engines/kafka/run.sh start && deploy/engines/cassandra/run.sh start\n  eschaton-loadtest cluster --kafka 127.0.0.1:29092 --cql 127.0.0.1:19042 --seconds 20 --json result.json\n\nTopics and keyspaces of a run have names of their own and stay; wipe the engines afterwards."
)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    engines: Engines,
    /// How long to measure: half of it closed loop, half open loop; the engines' bound takes as long as the former
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Processes that resolve conflicts
    #[arg(long, default_value_t = 2)]
    resolvers: usize,
    /// Live outputs to create beforehand
    #[arg(long, default_value_t = 10_000)]
    outputs: u64,
    /// How finely tables are cut, 2 to 18
    #[arg(long, default_value_t = 4)]
    partition_bits: u8,
    /// Shards of the ledger
    #[arg(long, default_value_t = 4)]
    shards: u32,
    /// Payments per second of the open loop, instead of half of what the closed loop reached
    #[arg(long)]
    rate: Option<f64>,
    /// The closed loop has payments for so many per second; raise it when it says that they ran out
    #[arg(long, default_value_t = 6_000.0)]
    most: f64,
    /// Measure only our CPU per payment, with these numbers of resolvers in turn, twice each; --seconds are for all turns,
    /// and with --rate so many payments are offered instead of as many as are taken
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["resolvers", "plot"])]
    compare_resolvers: Vec<usize>,
    /// Process ids of the engines, when they are not found by their ports
    #[arg(long)]
    engine_pid: Vec<u32>,
    /// Write the results here
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw the latency at half load here (SVG)
    #[arg(long)]
    plot: Option<PathBuf>,
}

pub(crate) async fn run(args: ClusterArgs) -> anyhow::Result<()> {
    ensure!(args.seconds >= 1.0 && args.seconds <= 3_600.0, "--seconds must be 1 to 3600");
    ensure!((1..=64).contains(&args.resolvers), "--resolvers must be 1 to 64");
    ensure!(args.most >= 1.0 && args.most <= 1e6, "--most must be 1 to 1000000");
    if !args.compare_resolvers.is_empty() {
        let numbers = args.compare_resolvers.clone();
        return compare::run(args, numbers).await;
    }
    let engine_pids = engine_pids(&args)?;
    let dir = tempfile::tempdir()?;
    let id = run_id()?;
    let name = format!("load{}", hex::encode(&id[8..16]));
    let workload = std::sync::Arc::new(Workload::new(id)?);
    let half = args.seconds / 2.0;
    let limit = whole(args.most * half);
    let calm_most = whole(args.rate.unwrap_or(args.most / 2.0) * half) + 1;
    let (issuances, payments) = sign(&workload, limit + calm_most).await?;
    let limit = usize::try_from(limit)?;

    let shape = Shape { shards: args.shards, partition_bits: args.partition_bits };
    let cluster = Cluster::make(dir.path(), &name, &args.engines, &shape, &workload.issuer()).await?;
    let scratch_name = format!("{name}bound");
    let scratch = Cluster::make(dir.path(), &scratch_name, &args.engines, &shape, &workload.issuer()).await?;
    let edge = cluster.start("gossip-ingress,query")?;
    let mut others = vec![("merkle-prover", cluster.start("merkle-prover")?)];
    for _ in 0..args.resolvers {
        others.push(("conflict-resolver", cluster.start("conflict-resolver")?));
    }
    let url = edge.url.clone();
    let ours: Vec<(&str, &Running)> = std::iter::once(("gossip-ingress,query", &edge))
        .chain(others.iter().map(|(what, process)| (*what, process)))
        .collect();
    fill(&url, &workload, args.outputs, issuances).await?;
    settle(&cluster).await?;

    let (log, store) = eschaton_node::open_engines(&cluster.config, "loadtest").await?;
    drop(store);
    let window = Window::open(log.clone(), args.shards, half);
    let shown = bar("closed loop", u64::try_from(limit)?);
    let measured: Vec<(&str, u32)> =
        ours.iter().map(|(what, process)| (*what, process.pid())).chain(engine_pids).collect();
    let writers: Vec<&Running> = others.iter().map(|(_, process)| process).collect();
    let before_writes = writes::Writes::of(&writers[1..]).await?;
    let before = cpu_s(&measured)?;
    let fast = closed::run(&url, payments.clone(), limit, half, &shown).await?;
    settle(&cluster).await?;
    let spent: Vec<f64> =
        cpu_s(&measured)?.iter().zip(&before).map(|(after, before)| after - before).collect();
    let after_writes = writes::Writes::of(&writers[1..]).await?;
    let (cpu, engines_cpu) = spent.split_at(ours.len());
    let (cpu, engines_cpu): (f64, f64) = (cpu.iter().sum(), engines_cpu.iter().sum());
    shown.finish_and_clear();
    let from = window.begin().await?;
    let to = bound::ends(log.as_ref(), args.shards).await?;
    let accepted = real(fast.counts.accepted);
    let accepted_per_s = accepted / fast.seconds;
    if fast.used == limit {
        eprintln!("the closed loop ran out of payments; repeat with a higher --most");
    }

    let rate = args.rate.unwrap_or(accepted_per_s / 2.0);
    let shown = bar("open loop at half load", whole(rate * half));
    let calm = open::run(&url, payments.clone(), fast.used, rate, half, STREAMS, &shown).await?;
    shown.finish_and_clear();
    let mut unexpected = fast.counts.clone();
    unexpected.add(&calm.counts);
    if let Some(other) = unexpected.first_other {
        eprintln!("{} answers were not expected, the first: {other}", unexpected.other);
    }

    let acknowledged: Vec<usize> = fast.acknowledged.iter().chain(&calm.acknowledged).copied().collect();
    let began = Instant::now();
    let lost = lost(&url, &payments, &acknowledged).await?;
    let lookups_per_s = real(u64::try_from(acknowledged.len())?) / began.elapsed().as_secs_f64();
    let rss_mib = ours
        .iter()
        .map(|(service, process)| {
            let (rss_mib, rss_max_mib) = process.memory_mib()?;
            Ok(report::Memory { service: (*service).to_owned(), rss_mib, rss_max_mib })
        })
        .collect::<anyhow::Result<_>>()?;
    for (_, process) in others {
        process.stop()?;
    }
    edge.stop()?;

    let material = bound::Material::read(&cluster.config, log, &dir.path().join("trees"), &from, &to).await?;
    let shown = engines_bar();
    let sizes = material.sizes(after_writes.rows_per_write_since(&before_writes));
    let engines = bound::measure(&scratch.config, "bound", &material, sizes, half, &shown).await?;
    let large =
        bound::measure(&scratch.config, "large", &material, material.large(), half / 2.0, &shown).await?;
    shown.finish_and_clear();

    let (cpu_name, commit) = crate::report::machine();
    let millis = |quantile| plot::millis(calm.latency.value_at_quantile(quantile));
    let result = report::Cluster {
        scenario: "cluster",
        accepted_per_s,
        bound_per_s: engines.both,
        ratio: accepted_per_s / engines.both,
        bound_large_batches_per_s: large.both,
        records_of_transaction: sizes.records_of_transaction,
        rows_of_write: sizes.rows_of_write,
        bound_kafka_alone_per_s: engines.kafka,
        bound_cql_alone_per_s: engines.cql,
        records_per_payment: engines.records_per_payment,
        record_bytes_per_payment: engines.record_bytes_per_payment,
        rows_per_payment: engines.rows_per_payment,
        tree_rows_per_payment: engines.tree_rows_per_payment,
        half_load_per_s: count(calm.used) / half,
        p50_ms: millis(0.5),
        p90_ms: millis(0.9),
        p99_ms: millis(0.99),
        p999_ms: millis(0.999),
        max_ms: plot::millis(calm.latency.max()),
        acknowledged: u64::try_from(acknowledged.len())?,
        lost,
        lookups_per_s,
        cpu_us_per_payment: cpu * 1e6 / accepted.max(1.0),
        engines_cpu_us_per_payment: engines_cpu * 1e6 / accepted.max(1.0),
        cpu_us_by_process: measured
            .iter()
            .zip(&spent)
            .map(|((what, _), spent)| report::Cpu {
                process: (*what).to_owned(),
                us: spent * 1e6 / accepted.max(1.0),
            })
            .collect(),
        rss_mib,
        resolvers: args.resolvers,
        shards: args.shards,
        partition_bits: args.partition_bits,
        outputs_before: args.outputs,
        seconds: args.seconds,
        cores: cores(),
        cpu: cpu_name,
        commit,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    };
    result.print();
    if let Some(path) = &args.json {
        crate::report::write(path, &result)?;
    }
    if let Some(path) = &args.plot {
        let title =
            format!("Payments through a cluster at {:.0}/s, half of the most", result.half_load_per_s);
        plot::latency(path, &title, &calm.latency)?;
    }
    ensure!(result.lost == 0, "{} acknowledged payments are lost", result.lost);
    Ok(())
}

/// The last part of the closed loop, from which the bound takes its records and rows: all of a long one would not fit
/// in memory.
struct Window(tokio::task::JoinHandle<anyhow::Result<bound::Ends>>);

impl Window {
    const LONGEST_S: f64 = 20.0;

    fn open(log: std::sync::Arc<dyn eschaton_ports::Log>, shards: u32, loop_s: f64) -> Self {
        let before = Duration::from_secs_f64((loop_s - Self::LONGEST_S).max(0.0));
        Self(tokio::spawn(async move {
            tokio::time::sleep(before).await;
            bound::ends(log.as_ref(), shards).await
        }))
    }

    async fn begin(self) -> anyhow::Result<bound::Ends> {
        self.0.await?
    }
}

fn engines_bar() -> ProgressBar {
    let shown = bar("the engines by themselves", 0);
    shown.unset_length();
    shown
}

fn cpu_s(pids: &[(&str, u32)]) -> anyhow::Result<Vec<f64>> {
    pids.iter().map(|(_, pid)| process::cpu_s(*pid)).collect()
}

/// The engines' processes, where they are on this machine.
fn engine_pids(args: &ClusterArgs) -> anyhow::Result<Vec<(&'static str, u32)>> {
    if !args.engine_pid.is_empty() {
        return Ok(args.engine_pid.iter().map(|pid| ("engine", *pid)).collect());
    }
    let mut pids = Vec::new();
    for (option, address) in [("--kafka", &args.engines.kafka), ("--cql", &args.engines.cql)] {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.with_context(|| format!("{option} is {address}; it must be host:port"))?;
        match process::listening_on(port) {
            Some(pid) => pids.push((&option[2..], pid)),
            None => {
                eprintln!("no process here listens on {address}; its CPU is not counted, see --engine-pid")
            }
        }
    }
    Ok(pids)
}

/// Waits until every record is consumed and the trees stand still.
pub(crate) async fn settle(cluster: &Cluster) -> anyhow::Result<()> {
    const LOOKS: u32 = 300;
    let mut last = None;
    for _ in 0..LOOKS {
        let state = cluster_state(&cluster.config).await?;
        let done = state
            .shards
            .iter()
            .all(|shard| shard.end.is_some() && shard.consumed == shard.end && shard.owner.is_some());
        let now = done.then_some(state.checkpoint);
        if now.is_some() && now == last {
            return Ok(());
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(1_000)).await;
    }
    anyhow::bail!("the cluster did not become idle in {LOOKS} s; see the messages beside its configuration")
}
