use std::collections::HashMap;

use bytes::Bytes;

/// Rows of one kind. The numbers are in log records: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// owner (32) || transaction id (32) || index (2) → `OutputRow`.
    Outputs = 1,
    /// transaction id (32) → `TransactionRow`.
    Transactions = 2,
    /// shard (4) || kind (1) || product → `TotalRow`.
    Totals = 3,
    /// shard (4) || transaction id (32) → `PendingRow`.
    Pending = 4,
    /// worker's name → `WorkerRow`.
    Workers = 5,
    /// The prover's tiles, map buckets, checkpoints, and its `WorkerRow`.
    Trees = 6,
    /// Where a stamped digest stands: key `L` or `M` of `crates/timestamp/src/rows.rs` → place.
    Digests = 7,
    /// Stampers' heads and intervals: keys `S`, `I`, `C` and `U` there.
    Intervals = 8,
    /// The anchorer's head, anchors, and where intervals are anchored: keys `H`, `A`, `D`, `V` and `R` there.
    Anchors = 9,
    /// name of a stamper or of the anchorer → `WorkerRow`.
    StampWorkers = 10,
}

/// Tables that are written together. All rows of one worker are in tables of one family, so an engine may
/// keep families apart: each with its own journal, lock and pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// What ledger shards write.
    Ledger,
    /// What the prover writes.
    Trees,
    /// What stampers and the anchorer write.
    Stamps,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 3] = [Family::Ledger, Family::Trees, Family::Stamps];

    /// The name in engines.
    pub fn name(self) -> &'static str {
        match self {
            Family::Ledger => "ledger",
            Family::Trees => "trees",
            Family::Stamps => "stamps",
        }
    }

    /// The table of its workers' own rows.
    pub fn workers(self) -> Table {
        match self {
            Family::Ledger => Table::Workers,
            Family::Trees => Table::Trees,
            Family::Stamps => Table::StampWorkers,
        }
    }
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 10] = [
        Table::Outputs,
        Table::Transactions,
        Table::Totals,
        Table::Pending,
        Table::Workers,
        Table::Trees,
        Table::Digests,
        Table::Intervals,
        Table::Anchors,
        Table::StampWorkers,
    ];

    /// The name in engines.
    pub fn name(self) -> &'static str {
        match self {
            Table::Outputs => "outputs",
            Table::Transactions => "transactions",
            Table::Totals => "totals",
            Table::Pending => "pending",
            Table::Workers => "workers",
            Table::Trees => "trees",
            Table::Digests => "digests",
            Table::Intervals => "intervals",
            Table::Anchors => "anchors",
            Table::StampWorkers => "stamp_workers",
        }
    }

    /// With which other tables it is written.
    pub fn family(self) -> Family {
        match self {
            Table::Outputs | Table::Transactions | Table::Totals | Table::Pending | Table::Workers => {
                Family::Ledger
            }
            Table::Trees => Family::Trees,
            Table::Digests | Table::Intervals | Table::Anchors | Table::StampWorkers => Family::Stamps,
        }
    }

    /// The number in log records.
    pub fn number(self) -> u32 {
        u32::from(self as u8)
    }

    /// From the number in log records.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.number() == number)
    }
}

/// What a row becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Which table.
    pub table: Table,
    /// Key.
    pub key: Bytes,
    /// New value; `None` deletes.
    pub value: Option<Bytes>,
}

/// A step read a row that its input does not declare. A defect of the core, never of the data.
#[derive(Debug, Clone, thiserror::Error)]
#[error("core read an undeclared row of table {table}; stop the worker and report the defect")]
pub struct Undeclared {
    /// The table.
    pub table: &'static str,
}

/// Keys that a batch of inputs may touch.
#[derive(Debug, Default)]
pub struct Keys(Vec<(Table, Bytes)>);

impl Keys {
    /// Declares a row.
    pub fn add(&mut self, table: Table, key: Bytes) {
        self.0.push((table, key));
    }

    /// What was declared, in order, repeats included.
    pub fn into_inner(self) -> Vec<(Table, Bytes)> {
        self.0
    }
}

/// Declared rows with their values, and what steps made of them.
#[derive(Debug, Default)]
pub struct Rows {
    values: HashMap<(Table, Bytes), Option<Bytes>>,
    changed: Vec<(Table, Bytes)>,
}

impl Rows {
    /// Brings in a declared row with the value that it has now.
    pub fn provide(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.values.insert((table, key), value);
    }

    /// A declared or just written row.
    pub fn get(&self, table: Table, key: &Bytes) -> Result<Option<&Bytes>, Undeclared> {
        // Cloning `Bytes` counts a reference; the tuple is the map's own key form.
        match self.values.get(&(table, key.clone())) {
            Some(value) => Ok(value.as_ref()),
            None => Err(Undeclared { table: table.name() }),
        }
    }

    /// Writes a row; it need not have been declared, for it is not read.
    pub fn put(&mut self, table: Table, key: Bytes, value: Bytes) {
        self.set(table, key, Some(value));
    }

    /// Deletes a row.
    pub fn delete(&mut self, table: Table, key: Bytes) {
        self.set(table, key, None);
    }

    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.changed.push((table, key.clone()));
        self.values.insert((table, key), value);
    }

    /// Every changed row once, with its last value, in order of first change.
    pub fn into_changes(mut self) -> Vec<RowChange> {
        let mut changes = Vec::with_capacity(self.changed.len());
        for (table, key) in std::mem::take(&mut self.changed) {
            if let Some(((table, key), value)) = self.values.remove_entry(&(table, key)) {
                changes.push(RowChange { table, key, value });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_declared_and_changes_fold() {
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        let mut rows = Rows::default();
        rows.provide(Table::Outputs, a.clone(), None);
        assert!(matches!(rows.get(Table::Outputs, &a), Ok(None)));
        assert!(rows.get(Table::Outputs, &b).is_err());
        assert!(rows.get(Table::Totals, &a).is_err());
        rows.put(Table::Outputs, a.clone(), b.clone());
        rows.put(Table::Outputs, b.clone(), b.clone());
        rows.delete(Table::Outputs, a.clone());
        assert_eq!(
            rows.into_changes(),
            [
                RowChange { table: Table::Outputs, key: a, value: None },
                RowChange { table: Table::Outputs, key: b.clone(), value: Some(b) },
            ]
        );
    }
}
