//! Nodes to test against: the addresses are in `ESCHATON_TEST_BITCOIND`, `…_LITECOIND`, `…_BTCD` and `…_LTCD`, or a test starts
//! nodes of its own with `deploy/engines/chains/run.sh`.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use bitcoin::Amount;
use bytes::Bytes;
use eschaton_chain::{ChainKind, RpcChain, RpcConfig, params};
use eschaton_embedded::SystemClock;
use eschaton_headers::proof_of_work_hash;
use eschaton_ports::chain::Chain;
use eschaton_ports::conformance::chain::{ChainBench, Lacks};
use serde_json::{Value, json};

/// The login that the script gives every node.
pub(crate) const LOGIN: &str = "eschaton:eschaton-secret";

/// A node that the script started.
pub(crate) struct Node {
    pub(crate) program: &'static str,
    pub(crate) port: u16,
    env: Vec<(&'static str, String)>,
    ours: bool,
}

impl Node {
    /// A new node of this kind, on a port and in a directory of its own. Stopped and wiped when it is dropped.
    pub(crate) fn start(program: &'static str, port: u16, env: &[(&'static str, &str)]) -> Self {
        let mut env: Vec<(&'static str, String)> =
            env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        env.push(("CHAIN_PORT", port.to_string()));
        env.push(("CHAIN_NAME", format!("{program}-test-{port}")));
        let node = Self { program, port, env, ours: true };
        node.try_run(&["kill9"]).ok();
        node.run(&["wipe"]);
        node.run(&["start"]);
        node
    }

    fn try_run(&self, verbs: &[&str]) -> Result<String, String> {
        let mut command = Command::new("../../deploy/engines/chains/run.sh");
        let output = command.arg(self.program).args(verbs).envs(self.env.iter().cloned()).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Calls the script with this verb.
    pub(crate) fn run(&self, verbs: &[&str]) -> String {
        self.try_run(verbs).unwrap_or_else(|error| panic!("{} {verbs:?}: {error}", self.program))
    }

    /// A method past the adapter.
    pub(crate) fn rpc(&self, method: &str, params: Value) -> Value {
        let answer = self.run(&["rpc", method, &params.to_string()]);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{method}: {answer}"));
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    pub(crate) fn config(&self, kind: ChainKind) -> RpcConfig {
        config(kind, &format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.ours {
            self.try_run(&["kill9"]).ok();
            self.try_run(&["wipe"]).ok();
        }
    }
}

/// Settings for tests: impatient.
pub(crate) fn config(kind: ChainKind, address: &str) -> RpcConfig {
    RpcConfig {
        request_ms: 20_000,
        retry_ms: 1_000,
        poll_ms: 50,
        ..RpcConfig::new(kind, &format!("http://{LOGIN}@{address}")).unwrap()
    }
}

pub(crate) fn open(config: RpcConfig) -> Arc<RpcChain> {
    Arc::new(RpcChain::new(config, Arc::new(SystemClock)))
}

/// The address in this variable. A test that needs a node never passes without one.
pub(crate) fn address(program: &str) -> String {
    let name = format!("ESCHATON_TEST_{}", program.to_uppercase());
    std::env::var(&name).unwrap_or_else(|_| {
        panic!("set {name} to a node's host:port; `deploy/engines/chains/run.sh {program} start` starts one")
    })
}

/// A node for the suite.
pub(crate) struct Bench {
    chain: Arc<RpcChain>,
    kind: ChainKind,
    address: String,
    lacks: Lacks,
    blocks_first: u32,
}

impl Bench {
    pub(crate) fn new(config: RpcConfig, lacks: Lacks) -> Arc<Self> {
        Self::after(0, config, lacks)
    }

    /// One whose node needs this many blocks before its rules are all in force.
    pub(crate) fn after(blocks_first: u32, config: RpcConfig, lacks: Lacks) -> Arc<Self> {
        let (kind, address) = (config.kind, config.address().to_owned());
        Arc::new(Self { chain: open(config), kind, address, lacks, blocks_first })
    }

    async fn submit(&self, hex: String) -> Value {
        // A client of its own: the block does not go through the adapter.
        use http_body_util::{BodyExt, Full};
        use hyper_util::client::legacy::Client;
        use hyper_util::rt::TokioExecutor;
        let login = base64::prelude::BASE64_STANDARD.encode(LOGIN);
        let body = json!({ "jsonrpc": "1.0", "id": 1, "method": "submitblock", "params": [hex] }).to_string();
        let request = http::Request::post(format!("http://{}/", self.address))
            .header("content-type", "application/json")
            .header("authorization", format!("Basic {login}"))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }
}

#[async_trait]
impl ChainBench for Bench {
    fn chain(&self) -> Arc<dyn Chain> {
        self.chain.clone()
    }

    async fn submit_block(&self, block: Bytes) {
        let answer = self.submit(hex::encode(&block)).await;
        // `inconclusive`: kept, not the best. btcd says null of that too.
        let result = &answer["result"];
        assert!(
            answer["error"].is_null() && (result.is_null() || result == "inconclusive"),
            "the block is refused: {answer}"
        );
    }

    fn proof_of_work(&self, header: &[u8; 80]) -> [u8; 32] {
        let header = bitcoin::consensus::deserialize(header).unwrap();
        proof_of_work_hash(params(self.kind).proof_of_work, &header)
    }

    fn now_s(&self) -> u32 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u32::try_from(since.as_secs()).unwrap()
    }

    fn subsidy(&self, height: u32) -> Amount {
        // Regtest halves every 150 blocks.
        Amount::from_sat(5_000_000_000 >> (height / 150).min(63))
    }

    fn blocks_first(&self) -> u32 {
        self.blocks_first
    }

    fn lacks(&self) -> Lacks {
        self.lacks
    }
}
