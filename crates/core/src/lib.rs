//! What a core is, and the words that cores and ports share.
//!
//! A core is deterministic: no clock, no randomness, no IO, no async. A driver reads a batch of inputs,
//! fetches the rows that they declare, steps the core over them in order, commits what came out, and
//! only then lets anything leave. The same cores run in production, embedded, and in simulation.

mod place;
mod rows;

pub use place::{Position, RecordId, Topic, TopicPartition};
pub use rows::{Family, Keys, RowChange, Rows, Table, Undeclared};

use bytes::Bytes;

/// Milliseconds since 1970, as the log tells them: the greatest time of the records consumed so far.
/// Never the wall clock.
pub type LogTime = u64;

/// Something that should happen once the step is committed: a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Where to.
    pub to: TopicPartition,
    /// The record's bytes.
    pub payload: Bytes,
}

/// Why a core cannot take an input. All of these are defects or damage: inputs are checked before
/// they reach the log, so the worker stops instead of guessing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CoreError {
    /// A record that does not decode.
    #[error("record does not decode: {detail}; a newer version wrote it, or the log is damaged")]
    Input {
        /// What the decoder met.
        detail: String,
    },
    /// A row that does not decode.
    #[error("row of table {table} does not decode: {detail}; rebuild the store from the log")]
    Row {
        /// The table.
        table: &'static str,
        /// What the decoder met.
        detail: String,
    },
    /// See [`Undeclared`].
    #[error(transparent)]
    Undeclared(#[from] Undeclared),
    /// A named invariant does not hold.
    #[error("invariant {id} broken: {detail}; stop and keep the data directory for inquiry")]
    Invariant {
        /// Name, as in ARCHITECTURE.md.
        id: &'static str,
        /// What was found.
        detail: String,
    },
}

/// The whole contract of a core. `&mut self` is what it keeps in memory of its own rows (pending work,
/// bounded); everything else it sees is in `rows`.
pub trait Core: Send {
    /// What it consumes.
    type Input: Send;

    /// From a record's payload.
    fn decode(&self, payload: &Bytes) -> Result<Self::Input, CoreError>;

    /// Declares the rows that `step` may read for this input.
    fn touches(&self, input: &Self::Input, keys: &mut Keys);

    /// Checks first, then changes rows infallibly, and returns what should happen as values. An error
    /// means a defect or damage; the core must not be used after it.
    fn step(
        &mut self,
        rows: &mut Rows,
        offset: u64,
        now: LogTime,
        input: Self::Input,
    ) -> Result<Vec<Effect>, CoreError>;

    /// Whether a row that a step has left so is likely to be read by a later one: worth memory, where there is some.
    fn reads_again(table: Table, value: Option<&Bytes>) -> bool
    where
        Self: Sized,
    {
        let _ = (table, value);
        true
    }
}
