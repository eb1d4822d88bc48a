//! The wire format and the rules of stateless checking, seen from outside the crate.

mod fixtures;
mod golden;
mod issuance_refusals;
mod messages;
mod properties;
mod refusals;
mod signatures;
mod text;
mod vectors;
mod witness_refusals;
