//! Ports: what drivers need from the world, and nothing of how an engine gives it.
//!
//! Every adapter passes the suite of its port in [`conformance`] (feature `conformance`). Adapters use
//! their engine natively; a port never imitates one.

mod ambient;
pub mod chain;
#[cfg(feature = "conformance")]
pub mod conformance;
mod log;
mod membership;
mod store;

pub use ambient::{Clock, Rng, Signer, SignerError};
pub use log::{
    Claim, Log, LogError, LogRecord, NewRecord, Position, RECORD_BYTES_MAX, RecordId, Topic, TopicPartition,
    TraceContext,
};
pub use membership::{Change, Membership, Owner, Release};
pub use store::{
    Family, Row, RowChange, SCAN_ROWS_MAX, ScanPage, Store, StoreBatch, StoreError, Table, Watermark,
};
