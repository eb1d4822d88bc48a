//! gRPC clients and servers generated from `proto/`, and the descriptors for reflection.

#[allow(missing_docs, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/services.rs"));
}

pub use generated::eschaton::{
    anchor::v1 as anchor, chain::v1 as chain, dev::v1 as dev, ingress::v1 as ingress, proofs::v1 as proofs,
    query::v1 as query, timestamp::v1 as timestamp,
};

/// All services' descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The most bytes of one gRPC message, either way.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
