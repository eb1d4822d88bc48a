//! OpenTimestamps: `.ots` files and calendars' answers, their execution, merging and verification, and the
//! making of new ones. Pure: what comes from outside is a parameter, headers too.
//!
//! The rules are those of the reference implementation (`opentimestamps` 0.4.5 for Python), whose bytes are
//! written exactly. What is read is bounded in depth, number and length before it costs anything. Stricter
//! than the reference: a number in another than its shortest form and an operation that stands twice at one
//! place are refused, so that one proof has one form up to the order of siblings.

mod attestation;
mod codec;
mod detached;
mod error;
mod op;
mod reader;
mod stamp;
mod timestamp;
pub mod tree;
mod verify;

pub use attestation::{Attestation, CalendarUri, Chain, PAYLOAD_MAX, URI_MAX, Unknown};
pub use codec::ANSWER_BYTES_MAX;
pub use detached::{DetachedFile, FILE_BYTES_MAX, MAGIC};
pub use error::OtsError;
pub use op::{FileHash, MESSAGE_MAX, OPERAND_MAX, Op, Operand};
pub use stamp::{Nonce, Stamping, commitment, commitment_ops};
pub use timestamp::{DEPTH_MAX, NODES_MAX, Pending, Timestamp};
pub use verify::{Failed, Header, Held, Report, VerifyError, verify, verify_file};
