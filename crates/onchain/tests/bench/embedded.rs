//! The chain in process.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::ScriptBuf;
use bitcoin::consensus::serialize;
use eschaton_embedded::SystemClock;
use eschaton_ports::chain::Chain;
use eschaton_regtest::{RegtestChain, RegtestConfig};

use crate::bench::Bench;

pub(crate) struct Embedded {
    pub(crate) chain: RegtestChain,
    _dir: tempfile::TempDir,
}

pub(crate) fn embedded() -> Embedded {
    let dir = tempfile::tempdir().unwrap();
    let chain = RegtestChain::open(&RegtestConfig::new(dir.path()), Arc::new(SystemClock)).unwrap();
    Embedded { chain, _dir: dir }
}

#[async_trait]
impl Bench for Embedded {
    fn chain(&self) -> Arc<dyn Chain> {
        Arc::new(self.chain.clone())
    }

    async fn mine(&self, count: u32, pay_to: &ScriptBuf) {
        self.chain.mine(count, pay_to.clone()).await.unwrap();
    }

    async fn reorganise(&self, depth: u32) {
        // Another chain with the same beginning finds more.
        let other = embedded();
        let tip = self.chain.tip().await.unwrap().height;
        let fork = tip - depth;
        for height in 1..=fork {
            let hash = self.chain.hash_at(height).await.unwrap().unwrap();
            let block = self.chain.block(hash).await.unwrap().unwrap();
            other.chain.submit_block(serialize(block.as_ref())).await.unwrap();
        }
        other.mine(depth + 1, &ScriptBuf::new_p2wpkh(&"00".repeat(20).parse().unwrap())).await;
        for height in fork + 1..=tip + 1 {
            let hash = other.chain.hash_at(height).await.unwrap().unwrap();
            let block = other.chain.block(hash).await.unwrap().unwrap();
            self.chain.submit_block(serialize(block.as_ref())).await.unwrap();
        }
        assert_eq!(self.chain.tip().await.unwrap().height, tip + 1);
    }
}
