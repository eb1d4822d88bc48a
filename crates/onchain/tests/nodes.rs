//! The wallet on real nodes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bench;
#[path = "../../chain/tests/kit/mod.rs"]
mod kit;

use std::sync::Arc;

use async_trait::async_trait;
use bench::Bench;
use bitcoin::ScriptBuf;
use eschaton_chain::{ChainKind, RpcChain};
use eschaton_onchain::address;
use eschaton_ports::chain::{Chain, Purpose};
use serde_json::json;

struct Real {
    node: kit::Node,
    chain: Arc<RpcChain>,
}

impl Real {
    fn start(program: &'static str, port: u16, kind: ChainKind) -> Self {
        // Litecoin Core replaces by fee only when it is told to.
        let args: &[_] =
            if kind == ChainKind::LitecoinRegtest { &[("CHAIN_ARGS", "-mempoolreplacement=1")] } else { &[] };
        let node = kit::Node::start(program, port, args);
        let chain = kit::open(node.config(kind));
        Self { node, chain }
    }
}

#[async_trait]
impl Bench for Real {
    fn chain(&self) -> Arc<dyn Chain> {
        self.chain.clone()
    }

    async fn mine(&self, count: u32, pay_to: &ScriptBuf) {
        let to = address(&self.chain.identity(), pay_to).unwrap();
        self.node.rpc("generatetoaddress", json!([count, to]));
    }

    async fn reorganise(&self, depth: u32) {
        let tip = self.chain.tip().await.unwrap().height;
        let first = self.chain.hash_at(tip - depth + 1).await.unwrap().unwrap();
        self.node.rpc("invalidateblock", json!([first.to_string()]));
        let to = address(&self.chain.identity(), &bench::elsewhere()).unwrap();
        for _ in 0..=depth {
            self.node.rpc("generateblock", json!([to, []]));
        }
    }
}

#[tokio::test]
async fn bitcoind() {
    let real = Real::start("bitcoind", 18_653, ChainKind::BitcoinRegtest);
    bench::life(&real, Purpose::Taproot).await;
}

#[tokio::test]
async fn bitcoind_segwit_reorganised() {
    let real = Real::start("bitcoind", 18_663, ChainKind::BitcoinRegtest);
    bench::reorganised(&real, Purpose::Segwit).await;
}

#[tokio::test]
async fn bitcoind_child() {
    let real = Real::start("bitcoind", 18_673, ChainKind::BitcoinRegtest);
    bench::child(&real, Purpose::Taproot).await;
}

#[tokio::test]
async fn litecoind() {
    let real = Real::start("litecoind", 19_653, ChainKind::LitecoinRegtest);
    bench::life(&real, Purpose::Segwit).await;
}

#[tokio::test]
async fn litecoind_reorganised() {
    let real = Real::start("litecoind", 19_663, ChainKind::LitecoinRegtest);
    bench::reorganised(&real, Purpose::Segwit).await;
}
