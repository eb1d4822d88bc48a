//! `eschaton run`: the supernode itself.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use eschaton_kit::{Telemetry, TelemetryConfig};
use eschaton_node::{Node, NodeConfig};
use eschaton_types::{Address, Network};
use tokio::signal::unix::{SignalKind, signal};

/// Options of `eschaton run`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  eschaton run --data-dir ./data\n\nSIGTERM or Ctrl-C drains and exits 0; after kill -9, start it again: nothing acknowledged is lost."
)]
pub(crate) struct RunArgs {
    /// Everything that the node keeps is under this directory; it is made if need be
    #[arg(long, env = "ESCHATON_DATA_DIR")]
    data_dir: PathBuf,
    /// Address of the gRPC services; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7373", env = "ESCHATON_GRPC")]
    grpc: SocketAddr,
    /// Address of the Prometheus endpoint; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7374", env = "ESCHATON_METRICS")]
    metrics: SocketAddr,
    /// The ledger to serve: main, test or dev; fixed at first start. On dev the node issues coins on request
    #[arg(long, default_value = "dev", env = "ESCHATON_NETWORK")]
    network: Network,
    /// Shards of the ledger; fixed at first start
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    shards: u32,
    /// Conflict window in milliseconds; 0 accepts the first of two contenders at once
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    window_ms: u64,
    /// Address that may issue the native coin; needed on main and test
    #[arg(long)]
    native_issuer: Option<String>,
    /// Origin line of the node's checkpoints, usually a host name and a path; fixed at first start
    #[arg(long, default_value = "eschaton.local/dev")]
    origin: String,
    /// Most transactions taken and not decided; above it clients are told when to come again
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    undecided_max: u32,
    /// Shortest time between two checkpoints in milliseconds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    checkpoint_ms: u64,
    /// Collector of traces (OTLP over gRPC), for example http://127.0.0.1:4317; off unless given
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp: Option<String>,
    /// Trace every n-th submission; 0 traces only those whose caller asks for it (traceparent)
    #[arg(long, default_value_t = 0)]
    trace_one_in: u64,
    /// Log filter, for example info,gossip_ingress=debug
    #[arg(long, default_value = "warn", env = "RUST_LOG")]
    log: String,
    /// One JSON line on standard output when it serves, and log lines as JSON
    #[arg(long)]
    json: bool,
}

/// Runs until it is told to stop. An error means a non-zero exit.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: RunArgs) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&TelemetryConfig {
        metrics: args.metrics,
        otlp: args.otlp.clone(),
        log: args.log.clone(),
        log_json: args.json,
    })?;
    let json = args.json;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let config = config(args)?;
    let (network, dir) = (config.network, config.data_dir.clone());
    let node = Node::start(config).await?;
    announce(json, &node, telemetry.metrics, network, &dir)?;
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failed = node.failed() => Some(failed),
    };
    node.stop().await?;
    telemetry.shutdown();
    match failed {
        Some(failed) => bail!("the node stopped: {failed}"),
        None => Ok(()),
    }
}

fn config(args: RunArgs) -> anyhow::Result<NodeConfig> {
    let native_issuer = args
        .native_issuer
        .map(|text| Address::from_text(&text, args.network))
        .transpose()
        .context("--native-issuer is no address")?;
    if native_issuer.is_none() && args.network != Network::Dev {
        bail!("network {} needs --native-issuer, the address that may issue its coin", args.network);
    }
    Ok(NodeConfig {
        data_dir: args.data_dir,
        grpc: args.grpc,
        network: args.network,
        shards: args.shards,
        window_ms: args.window_ms,
        native_issuer,
        origin: args.origin,
        undecided_max: usize::try_from(args.undecided_max).unwrap_or(usize::MAX),
        trace_one_in: args.trace_one_in,
        checkpoint_ms: args.checkpoint_ms,
    })
}

fn announce(
    json: bool,
    node: &Node,
    metrics: SocketAddr,
    network: Network,
    dir: &std::path::Path,
) -> anyhow::Result<()> {
    let grpc = node.grpc();
    let mut out = std::io::stdout().lock();
    if json {
        let ready = serde_json::json!({
            "ready": true,
            "grpc": grpc.to_string(),
            "metrics": metrics.to_string(),
            "network": network.name(),
            "verifier_key": node.verifier_key(),
        });
        writeln!(out, "{ready}")?;
    } else {
        writeln!(out, "Eschaton serves network {network} from {}", dir.display())?;
        writeln!(out, "  gRPC     {grpc}   (reflection and health are on)")?;
        writeln!(out, "  metrics  http://{metrics}/metrics")?;
        writeln!(out, "  key      {}", node.verifier_key())?;
        writeln!(out)?;
        writeln!(out, "Try, in another terminal:")?;
        let flag = if grpc.port() == 7373 { String::new() } else { format!(" --node http://{grpc}") };
        writeln!(out, "  eschaton{flag} wallet new")?;
        if network == Network::Dev {
            writeln!(out, "  eschaton{flag} wallet receive --amount 1000000")?;
        }
        writeln!(out, "  eschaton{flag} wallet balance")?;
        writeln!(out, "  eschaton{flag} status")?;
    }
    Ok(out.flush()?)
}
