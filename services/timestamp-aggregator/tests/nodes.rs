//! Anchors on a real Bitcoin node.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../../crates/onchain/tests/bench/mod.rs"]
mod bench;
mod kit;
#[path = "kit/lives.rs"]
mod lives;
#[path = "../../../crates/chain/tests/kit/mod.rs"]
mod node;
#[path = "../../../crates/onchain/tests/bench/real.rs"]
mod real;

use eschaton_chain::ChainKind;
use real::Real;

fn bitcoind(port: u16) -> Real {
    Real::start("bitcoind", port, ChainKind::BitcoinRegtest)
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_are_anchored_and_proven() {
    lives::ordinary(&bitcoind(18_753)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganised_anchor_comes_again() {
    lives::reorganised(&bitcoind(18_763)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_makes_it_anew() {
    lives::conflict(&bitcoind(18_773)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fees_are_capped_and_raised() {
    lives::fees(&bitcoind(18_783)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_the_node() {
    lives::away(&bitcoind(18_793)).await;
}
