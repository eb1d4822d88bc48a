//! The port's suite on real nodes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod kit;

use eschaton_chain::ChainKind;
use eschaton_ports::conformance::chain::{Lacks, run};
use kit::{Bench, Node, address, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bitcoind_conforms() {
    let config = config(ChainKind::BitcoinRegtest, &address("bitcoind"));
    run(Bench::new(config, Lacks::default())).await;
}

/// A node without an index of transactions: more is found out by looking through blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bitcoind_without_index_conforms() {
    let node = Node::start("bitcoind", 28_443, &[("CHAIN_INDEX", "0")]);
    run(Bench::new(node.config(ChainKind::BitcoinRegtest), Lacks::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn litecoind_conforms() {
    let config = config(ChainKind::LitecoinRegtest, &address("litecoind"));
    // Litecoin Core has no package relay, and -mempoolreplacement is off unless an operator turns it on.
    run(Bench::new(config, Lacks { packages: true, replacement: true, ..Lacks::default() })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn btcd_conforms() {
    let config = config(ChainKind::BitcoinRegtest, &address("btcd"));
    // It has no submitpackage.
    run(Bench::new(config, Lacks { packages: true, ..Lacks::default() })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ltcd_conforms() {
    let config = config(ChainKind::LitecoinRegtest, &address("ltcd"));
    // It asks blocks of regtest for their vote on witnesses: three periods of 144.
    run(Bench::after(450, config, Lacks { packages: true, accepts: true, ..Lacks::default() })).await;
}
