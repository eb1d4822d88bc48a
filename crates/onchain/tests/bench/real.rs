//! A real node.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::ScriptBuf;
use eschaton_chain::{ChainKind, RpcChain};
use eschaton_onchain::address;
use eschaton_ports::chain::Chain;
use serde_json::json;

use crate::bench::{Bench, elsewhere};
use crate::node::{Node, open};

pub(crate) struct Real {
    pub(crate) node: Node,
    chain: Arc<RpcChain>,
}

impl Real {
    pub(crate) fn start(program: &'static str, port: u16, kind: ChainKind) -> Self {
        // Litecoin Core replaces by fee only when it is told to.
        let args: &[_] =
            if kind == ChainKind::LitecoinRegtest { &[("CHAIN_ARGS", "-mempoolreplacement=1")] } else { &[] };
        let node = Node::start(program, port, args);
        let chain = open(node.config(kind));
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
        if let Some(first) = self.chain.hash_at(tip - depth + 1).await.unwrap() {
            self.node.rpc("invalidateblock", json!([first.to_string()]));
        }
        let to = address(&self.chain.identity(), &elsewhere()).unwrap();
        for _ in 0..=depth {
            self.node.rpc("generateblock", json!([to, []]));
        }
    }
}
