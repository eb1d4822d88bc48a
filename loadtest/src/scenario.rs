use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::live::submit_all;
use crate::lookup::lost;
use crate::node::Running;
use crate::open::count;
use crate::workload::{Payment, Workload};
use crate::{bound, closed, cores, open, plot, report};

#[derive(Args)]
#[command(
    after_help = "Example:\n  eschaton-loadtest payments --embedded --data-dir ./load --seconds 20 --json result.json\n\nESCHATON_LOADTEST_METRICS=127.0.0.1:7374 serves the node's metrics there"
)]
pub(crate) struct PaymentsArgs {
    /// Start a node on the embedded engines, in a process of its own
    #[arg(long, required = true)]
    embedded: bool,
    /// Directory of the node's data; made if need be
    #[arg(long)]
    data_dir: PathBuf,
    /// How long to measure: half of it closed loop, half open loop; the overload phase adds a quarter
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Live outputs to create beforehand
    #[arg(long, default_value_t = 100_000)]
    outputs: u64,
    /// Leave out the overload phase
    #[arg(long)]
    no_overload: bool,
    /// Payments per second of the open loop, instead of half of what the closed loop reached
    #[arg(long)]
    rate: Option<f64>,
    /// Write the results here
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw the latency at half load here (SVG)
    #[arg(long)]
    plot: Option<PathBuf>,
}

pub(crate) async fn payments(args: PaymentsArgs) -> anyhow::Result<()> {
    ensure!(args.seconds >= 1.0 && args.seconds <= 3_600.0, "--seconds must be 1 to 3600");
    std::fs::create_dir_all(&args.data_dir)?;
    let workload = Arc::new(Workload::new(run_id()?)?);
    let (half, quarter) = (args.seconds / 2.0, if args.no_overload { 0.0 } else { args.seconds / 4.0 });
    let before = measure_bound().await?;

    // No node accepts more than it can verify; the closed loop is unlikely to reach 0.7 of that.
    let most = whole(before * 0.7 * half) + whole(before * 0.35 * half) + whole(before * 2.1 * quarter);
    let (issuances, payments) = sign(&workload, most).await?;

    let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
    fill(&node.url, &workload, args.outputs, issuances).await?;
    settle(&node).await?;

    let limit = usize::try_from(whole(before * 0.7 * half))?;
    let shown = bar("closed loop", u64::try_from(limit)?);
    let cpu = node.cpu_s()?;
    let fast = closed::run(&node.url, payments.clone(), limit, half, &shown).await?;
    settle(&node).await?;
    let cpu = node.cpu_s()? - cpu;
    shown.finish_and_clear();
    let (rss_mib, _) = node.memory_mib()?;
    let accepted = real(fast.counts.accepted);
    let accepted_per_s = accepted / fast.seconds;

    let rate = args.rate.unwrap_or(accepted_per_s / 2.0);
    let shown = bar("open loop at half load", whole(rate * half));
    let calm = open::run(&node.url, payments.clone(), fast.used, rate, half, open::STREAMS, &shown).await?;
    shown.finish_and_clear();

    let mut acknowledged: Vec<usize> = fast.acknowledged.iter().chain(&calm.acknowledged).copied().collect();
    let mut result = report::Payments {
        scenario: "payments",
        accepted_per_s,
        half_load_per_s: count(calm.used) / half,
        p50_ms: plot::millis(calm.latency.value_at_quantile(0.5)),
        p90_ms: plot::millis(calm.latency.value_at_quantile(0.9)),
        p99_ms: plot::millis(calm.latency.value_at_quantile(0.99)),
        p999_ms: plot::millis(calm.latency.value_at_quantile(0.999)),
        max_ms: plot::millis(calm.latency.max()),
        cpu_us_per_payment: cpu * 1e6 / accepted.max(1.0),
        rss_mib,
        outputs_before: args.outputs,
        seconds: args.seconds,
        cores: cores(),
        ..report::Payments::default()
    };
    (result.cpu, result.commit) = report::machine();
    result.command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let mut unexpected = fast.counts.clone();
    unexpected.add(&calm.counts);
    if quarter > 0.0 {
        let rate = accepted_per_s * 3.0;
        let shown = bar("open loop at three times the most", whole(rate * quarter));
        let first = fast.used + calm.used;
        let flood =
            open::run(&node.url, payments.clone(), first, rate, quarter, open::STREAMS, &shown).await?;
        shown.finish_and_clear();
        result.overload_offered_per_s = count(flood.used) / quarter;
        result.overload_accepted_per_s = real(flood.counts.accepted) / flood.seconds;
        result.overload_goodput_ratio = result.overload_accepted_per_s / accepted_per_s;
        result.overload_refused = flood.counts.refused_busy;
        result.overload_rss_mib = node.memory_mib()?.0;
        acknowledged.extend(&flood.acknowledged);
        unexpected.add(&flood.counts);
    }
    if let Some(other) = unexpected.first_other {
        eprintln!("{} answers were not expected, the first: {other}", unexpected.other);
    }
    result.rss_max_mib = node.memory_mib()?.1;
    result.acknowledged = u64::try_from(acknowledged.len())?;
    node.stop()?;
    let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
    result.restart_s = node.started_in.as_secs_f64();
    result.lost = lost(&node.url, &payments, &acknowledged).await?;
    node.stop()?;
    let after = measure_bound().await?;
    result.bound_per_s = f64::midpoint(before, after);
    result.ratio = result.accepted_per_s / result.bound_per_s;
    result.print();
    if let Some(path) = &args.json {
        report::write(path, &result)?;
    }
    if let Some(path) = &args.plot {
        let title = format!("Payments at {:.0}/s, half of the most", result.half_load_per_s);
        plot::latency(path, &title, &calm.latency)?;
    }
    ensure!(result.lost == 0, "{} acknowledged payments are lost", result.lost);
    Ok(())
}

async fn measure_bound() -> anyhow::Result<f64> {
    tokio::task::spawn_blocking(|| bound::verifications_per_s(2.0)).await?
}

/// Issuances, and the payments that spend what they create.
pub(crate) async fn sign(
    workload: &Arc<Workload>,
    payments: u64,
) -> anyhow::Result<(Vec<Bytes>, Arc<Vec<Payment>>)> {
    let bar = bar("signing payments", payments);
    let (workload, signing) = (workload.clone(), bar.clone());
    let made = tokio::task::spawn_blocking(move || workload.payments(payments, &signing));
    let (issuances, payments) = made.await??;
    bar.finish_and_clear();
    Ok((issuances, Arc::new(payments)))
}

/// Creates idle outputs, and those of the payments.
pub(crate) async fn fill(
    url: &str,
    workload: &Workload,
    outputs: u64,
    issuances: Vec<Bytes>,
) -> anyhow::Result<()> {
    let filling = bar("creating live outputs (transactions of 256)", outputs.div_ceil(256));
    // In portions, so that the client's memory stays small.
    let mut first = 0;
    while first < outputs {
        let until = (first + 256 * 1_024).min(outputs);
        let mut portion = Vec::new();
        while first < until {
            let size = 256.min(until - first);
            portion.push(workload.idle_issuance(first, size)?);
            first += size;
        }
        submit_all(url, portion, 8, &filling).await?;
    }
    filling.finish_and_clear();
    let filling = bar("creating the payments' outputs", u64::try_from(issuances.len())?);
    submit_all(url, issuances, 8, &filling).await?;
    filling.finish_and_clear();
    Ok(())
}

/// Waits until the node has nothing left to do: the prover has caught up and the CPU is idle.
async fn settle(node: &Running) -> anyhow::Result<()> {
    for _ in 0..600 {
        let before = node.cpu_s()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if node.cpu_s()? - before < 0.03 {
            return Ok(());
        }
    }
    anyhow::bail!("the node did not become idle in five minutes")
}

pub(crate) fn run_id() -> anyhow::Result<[u8; 32]> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let mut run = [0; 32];
    run[..16].copy_from_slice(&now.to_be_bytes());
    Ok(run)
}

pub(crate) fn bar(what: &'static str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) =
        ProgressStyle::with_template("{msg:<44} {bar:30} {human_pos}/{human_len} {per_sec:>14} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and far below 2^52
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
pub(crate) fn real(value: u64) -> f64 {
    value as f64
}
