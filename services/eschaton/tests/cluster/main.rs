//! The same client tests as on the embedded engines, unchanged, against services in processes of their own on
//! a real Kafka and a real Cassandra; and what only a cluster can go through.
//!
//! The engines' addresses come from `ESCHATON_TEST_KAFKA` and `ESCHATON_TEST_CQL`; `.ci/test` starts them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../e2e/bad_input.rs"]
mod bad_input;
#[path = "../e2e/double_spend.rs"]
mod double_spend;
mod engines;
#[path = "../e2e/kit/mod.rs"]
#[allow(dead_code, reason = "shared with tests that use all of it")]
mod kit;
mod moving;
mod outage;
#[path = "../e2e/pay.rs"]
mod pay;
#[path = "../e2e/proofs.rs"]
mod proofs;
mod rounds;
mod state;
mod status;
mod takeover;
mod upgrading;

/// What [`kit::node::Node`] starts.
const SHAPE: kit::node::Shape = kit::node::Shape::Cluster;
