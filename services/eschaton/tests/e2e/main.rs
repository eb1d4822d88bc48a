//! The real binary from outside: a node in its own process, the CLI in others, gRPC in between.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod anchor;
mod bad_input;
mod double_spend;
mod kit;
mod moving;
mod observe;
mod overload;
mod pay;
mod proofs;
mod restart;
mod stamps;
mod start_stop;
mod trace;
mod upstream;
mod verify_stamps;
mod verify_state;

/// What [`kit::node::Node`] starts.
const SHAPE: kit::node::Shape = kit::node::Shape::Embedded;
