//! Anchors on the chain in process.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../../crates/onchain/tests/bench/mod.rs"]
mod bench;
#[path = "../../../crates/onchain/tests/bench/embedded.rs"]
mod embedded;
mod kit;
#[path = "kit/lives.rs"]
mod lives;

use embedded::embedded;

#[tokio::test(flavor = "multi_thread")]
async fn digests_are_anchored_and_proven() {
    lives::ordinary(&embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganised_anchor_comes_again() {
    lives::reorganised(&embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_makes_it_anew() {
    lives::conflict(&embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fees_are_capped_and_raised() {
    lives::fees(&embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_the_node() {
    lives::away(&embedded()).await;
}
