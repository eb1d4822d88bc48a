//! The wire format and the rules of stateless checking, seen from outside the crate.
#![allow(clippy::panic)] // a test fails by it
#![allow(clippy::disallowed_methods, reason = "a variable asks for the vectors to be written anew")]

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
