//! A store in short: a hash over all rows, and hashes of runs of rows, which tell where two stores differ.
//!
//! The file of runs has a line for each: the table's number, rows, last key, hash, separated by blanks, keys and hashes
//! in hexadecimal.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Lines, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use eschaton_ports::{Row, Store, Table};
use eschaton_transfer::{State, TransferError};

use super::{Step, Watch};
use crate::check::{Rows, add_row};

const FILE: &str = "rows.txt";
/// Rows of one run.
const RUN: u64 = 4_096;
const WHAT: &str = "comparing rows";

/// A run of rows of one table.
struct Run {
    table: Table,
    rows: u64,
    last: Vec<u8>,
    hash: String,
}

/// Writes the runs of a store into a directory.
pub(super) async fn write(store: &dyn Store, dir: &Path, watch: Watch<'_>) -> anyhow::Result<State> {
    let path = dir.join(FILE);
    let cannot = || format!("{} cannot be written", path.display());
    let file = File::create(&path).with_context(cannot)?;
    let (mut out, mut own) = (BufWriter::new(file), blake3::Hasher::new());
    let (mut all, mut rows) = (blake3::Hasher::new(), 0);
    for table in Table::ALL {
        let mut source = Rows::new(store, table);
        let mut row = source.next().await?;
        while let Some(first) = row.take() {
            let mut run = Gathered::default();
            run.add(&mut all, table, first);
            while run.rows < RUN
                && let Some(next) = source.next().await?
            {
                run.add(&mut all, table, next);
            }
            rows += run.rows;
            watch(Step { what: WHAT, done: rows, all: 0 })?;
            let line = format!("{} {} {} {}\n", table.number(), run.rows, hex::encode(&run.last), run.hash());
            own.update(line.as_bytes());
            out.write_all(line.as_bytes()).with_context(cannot)?;
            row = source.next().await?;
        }
    }
    out.into_inner()
        .map_err(|error| error.into_error())
        .and_then(|file| file.sync_all())
        .with_context(cannot)?;
    let hash = all.finalize().to_hex().to_string();
    Ok(State { rows, hash, runs: FILE.to_owned(), runs_blake3: own.finalize().to_hex().to_string() })
}

/// Refuses a file of runs that is not as it was written.
pub(super) fn verify(dir: &Path, state: &State) -> anyhow::Result<()> {
    let path = dir.join(FILE);
    let mut hash = blake3::Hasher::new();
    let file = File::open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
    hash.update_reader(file).with_context(|| format!("{} cannot be read", path.display()))?;
    let whole = state.runs == FILE && hash.finalize().to_hex().as_str() == state.runs_blake3;
    let detail = "its BLAKE3 is not the manifest's".to_owned();
    if whole { Ok(()) } else { Err(TransferError::Damaged { path, detail }.into()) }
}

/// Compares a store with what was written of another one: hash of all rows, and the first difference in words.
pub(super) async fn compare(
    store: &dyn Store,
    dir: &Path,
    state: &State,
    watch: Watch<'_>,
) -> anyhow::Result<(String, Option<String>)> {
    let mut runs = Runs::open(&dir.join(FILE))?;
    let (mut all, mut rows, mut difference) = (blake3::Hasher::new(), 0, None);
    let mut expected = runs.next()?;
    for table in Table::ALL {
        let mut source = Rows::new(store, table);
        let mut row = source.next().await?;
        let mut after = Vec::new();
        while let Some(run) = expected.take_if(|run| run.table == table) {
            let mut found = Gathered::default();
            while let Some(next) = row.take_if(|(key, _)| key[..] <= run.last[..]) {
                found.add(&mut all, table, next);
                row = source.next().await?;
            }
            rows += found.rows;
            watch(Step { what: WHAT, done: rows, all: state.rows })?;
            if found.hash() != run.hash && difference.is_none() {
                difference = Some(format!(
                    "table {}, keys after '{}' up to '{}': the source has {} rows there, the target {}",
                    table.name(),
                    hex::encode(&after),
                    hex::encode(&run.last),
                    run.rows,
                    if found.rows == run.rows { "as many others".to_owned() } else { found.rows.to_string() }
                ));
            }
            after = run.last;
            expected = runs.next()?;
        }
        while let Some(next) = row {
            let told = format!("table {}: only the target has key '{}'", table.name(), hex::encode(&next.0));
            difference.get_or_insert(told);
            add_row(&mut all, table, &next);
            row = source.next().await?;
        }
    }
    let hash = all.finalize().to_hex().to_string();
    if hash != state.hash {
        difference.get_or_insert("the hashes over all rows".to_owned());
    }
    Ok((hash, difference))
}

#[derive(Default)]
struct Gathered {
    hash: blake3::Hasher,
    rows: u64,
    last: Vec<u8>,
}

impl Gathered {
    fn add(&mut self, all: &mut blake3::Hasher, table: Table, row: Row) {
        add_row(all, table, &row);
        add_row(&mut self.hash, table, &row);
        self.rows += 1;
        self.last = row.0.to_vec();
    }

    fn hash(&self) -> String {
        self.hash.finalize().to_hex().to_string()
    }
}

/// A file of runs, a line at a time. It was verified before.
struct Runs(Lines<BufReader<File>>);

impl Runs {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        Ok(Self(BufReader::new(file).lines()))
    }

    fn next(&mut self) -> anyhow::Result<Option<Run>> {
        let Some(line) = self.0.next().transpose()? else { return Ok(None) };
        let parts: Vec<&str> = line.split(' ').collect();
        let [table, rows, last, hash] = parts[..] else { return Ok(None) };
        let table =
            table.parse().ok().and_then(Table::from_number).context("an unknown table in rows.txt")?;
        ensure!(hash.len() == 64, "a line of rows.txt has no hash");
        Ok(Some(Run { table, rows: rows.parse()?, last: hex::decode(last)?, hash: hash.to_owned() }))
    }
}
