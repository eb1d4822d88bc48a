//! The port's suite on the embedded chain.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::Amount;
use bytes::Bytes;
use eschaton_embedded::SystemClock;
use eschaton_headers::{Params, proof_of_work_hash};
use eschaton_ports::Clock;
use eschaton_ports::chain::Chain;
use eschaton_ports::conformance::chain::{ChainBench, run};
use eschaton_regtest::{RegtestChain, RegtestConfig};

struct Bench {
    chain: RegtestChain,
    _dir: tempfile::TempDir,
}

#[async_trait]
impl ChainBench for Bench {
    fn chain(&self) -> Arc<dyn Chain> {
        Arc::new(self.chain.clone())
    }

    async fn submit_block(&self, block: Bytes) {
        self.chain.submit_block(block.to_vec()).await.unwrap();
    }

    fn proof_of_work(&self, header: &[u8; 80]) -> [u8; 32] {
        let header = bitcoin::consensus::deserialize(header).unwrap();
        proof_of_work_hash(Params::bitcoin_regtest().proof_of_work, &header)
    }

    fn now_s(&self) -> u32 {
        u32::try_from(SystemClock.now_ms() / 1_000).unwrap()
    }

    fn subsidy(&self, height: u32) -> Amount {
        Amount::from_sat(5_000_000_000 >> (height / 150).min(63))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    let chain = RegtestChain::open(&RegtestConfig::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let bench = Arc::new(Bench { chain: chain.clone(), _dir: dir });
    let kept = bench.clone();
    run(bench).await;
    // All of it, branches too, is there after opening again.
    let tip = chain.tip().await.unwrap();
    assert!(tip.height > 300, "{tip:?}");
    drop(chain);
    let kept = Arc::into_inner(kept).unwrap();
    drop(kept.chain);
    let config = RegtestConfig::new(kept._dir.path());
    let again = RegtestChain::open(&config, Arc::new(SystemClock)).unwrap();
    assert_eq!(again.tip().await.unwrap(), tip);
}
