//! The wallet on real nodes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bench;
#[path = "../../chain/tests/kit/mod.rs"]
mod node;
#[path = "bench/real.rs"]
mod real;

use eschaton_chain::ChainKind;
use eschaton_ports::chain::Purpose;
use real::Real;

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
