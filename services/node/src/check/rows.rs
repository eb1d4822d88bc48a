//! Rows of two stores, side by side.

use std::fmt;

use bytes::Bytes;
use eschaton_ports::{Row, SCAN_ROWS_MAX, Store, Table};
use serde::Serialize;

use crate::transfer::{Step, Watch};

/// Longer values are shown by their first bytes and a hash.
const SHOWN_BYTES_MAX: usize = 256;
/// Rows between two steps that are shown.
const SHOWN_EVERY: u64 = 4_096;

/// One place where the store is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The table, or `checkpoints` for a record of that topic.
    pub table: String,
    /// The row's key in hexadecimal, or the checkpoint's number.
    pub key: String,
    /// What the key stands for.
    pub meaning: String,
    /// What comes out of the log.
    pub log_says: String,
    /// What is stored.
    pub store_has: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, meaning, log_says, store_has } = self;
        write!(f, "table {table}, key {key} ({meaning}): the log says {log_says}, the store has {store_has}")
    }
}

/// What a comparison found so far.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) rows: u64,
    pub(super) store: blake3::Hasher,
    pub(super) fresh: blake3::Hasher,
    pub(super) first: Option<Difference>,
}

impl Compared {
    /// Compares a table's rows with those that were made from the log.
    pub(super) async fn table(
        &mut self,
        table: Table,
        store: &dyn Store,
        fresh: &dyn Store,
        watch: Watch<'_>,
    ) -> anyhow::Result<()> {
        let (mut left, mut right) = (Rows::new(store, table), Rows::new(fresh, table));
        let (mut has, mut says) = (left.next().await?, right.next().await?);
        loop {
            // The lower key first: the other side lacks it.
            let lower = match (&has, &says) {
                (None, None) => return Ok(()),
                (Some((key, _)), None) | (None, Some((key, _))) => key.clone(),
                (Some((one, _)), Some((other, _))) => one.min(other).clone(),
            };
            let stored = has.take_if(|(key, _)| *key == lower);
            let made = says.take_if(|(key, _)| *key == lower);
            for (hash, row) in [(&mut self.store, &stored), (&mut self.fresh, &made)] {
                if let Some(row) = row {
                    add_row(hash, table, row);
                }
            }
            if stored != made && self.first.is_none() {
                self.first = Some(difference(table, &lower, made.as_ref(), stored.as_ref()));
            }
            if stored.is_some() {
                has = left.next().await?;
            }
            if made.is_some() {
                says = right.next().await?;
            }
            self.rows += 1;
            if self.rows.is_multiple_of(SHOWN_EVERY) {
                watch(Step { what: "comparing rows", done: self.rows, all: 0 })?;
            }
        }
    }
}

fn difference(table: Table, key: &[u8], made: Option<&Row>, stored: Option<&Row>) -> Difference {
    let mut says = value(made);
    if let (Some((_, made)), Some((_, stored))) = (made, stored) {
        let same = made.iter().zip(stored).take_while(|(one, other)| one == other).count();
        says.push_str(&format!(" (they differ from byte {same} on)"));
    }
    Difference {
        table: table.name().to_owned(),
        key: hex::encode(key),
        meaning: meaning(table, key),
        log_says: says,
        store_has: value(stored),
    }
}

fn value(row: Option<&Row>) -> String {
    match row {
        None => "no such row".to_owned(),
        Some((_, value)) if value.len() <= SHOWN_BYTES_MAX => format!("'{}'", hex::encode(value)),
        Some((_, value)) => format!(
            "{} bytes '{}…' with BLAKE3 {}",
            value.len(),
            hex::encode(&value[..SHOWN_BYTES_MAX]),
            blake3::hash(value).to_hex()
        ),
    }
}

/// A key in words; its form is in `crates/core/src/rows.rs`, of the trees in `crates/merkle/src/rows.rs`, of timestamps in
/// `crates/timestamp/src/rows.rs`.
fn meaning(table: Table, key: &[u8]) -> String {
    let shard = |key: &[u8]| key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let number = |from: usize| {
        let bytes = key.get(from..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    };
    match (table, key.len()) {
        (Table::Outputs, 66) => {
            let index = u16::from_be_bytes([key[64], key[65]]);
            format!("output {}:{index}", hex::encode(&key[32..64]))
        }
        (Table::Transactions, _) => "transaction".to_owned(),
        (Table::Totals, 5..) if key[4] == 1 => format!("units issued, shard {}", shard(key)),
        (Table::Totals, 5..) => format!("fee, shard {}", shard(key)),
        (Table::Pending, 5..) => format!("undecided transaction, shard {}", shard(key)),
        (Table::Workers, _) => format!("worker {}", String::from_utf8_lossy(key)),
        (Table::Trees, 1..) => match key[0] {
            b'M' => "bucket of the output map".to_owned(),
            b'T' => "tile of the log tree".to_owned(),
            b'S' => "sequences of the log tree".to_owned(),
            b'C' => format!("checkpoint {}", number(1)),
            b'W' => "the prover's own row".to_owned(),
            _ => "the trees' own row".to_owned(),
        },
        (Table::StampWorkers, _) => format!("worker {}", String::from_utf8_lossy(key)),
        (Table::Digests, 1..) => "place of a digest".to_owned(),
        (Table::Intervals, 1..) => match key[0] {
            b'S' => format!("stamper of shard {}", shard(&key[1..])),
            b'I' => format!("interval {} of shard {}", number(5), shard(&key[1..])),
            _ => format!("tree of interval {} of shard {}", number(5), shard(&key[1..])),
        },
        (Table::Anchors, 1..) => match key[0] {
            b'A' => format!("anchor {}", number(1)),
            b'H' => "the anchorer's own row".to_owned(),
            b'R' => "place of an interval".to_owned(),
            _ => format!("tree of anchor {}", number(1)),
        },
        _ => "a key of no known form".to_owned(),
    }
}

/// Adds a row to a hash over rows.
pub(crate) fn add_row(hash: &mut blake3::Hasher, table: Table, (key, value): &Row) {
    hash.update(&[table as u8]);
    for part in [key, value] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
}

/// All rows of a table, a page at a time.
pub(crate) struct Rows<'a> {
    store: &'a dyn Store,
    table: Table,
    page: std::vec::IntoIter<Row>,
    next: Option<Option<Bytes>>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(store: &'a dyn Store, table: Table) -> Self {
        Self { store, table, page: Vec::new().into_iter(), next: Some(None) }
    }

    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Row>> {
        loop {
            if let Some(row) = self.page.next() {
                return Ok(Some(row));
            }
            let Some(after) = self.next.take() else { return Ok(None) };
            let page = self.store.scan(self.table, b"", after.as_deref(), SCAN_ROWS_MAX).await?;
            self.page = page.rows.into_iter();
            self.next = page.next.map(Some);
        }
    }
}
