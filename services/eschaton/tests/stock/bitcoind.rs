//! A real Bitcoin node, which `deploy/engines/chains/run.sh` starts.

use std::process::Command;

/// On regtest; ended and wiped when it is dropped.
pub(crate) struct Bitcoind {
    port: u16,
}

impl Bitcoind {
    pub(crate) fn start(port: u16) -> Self {
        let node = Self { port };
        node.end();
        node.run(&["start"]);
        node
    }

    /// With its login.
    pub(crate) fn url(&self) -> String {
        format!("http://eschaton:eschaton-secret@127.0.0.1:{}", self.port)
    }

    /// One block that pays to this address.
    pub(crate) fn mine_to(&self, address: &str) {
        let answer = self.run(&["rpc", "generatetoaddress", &format!("[1,\"{address}\"]")]);
        assert!(answer.contains("\"error\":null"), "{answer}");
    }

    /// Blocks that pay to somebody else.
    pub(crate) fn mine(&self, count: u32) {
        self.run(&["mine", &count.to_string()]);
    }

    fn run(&self, verbs: &[&str]) -> String {
        let (done, words) = self.try_run(verbs);
        assert!(done, "bitcoind {verbs:?}: {words}");
        words
    }

    fn end(&self) {
        // It may not run.
        for verb in ["kill9", "wipe"] {
            self.try_run(&[verb]);
        }
    }

    fn try_run(&self, verbs: &[&str]) -> (bool, String) {
        let output = Command::new("../../deploy/engines/chains/run.sh")
            .arg("bitcoind")
            .args(verbs)
            .env("CHAIN_PORT", self.port.to_string())
            .env("CHAIN_NAME", format!("bitcoind-test-{}", self.port))
            .output()
            .unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&words).into_owned())
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        self.end();
    }
}
