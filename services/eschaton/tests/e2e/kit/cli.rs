//! The CLI, as a person with a home directory of their own runs it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::node::{collect, wait};

/// One person's machine.
pub(crate) struct Cli {
    home: TempDir,
    node: String,
}

/// What one command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cli {
    /// `node` is a URL.
    pub(crate) fn new(node: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), node: node.to_owned() }
    }

    /// A block more on the private chain, if an anchor waits for one. One after the other: the chain's part sees each.
    pub(crate) fn mine_if_awaited(&self) {
        let waits = |anchor: &Value| anchor["state"] == "broadcast" || anchor["state"] == "confirmed";
        if self.json_lines(&["anchor", "list"]).iter().any(waits) {
            self.json(&["chain", "mine", "1"]);
        }
    }

    /// A file in this person's home.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs one command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        let mut child = Command::new(env!("CARGO_BIN_EXE_eschaton"))
            .args(args)
            .env_clear()
            .env("XDG_DATA_HOME", self.home.path())
            .env("ESCHATON_NODE", &self.node)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = collect(child.stderr.take().unwrap());
        let mut out = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        let status = wait(&mut child);
        Done { code: status.code().unwrap(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }

    /// Runs with `--json`; it must succeed. One value for each line.
    pub(crate) fn json_lines(&self, args: &[&str]) -> Vec<Value> {
        let done = self.run(&[args, &["--json"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{args:?}: {done:?}");
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs with `--json`; it must succeed with one line.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut lines = self.json_lines(args);
        assert_eq!(lines.len(), 1, "{args:?}: {lines:?}");
        lines.remove(0)
    }

    /// Runs; it must fail with `code` and one line on standard error. Gives the line.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        let lines: Vec<&str> = done.stderr.lines().collect();
        let [line] = lines[..] else { panic!("{args:?}: not one line: {done:?}") };
        assert!(line.starts_with("error: "), "{line}");
        line.to_owned()
    }
}

/// For command lines.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
