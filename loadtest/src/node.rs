//! The node under test as a child process, so that its CPU and memory are its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use eschaton_kit::{Telemetry, TelemetryConfig};
use eschaton_node::{Node, NodeConfig};
use eschaton_types::{Address, Network};

#[derive(Args)]
pub(crate) struct NodeArgs {
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    native_issuer: String,
    #[arg(long)]
    undecided_max: usize,
    #[arg(long)]
    metrics: Option<std::net::SocketAddr>,
}

/// Serves until standard input closes: a parent that dies takes its node with it.
pub(crate) async fn serve(args: NodeArgs) -> anyhow::Result<()> {
    let config = NodeConfig {
        grpc: ([127, 0, 0, 1], 0).into(),
        native_issuer: Some(Address::from_text(&args.native_issuer, Network::Dev)?),
        undecided_max: args.undecided_max,
        ..NodeConfig::new(args.data_dir)
    };
    if let Some(metrics) = args.metrics {
        Telemetry::start(&TelemetryConfig { metrics, otlp: None, log: "warn".to_owned(), log_json: false })?;
    }
    let node = Node::start(config).await?;
    println!("{}", node.grpc());
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
    tokio::select! {
        _ = closed => {}
        failed = node.failed() => anyhow::bail!("the node failed: {failed}"),
    }
    node.stop().await
}

/// A node in a child process.
pub(crate) struct Running {
    child: Child,
    pub(crate) url: String,
    pub(crate) started_in: Duration,
}

impl Running {
    /// Starts a node and kills it after a moment, whether or not it serves by then.
    pub(crate) fn start_and_kill(data_dir: &Path, issuer: &Address, after: Duration) -> anyhow::Result<()> {
        let mut child = Self::spawn(data_dir, issuer, 16_384)?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub(crate) fn start(data_dir: &Path, issuer: &Address, undecided_max: usize) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut child = Self::spawn(data_dir, issuer, undecided_max)?;
        let stdout = child.stdout.take().context("the node has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(!line.trim().is_empty(), "the node ended before it served; see its message above");
        Ok(Self { child, url: format!("http://{}", line.trim()), started_in: began.elapsed() })
    }

    fn spawn(data_dir: &Path, issuer: &Address, undecided_max: usize) -> anyhow::Result<Child> {
        Command::new(std::env::current_exe()?)
            .arg("node")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--native-issuer", &issuer.to_text(Network::Dev)])
            .args(["--undecided-max", &undecided_max.to_string()])
            .args(
                std::env::var("ESCHATON_LOADTEST_METRICS").iter().flat_map(|address| ["--metrics", address]),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the node's process does not start")
    }

    /// Seconds of CPU that the node has used.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("no process name")?.1.split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).context("no such field");
        // Linux counts in hundredths of a second (USER_HZ) on every architecture that we run on.
        Ok(f64::from(ticks(11)? + ticks(12)?) / 100.0)
    }

    /// Resident memory in MiB: now, and the most it ever was.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).context("no such field")?;
            let kib: u32 = line.split_whitespace().nth(1).context("no value")?.parse()?;
            anyhow::Ok(f64::from(kib) / 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// As `kill -9`: no warning, no clean-up.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Drains and waits for the end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }
}
