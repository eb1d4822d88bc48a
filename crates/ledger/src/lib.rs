//! The ledger's core: one shard's conflicts, reservations and acceptance, as pure steps.
//!
//! A shard owns the outputs of the addresses that hash to it ([`eschaton_types::shard_of`]), consumes
//! its partition of topic `ledger` in order, and decides:
//!
//! - a payment whose inputs are all here, known and free is accepted in the step that reads it;
//! - one with inputs in several shards is coordinated by the lowest of them, which holds its own inputs,
//!   then asks the others in ascending order (`Reserve` → `Grant` or `Refuse`), then settles all. Only
//!   the coordinator gives up, by its log time; so nothing is ever half spent;
//! - one whose input is not known yet waits, bounded in number and time;
//! - with a conflict window, the first claims its inputs and contenders queue until the window ends.
//!
//! Invariants here: L1 (conservation, [`judge`](crate)), L2 (one spender: a claim or a spent row), L3 (a
//! repeated transaction gets the answer that it had), L4 (a hold ends: committed or released).

mod config;
mod hold;
mod job;
mod judge;
pub mod keys;
mod ledger;
mod messages;
mod step;
mod submit;
mod weigh;

pub use config::LedgerConfig;
pub use job::shards_of;
pub use ledger::{Input, Ledger};
pub use weigh::{Contender, FirstSeen, Verdict, Weigh, judge as judge_contenders};
