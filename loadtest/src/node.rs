//! The node under test as a child process, so that its CPU and memory are its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use eschaton_kit::{Telemetry, TelemetryConfig};
use eschaton_node::{Node, NodeConfig};
use eschaton_types::{Address, Network};

use crate::process;

/// A start or an end that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// A whole node on the embedded engines.
pub(crate) async fn serve(args: NodeArgs) -> anyhow::Result<()> {
    let config = NodeConfig {
        grpc: ([127, 0, 0, 1], 0).into(),
        calendar: Some(([127, 0, 0, 1], 0).into()),
        native_issuer: Some(Address::from_text(&args.native_issuer, Network::Dev)?),
        undecided_max: args.undecided_max,
        ..NodeConfig::new(args.data_dir)
    };
    if let Some(metrics) = args.metrics {
        telemetry(metrics)?;
    }
    serve_until_told(config).await
}

/// Metrics, and messages on standard error.
pub(crate) fn telemetry(metrics: std::net::SocketAddr) -> anyhow::Result<()> {
    let log = std::env::var("ESCHATON_LOADTEST_LOG").unwrap_or_else(|_| "warn".to_owned());
    Telemetry::start(&TelemetryConfig { metrics, otlp: None, log, log_json: false })?;
    Ok(())
}

/// Serves until standard input closes: a parent that dies takes its nodes with it.
pub(crate) async fn serve_until_told(config: NodeConfig) -> anyhow::Result<()> {
    let node = Node::start(config).await?;
    println!("{} {}", node.grpc(), node.calendar().unwrap_or_default());
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
    tokio::select! {
        _ = closed => {}
        failed = node.failed() => bail!("the node failed: {failed}"),
    }
    node.stop().await
}

/// A node in a child process. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    pub(crate) url: String,
    /// The HTTP calendar, where there is one.
    pub(crate) calendar: Option<String>,
    pub(crate) started_in: Duration,
}

impl Running {
    /// Starts a node and kills it after a moment, whether or not it serves by then.
    pub(crate) fn start_and_kill(data_dir: &Path, issuer: &Address, after: Duration) -> anyhow::Result<()> {
        let mut child = spawn(embedded(data_dir, issuer, 16_384), Stdio::inherit())?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub(crate) fn start(data_dir: &Path, issuer: &Address, undecided_max: usize) -> anyhow::Result<Self> {
        Self::launch(embedded(data_dir, issuer, undecided_max), Stdio::inherit())
    }

    /// Starts this program with the arguments of one of its serving subcommands; returns when it serves.
    pub(crate) fn launch(
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
        stderr: Stdio,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let child = spawn(arguments, stderr)?;
        let mut node = Self { child, url: String::new(), calendar: None, started_in: Duration::ZERO };
        let stdout = node.child.stdout.take().context("the node has no standard output")?;
        let (sender, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // A line that does not come is an empty one; nobody may be waiting for it any more.
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = address
            .recv_timeout(PATIENCE)
            .with_context(|| format!("the node does not serve after {} s", PATIENCE.as_secs()))?;
        ensure!(!line.trim().is_empty(), "the node ended before it served; see its message above");
        let mut words = line.split_whitespace();
        node.url = format!("http://{}", words.next().unwrap_or_default());
        node.calendar = words.next().map(str::to_owned);
        node.started_in = began.elapsed();
        Ok(node)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of CPU that the node has used.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        process::cpu_s(self.pid())
    }

    /// Resident memory in MiB: now, and the most it ever was.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<(f64, f64)> {
        process::memory_mib(self.pid())
    }

    /// How it ended, if it did so by itself.
    #[cfg(feature = "cluster")]
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .context("a node's process takes no signal; has it ended?")
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
        let status = self.wait()?;
        ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the node was told to stop and has not ended after {} s", PATIENCE.as_secs())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago. SIGKILL reaches one that is stopped, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn embedded(data_dir: &Path, issuer: &Address, undecided_max: usize) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = vec!["node".into(), "--data-dir".into(), data_dir.into()];
    arguments.extend(["--native-issuer".into(), issuer.to_text(Network::Dev).into()]);
    arguments.extend(["--undecided-max".into(), undecided_max.to_string().into()]);
    if let Ok(metrics) = std::env::var("ESCHATON_LOADTEST_METRICS") {
        arguments.extend(["--metrics".into(), metrics.into()]);
    }
    arguments
}

fn spawn(arguments: impl IntoIterator<Item: AsRef<OsStr>>, stderr: Stdio) -> anyhow::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .context("the node's process does not start")
}
