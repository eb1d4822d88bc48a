//! `eschaton run`: the supernode itself.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::bail;
use clap::Args;
use eschaton_kit::{Telemetry, TelemetryConfig};
use eschaton_node::{Engines, Node, NodeConfig};
use eschaton_types::Network;
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::SettingsArgs;

/// Options of `eschaton run`. None has a default here: what is not given comes from the environment, the
/// configuration file, or the settings' own defaults.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  eschaton run --data-dir ./data\n  eschaton run --service conflict-resolver --config cluster.toml\n\nEvery option is also a key of the configuration file (--window-ms is window_ms) and a variable of the environment (ESCHATON_WINDOW_MS); options win over variables, variables over the file. `eschaton config show` shows what comes out.\nSIGTERM or Ctrl-C drains and exits 0; after kill -9, start it again: nothing acknowledged is lost."
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
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
    let (settings, config) = args.settings.read_to_run()?;
    let json = args.json;
    let telemetry = Telemetry::start(&TelemetryConfig {
        metrics: settings.metrics,
        otlp: settings.otlp.clone(),
        log: settings.log.clone(),
        log_json: json,
    })?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = tokio::select! {
        started = Node::start(config.clone()) => started?,
        // Nothing was taken yet: there is nothing to drain.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    announce(json, &node, telemetry.metrics, &config)?;
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

fn announce(json: bool, node: &Node, metrics: SocketAddr, config: &NodeConfig) -> anyhow::Result<()> {
    let (grpc, network) = (node.grpc(), config.network);
    let mut out = std::io::stdout().lock();
    if json {
        let mut ready = serde_json::json!({
            "ready": true,
            "grpc": grpc.to_string(),
            "metrics": metrics.to_string(),
            "network": network.name(),
            "services": config.services,
            "verifier_key": node.verifier_key(),
            "bitcoin_rpc": node.bitcoin_rpc().map(|address| format!("http://{address}")),
        });
        if let Some(calendar) = node.calendar() {
            ready["calendar"] = calendar.into();
        }
        writeln!(out, "{ready}")?;
    } else {
        match &config.engines {
            Engines::Embedded { data_dir } => {
                writeln!(out, "Eschaton serves network {network} from {}", data_dir.display())?;
            }
            #[cfg(feature = "cluster")]
            Engines::Cluster { kafka, cql } => {
                let (kafka, cql) = (&kafka.bootstrap, cql.nodes.join(","));
                writeln!(out, "Eschaton runs {} for network {network}", config.services)?;
                writeln!(out, "  Kafka    {kafka}")?;
                writeln!(out, "  CQL      {cql}")?;
            }
        }
        writeln!(out, "  gRPC     {grpc}   (reflection and health are on)")?;
        writeln!(out, "  metrics  http://{metrics}/metrics")?;
        if let Some(calendar) = node.calendar() {
            writeln!(out, "  calendar {calendar}   (ots stamp -c {calendar} -m 1 FILE)")?;
        }
        writeln!(out, "  key      {}", node.verifier_key())?;
        if let Some(address) = node.bitcoin_rpc() {
            writeln!(
                out,
                "  chain    http://{address}   (a private Bitcoin chain for anchors; its coins are worth nothing)"
            )?;
        }
        if !config.services.is_all() {
            return Ok(out.flush()?);
        }
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
