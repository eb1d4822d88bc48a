//! The store: an engine per family of tables, a keyspace per table, and the workers' watermarks in the same
//! batches. Families share no lock, so the prover, which may be held back, holds back nobody.

mod pieces;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use eschaton_ports::{Family, SCAN_ROWS_MAX, ScanPage, Store, StoreBatch, StoreError, Table, Watermark};
use fjall::compaction::Leveled;
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::background::Repeated;
use crate::home::{ENGINE, EngineOptions, Home, Kind};
use crate::{JournalCut, OpenError, spent_buffers, write_behind};
use pieces::Pieces;
use writer::{Tables, Writer};

const WATERMARKS: &str = "watermarks";
const WATERMARK_PREFIX: &[u8] = b"worker/";
/// The engine's limit.
const KEY_BYTES_MAX: usize = 65_535;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of disk blocks of ledger and trees kept in memory. Timestamps have a quarter as much besides.
    pub cache_bytes: u64,
    /// Bytes of the write buffer (memtable) of the largest table, outputs; the other tables have a
    /// quarter of it each. Fixed when the store is made. The engine may hold twice as much while it
    /// flushes.
    pub write_buffer_bytes: u64,
}

impl Default for StoreOptions {
    /// For about 350 MiB of memory.
    fn default() -> Self {
        Self { cache_bytes: 128 << 20, write_buffer_bytes: 32 << 20 }
    }
}

/// Rows on one machine's disk. Not synced until [`Store::flush`]: a crash of the machine loses the newest
/// batches, a whole suffix of them, and the log has them.
pub struct EmbeddedStore {
    // First, for fields drop in order: it reads directories of the parts.
    _write_behind: Repeated,
    parts: HashMap<Family, Part>,
}

/// One family's tables.
struct Part {
    _spent_buffers: Repeated,
    // Before the engine, which its thread uses.
    writer: Writer,
    tables: HashMap<Table, Pieces>,
    watermarks: Keyspace,
    db: Database,
    // Last, for fields drop in order: the directory is free only when the engine is closed.
    _lock: File,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, and makes it if there is none. Says what a crash tore off its newest
    /// journals, which is ordinary and harmless here.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<(Self, Vec<JournalCut>), OpenError> {
        let mut parts = HashMap::new();
        let (mut cuts, mut engines) = (Vec::new(), Vec::new());
        for family in Family::ALL {
            // The ledger's tables are the directory's own, the others have one each inside it.
            let dir = if family == Family::Ledger { dir.to_owned() } else { dir.join(family.name()) };
            let (part, cut) = Part::open(&dir, family, options)?;
            parts.insert(family, part);
            engines.push(dir.join(ENGINE));
            cuts.extend(cut);
        }
        let write_behind = write_behind::start(engines).map_err(OpenError::io(dir, "start a thread for"))?;
        Ok((Self { _write_behind: write_behind, parts }, cuts))
    }

    fn part(&self, family: Family) -> Result<&Part, StoreError> {
        self.parts.get(&family).ok_or_else(|| fatal(format!("there is no family {}", family.name())))
    }
}

impl Part {
    fn open(
        dir: &Path,
        family: Family,
        options: &StoreOptions,
    ) -> Result<(Self, Option<JournalCut>), OpenError> {
        let cache_bytes = match family {
            Family::Ledger => options.cache_bytes / 4 * 3,
            Family::Trees | Family::Stamps => options.cache_bytes / 4,
        };
        let engine_options = EngineOptions { cache_bytes, journal_bytes_max: 128 << 20 };
        let home = Home::open(dir, Kind::Store, &engine_options)?;
        let small = (options.write_buffer_bytes / 4).max(1 << 20);
        let mut tables = HashMap::new();
        for table in Table::ALL.into_iter().filter(|table| table.family() == family) {
            let count = pieces::count(table);
            let bytes = if table == Table::Outputs { options.write_buffer_bytes } else { small };
            let options = |n| keyspace_options(pieces::write_buffer(table, n, bytes), count);
            let keyspaces = (0..count).map(|n| home.keyspace(&pieces::name(table, n), || options(n)));
            tables.insert(table, Pieces::new(keyspaces.collect::<Result<_, _>>()?));
        }
        let watermarks = home.keyspace(WATERMARKS, || keyspace_options(small, 1))?;
        let sequence = home.seal(&watermarks)?;
        let by_worker = read_watermarks(&watermarks).map_err(|detail| home.damaged(detail))?;
        let buffers = tables.values().flat_map(|pieces| pieces.from(&[])).cloned();
        let spent_buffers =
            spent_buffers::free(family.name(), buffers).map_err(OpenError::io(dir, "start a thread for"))?;
        let Home { db, mark, scan, lock, .. } = home;
        let writes = Tables {
            db: db.clone(),
            tables: tables.clone(),
            watermarks: watermarks.clone(),
            mark,
            sequence,
            written: by_worker,
        };
        let writer =
            Writer::start(family.name(), writes).map_err(OpenError::io(dir, "start a thread for"))?;
        Ok((Self { _spent_buffers: spent_buffers, writer, tables, watermarks, db, _lock: lock }, scan.cut))
    }

    /// The engine shows rows of a batch one by one; a snapshot of it shows whole batches alone.
    fn whole_batches(&self) -> Snapshot {
        self.db.snapshot()
    }

    fn table(&self, table: Table) -> Result<&Pieces, StoreError> {
        self.tables.get(&table).ok_or_else(|| fatal(format!("there is no table {}", table.name())))
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let part = self.part(table.family())?;
        let (rows, whole) = (part.table(table)?, part.whole_batches());
        keys.iter()
            .map(|key| match whole.get(rows.of(key), key) {
                // A copy: the engine's own slice would keep its whole block in memory.
                Ok(value) => Ok(value.map(|value| Bytes::copy_from_slice(&value))),
                Err(error) => Err(failed(table.name(), &error)),
            })
            .collect()
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        batch.check_family()?;
        let part = self.part(batch.family)?;
        let worker = &batch.worker;
        for row in &batch.rows {
            part.table(row.table)?;
            if row.key.is_empty() || row.key.len() > KEY_BYTES_MAX || worker.len() > KEY_BYTES_MAX / 2 {
                return Err(fatal(format!(
                    "a row of {} by {worker} has a key of {} bytes, 1 to {KEY_BYTES_MAX} are possible",
                    row.table.name(),
                    row.key.len()
                )));
            }
        }
        part.writer.apply(batch).await
    }

    async fn watermark(&self, worker: &str) -> Result<Option<Watermark>, StoreError> {
        let key = [WATERMARK_PREFIX, worker.as_bytes()].concat();
        for part in self.parts.values() {
            if let Some(value) = part
                .whole_batches()
                .get(&part.watermarks, &key)
                .map_err(|error| failed(WATERMARKS, &error))?
            {
                let broken = || fatal(format!("watermark row {} is broken", hex::encode(&key)));
                return parse_watermark(&value).map(Some).ok_or_else(broken);
            }
        }
        Ok(None)
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        let limit = limit.clamp(1, SCAN_ROWS_MAX);
        let range = match after {
            Some(after) if after >= prefix => (Bound::Excluded(after.to_vec()), Bound::Unbounded),
            _ => (Bound::Included(prefix.to_vec()), Bound::Unbounded),
        };
        let mut page = ScanPage::default();
        let part = self.part(table.family())?;
        let (rows, whole) = (part.table(table)?, part.whole_batches());
        let first = after.unwrap_or(prefix).max(prefix);
        for row in rows.from(first).iter().flat_map(|rows| whole.range::<Vec<u8>, _>(rows, range.clone())) {
            let (key, value) = row.into_inner().map_err(|error| failed(table.name(), &error))?;
            if !key.starts_with(prefix) {
                break;
            }
            if page.rows.len() == limit {
                page.next = page.rows.last().map(|(key, _)| key.clone());
                break;
            }
            page.rows.push((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)));
        }
        Ok(page)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        for part in self.parts.values() {
            part.db.persist(PersistMode::SyncAll).map_err(|error| failed("the journal", &error))?;
        }
        Ok(())
    }
}

fn fatal(detail: String) -> StoreError {
    StoreError::Fatal { detail }
}

fn failed(what: &str, error: &fjall::Error) -> StoreError {
    fatal(format!("{what}: {error:?}"))
}

fn read_watermarks(watermarks: &Keyspace) -> Result<HashMap<String, Watermark>, String> {
    let mut by_worker = HashMap::new();
    for row in watermarks.prefix(WATERMARK_PREFIX) {
        let (key, value) = row.into_inner().map_err(|error| format!("{error:?}"))?;
        let read = || {
            let worker = String::from_utf8(key.strip_prefix(WATERMARK_PREFIX)?.to_vec()).ok()?;
            Some((worker, parse_watermark(&value)?))
        };
        let (worker, watermark) =
            read().ok_or_else(|| format!("watermark row {} is broken", hex::encode(&key)))?;
        by_worker.insert(worker, watermark);
    }
    Ok(by_worker)
}

fn parse_watermark(mut value: &[u8]) -> Option<Watermark> {
    let watermark = Watermark { sequence: value.try_get_u64().ok()?, input_next: value.try_get_u64().ok()? };
    value.is_empty().then_some(watermark)
}

/// Many small rows with random keys, many looked up that are not there. Indexes and filters are cut
/// into blocks that come and go through the cache, except those of the newest level: the engine's memory
/// does not grow with the rows.
fn keyspace_options(memtable_bytes: u64, pieces: usize) -> KeyspaceCreateOptions {
    let parts = || PartitioningPolicy::new([false, true]);
    // A piece has the shape of a whole table, and smaller parts.
    let files = Leveled::default().with_table_target_size((64 << 20) / pieces as u64);
    KeyspaceCreateOptions::default()
        .compaction_strategy(Arc::new(files))
        .max_memtable_size(memtable_bytes)
        .data_block_size_policy(BlockSizePolicy::all(4 << 10))
        .expect_point_read_hits(false)
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0))))
        .index_block_partitioning_policy(parts())
        .filter_block_partitioning_policy(parts())
}
