//! A node in its own process.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{PATIENCE, cluster};

/// Longest wait for a process to serve. One that waits for a database takes that one's start besides.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// What a test binary's nodes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One process on the embedded engines.
    Embedded,
    /// A process for each service on real engines; the node is the one that clients talk to.
    #[allow(dead_code, reason = "the other test binary's")]
    Cluster,
}

/// A node that serves. Dropped, it is killed.
pub(crate) struct Node {
    /// The other services' processes.
    others: Vec<Node>,
    /// What they have in common; dropped after them.
    cluster: Option<cluster::Cluster>,
    child: Child,
    stderr: Option<JoinHandle<String>>,
    /// `http://host:port`.
    pub(crate) url: String,
    /// `host:port`.
    pub(crate) metrics: String,
    pub(crate) verifier_key: String,
    /// `http://host:port`, of a process that has one.
    pub(crate) calendar: Option<String>,
    /// `http://host:port` of a private chain in the process.
    pub(crate) bitcoin_rpc: Option<String>,
}

/// How a node ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Node {
    /// Starts a node on free ports and waits until it serves.
    pub(crate) fn start(data_dir: &Path, options: &[&str]) -> Self {
        Self::try_start(data_dir, options).unwrap_or_else(|ended| panic!("the node did not start: {ended:?}"))
    }

    /// As [`Node::start`]; an error is how it ended instead.
    pub(crate) fn try_start(data_dir: &Path, options: &[&str]) -> Result<Self, Ended> {
        match crate::SHAPE {
            Shape::Embedded => Self::process(data_dir, options),
            Shape::Cluster => cluster::start(data_dir, options),
        }
    }

    /// One process.
    pub(crate) fn process(data_dir: &Path, options: &[&str]) -> Result<Self, Ended> {
        Self::process_in(Some(data_dir), options)
    }

    /// One process; without a directory it has no keys.
    pub(crate) fn process_in(data_dir: Option<&Path>, options: &[&str]) -> Result<Self, Ended> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_eschaton"))
            .arg("run")
            .args(data_dir.iter().flat_map(|dir| [OsStr::new("--data-dir"), dir.as_os_str()]))
            .args(if options.contains(&"--grpc") { &[][..] } else { &["--grpc", "127.0.0.1:0"] })
            .args(if options.contains(&"--calendar") { &[][..] } else { &["--calendar", "127.0.0.1:0"] })
            .args(["--metrics", "127.0.0.1:0", "--json"])
            .args(options)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = collect(child.stderr.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The test has what it wanted and listens no more.
                let _ = sender.send(line);
            }
        });
        match lines.recv_timeout(START_PATIENCE) {
            Ok(line) => {
                let ready: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(ready["ready"], true, "{line}");
                let text = |field: &str| {
                    ready[field].as_str().unwrap_or_else(|| panic!("{field}: {line}")).to_owned()
                };
                let url = format!("http://{}", text("grpc"));
                let calendar = ready["calendar"].as_str().map(str::to_owned);
                let bitcoin_rpc = ready["bitcoin_rpc"].as_str().map(str::to_owned);
                let (metrics, verifier_key) = (text("metrics"), text("verifier_key"));
                Ok(Self {
                    others: Vec::new(),
                    cluster: None,
                    child,
                    stderr: Some(stderr),
                    url,
                    metrics,
                    verifier_key,
                    calendar,
                    bitcoin_rpc,
                })
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = wait(&mut child);
                Err(Ended { status, stderr: stderr.join().unwrap() })
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                panic!(
                    "the node neither served nor ended within {START_PATIENCE:?}: {}",
                    stderr.join().unwrap()
                );
            }
        }
    }

    /// Is the one that clients talk to, among these.
    pub(crate) fn with(mut self, others: Vec<Node>, cluster: cluster::Cluster) -> Self {
        (self.others, self.cluster) = (others, Some(cluster));
        self
    }

    /// What Prometheus would get.
    pub(crate) fn scrape(&self) -> String {
        let address = &self.metrics;
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        text
    }

    /// The process's id.
    #[allow(dead_code, reason = "the other test binary's")]
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// As `kill -9`: no warning, no clean-up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and goes on.
    pub(crate) fn signal_stop(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for the end of a node that was told to stop.
    pub(crate) fn ended(mut self) -> Ended {
        let status = wait(&mut self.child);
        Ended { status, stderr: self.stderr.take().unwrap().join().unwrap() }
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(mut self) -> Ended {
        let (others, cluster) = (std::mem::take(&mut self.others), self.cluster.take());
        self.signal_stop();
        let ended = self.ended();
        assert!(ended.status.success(), "{ended:?}");
        for other in others {
            other.stop();
        }
        drop(cluster);
        ended
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end beside the test, so that the child never waits for room in the pipe.
pub(crate) fn collect(mut stderr: ChildStderr) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    })
}

/// Waits for a child's end, with a deadline: `Child` itself can only wait for ever.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("a process did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
