//! Work that could not be decided at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use eschaton_core::{CoreError, Table};
use eschaton_types::pb::log::InputFact;
use eschaton_types::pb::state::{LocalInput, OutputRow, PendingRow, Stage};
use eschaton_types::{Input, Transaction, TxId, shard_of};
use prost::Message;

/// A transaction that this shard has seen and not decided, as coordinator or for another shard.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) tx: Transaction,
    /// Offset at which it arrived here.
    pub(crate) arrived: u64,
    pub(crate) coordinator: u32,
    /// Offset at which it arrived at the coordinator. Names this attempt: after one that was given up
    /// the same transaction may come again, while answers to the first are still on their way.
    pub(crate) attempt: u64,
    pub(crate) stage: Stage,
    /// Coordinator: when to give up. 0: never on one's own (another shard decides).
    pub(crate) deadline_ms: u64,
    /// While in `Stage::Window`.
    pub(crate) window_ends_ms: u64,
    /// When the window began, for its largest extension.
    pub(crate) window_began_ms: u64,
    /// Rows of this shard's inputs, by position among the inputs.
    pub(crate) local: BTreeMap<usize, OutputRow>,
    /// Coordinator: what other shards granted.
    pub(crate) granted: Vec<InputFact>,
    /// Coordinator: shards not granted yet, ascending; the first has been asked.
    pub(crate) to_ask: Vec<u32>,
}

impl Job {
    pub(crate) fn txid(&self) -> TxId {
        self.tx.txid
    }

    /// Positions and inputs that `shard` holds.
    pub(crate) fn inputs_of(
        tx: &Transaction,
        shard: u32,
        shards: u32,
    ) -> impl Iterator<Item = (usize, &Input)> {
        tx.body.inputs.iter().enumerate().filter(move |(_, input)| shard_of(&input.owner, shards) == shard)
    }

    /// When to look at it again, in log time. One time for each job, and from its row alone: a shard
    /// that loads its rows must see the same things fall due in the same order.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let at = if self.stage == Stage::Window { self.window_ends_ms } else { self.deadline_ms };
        Some(at).filter(|at| *at > 0)
    }

    /// Facts of this shard's inputs.
    pub(crate) fn facts(&self) -> Vec<InputFact> {
        facts(&self.local)
    }

    pub(crate) fn to_row(&self) -> Bytes {
        let row = PendingRow {
            transaction: self.tx.bytes.clone(),
            arrived: self.arrived,
            coordinator: self.coordinator,
            attempt: self.attempt,
            stage: self.stage.into(),
            deadline_ms: self.deadline_ms,
            window_ends_ms: self.window_ends_ms,
            window_began_ms: self.window_began_ms,
            local: self
                .local
                .iter()
                .filter_map(|(position, row)| {
                    Some(LocalInput { input: u32::try_from(*position).ok()?, row: Some(row.clone()) })
                })
                .collect(),
            granted: self.granted.clone(),
            to_ask: self.to_ask.clone(),
        };
        Bytes::from(row.encode_to_vec())
    }

    pub(crate) fn from_row(value: &Bytes) -> Result<Self, CoreError> {
        let damaged = |detail: String| CoreError::Row { table: Table::Pending.name(), detail };
        let row: PendingRow = crate::keys::decode(Table::Pending, value)?;
        let stage = row.stage();
        let tx = Transaction::decode(row.transaction).map_err(|error| damaged(error.to_string()))?;
        let mut local = BTreeMap::new();
        for input in row.local {
            let position = usize::try_from(input.input).map_err(|error| damaged(error.to_string()))?;
            local.insert(position, input.row.ok_or_else(|| damaged("local input without row".to_owned()))?);
        }
        Ok(Self {
            tx,
            arrived: row.arrived,
            coordinator: row.coordinator,
            attempt: row.attempt,
            stage,
            deadline_ms: row.deadline_ms,
            window_ends_ms: row.window_ends_ms,
            window_began_ms: row.window_began_ms,
            local,
            granted: row.granted,
            to_ask: row.to_ask,
        })
    }
}

/// The shards that hold inputs of a transaction, ascending. An issuance has its issuer's shard.
/// The first coordinates: holding inputs in ascending order of shards makes a cycle of waits impossible.
pub fn shards_of(tx: &Transaction, shards: u32) -> Vec<u32> {
    if let Some(issuer) = tx.issuer() {
        return vec![shard_of(&issuer, shards)];
    }
    let mut all: Vec<u32> = tx.body.inputs.iter().map(|input| shard_of(&input.owner, shards)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What these inputs hold, by position among the transaction's inputs.
pub(crate) fn facts(rows: &BTreeMap<usize, OutputRow>) -> Vec<InputFact> {
    rows.iter()
        .map(|(position, row)| InputFact {
            input: u32::try_from(*position).unwrap_or(u32::MAX), // at most 255
            product: row.product.clone(),
            amount: row.amount,
            spendable_at_ms: row.spendable_at_ms,
        })
        .collect()
}
