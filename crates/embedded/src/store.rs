//! The store: an engine per family of tables, a keyspace per table, and the workers' watermarks in the same
//! batches. Families share no lock, so the prover, which may be held back, holds back nobody.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::Bound;
use std::path::Path;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use eschaton_ports::{Family, SCAN_ROWS_MAX, ScanPage, Store, StoreBatch, StoreError, Table, Watermark};
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};
use parking_lot::Mutex;

use crate::home::{ENGINE, EngineOptions, Home, Kind};
use crate::journal::{MARK_KEY, Mark};
use crate::write_behind::WriteBehind;
use crate::{JournalCut, OpenError};

const WATERMARKS: &str = "watermarks";
const WATERMARK_PREFIX: &[u8] = b"worker/";
/// The engine's limit.
const KEY_BYTES_MAX: usize = 65_535;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of disk blocks kept in memory.
    pub cache_bytes: u64,
    /// Bytes of the write buffer (memtable) of the largest table, outputs; the other tables have a
    /// quarter of it each. Fixed when the store is made. The engine may hold twice as much while it
    /// flushes.
    pub write_buffer_bytes: u64,
}

impl Default for StoreOptions {
    /// For about 300 MiB of memory.
    fn default() -> Self {
        Self { cache_bytes: 128 << 20, write_buffer_bytes: 32 << 20 }
    }
}

/// Rows on one machine's disk. Not synced until [`Store::flush`]: a crash of the machine loses the newest
/// batches, a whole suffix of them, and the log has them.
pub struct EmbeddedStore {
    // First, for fields drop in order: it reads directories of the parts.
    _write_behind: WriteBehind,
    parts: HashMap<Family, Part>,
}

/// One family's tables.
struct Part {
    tables: HashMap<Table, Keyspace>,
    watermarks: Keyspace,
    db: Database,
    mark: Mark,
    written: Mutex<Written>,
    // Last, for fields drop in order: the directory is free only when the engine is closed.
    _lock: File,
}

struct Written {
    /// Of the last batch.
    sequence: u64,
    by_worker: HashMap<String, Watermark>,
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
        let write_behind = WriteBehind::start(engines).map_err(OpenError::io(dir, "start a thread for"))?;
        Ok((Self { _write_behind: write_behind, parts }, cuts))
    }

    fn part(&self, family: Family) -> Result<&Part, StoreError> {
        self.parts.get(&family).ok_or_else(|| fatal(format!("there is no family {}", family.name())))
    }

    fn table(&self, table: Table) -> Result<&Keyspace, StoreError> {
        self.part(table.family())?.table(table)
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
            Family::Trees => options.cache_bytes / 4,
        };
        let engine_options = EngineOptions { cache_bytes, journal_bytes_max: 128 << 20 };
        let home = Home::open(dir, Kind::Store, &engine_options)?;
        let small = (options.write_buffer_bytes / 4).max(1 << 20);
        let mut tables = HashMap::new();
        for table in Table::ALL.into_iter().filter(|table| table.family() == family) {
            let bytes = if table == Table::Outputs { options.write_buffer_bytes } else { small };
            tables.insert(table, home.keyspace(table.name(), || keyspace_options(bytes.max(1 << 20)))?);
        }
        let watermarks = home.keyspace(WATERMARKS, || keyspace_options(small))?;
        let sequence = home.seal(&watermarks)?;
        let by_worker = read_watermarks(&watermarks).map_err(|detail| home.damaged(detail))?;
        let Home { db, mark, scan, lock, .. } = home;
        let written = Mutex::new(Written { sequence, by_worker });
        Ok((Self { tables, watermarks, db, mark, written, _lock: lock }, scan.cut))
    }

    fn table(&self, table: Table) -> Result<&Keyspace, StoreError> {
        self.tables.get(&table).ok_or_else(|| fatal(format!("there is no table {}", table.name())))
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let rows = self.table(table)?;
        keys.iter()
            .map(|key| match rows.get(key) {
                // A copy: the engine's own slice would keep its whole block in memory.
                Ok(value) => Ok(value.map(|value| Bytes::copy_from_slice(&value))),
                Err(error) => Err(failed(table.name(), &error)),
            })
            .collect()
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        batch.check_family()?;
        let StoreBatch { worker, family, watermark, rows } = batch;
        let part = self.part(family)?;
        let mut write = part.db.batch();
        // The mark must be the journal's first row; its sequence is known only under the lock.
        let mut seen = HashSet::with_capacity(rows.len());
        let mut last = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            if row.key.is_empty() || row.key.len() > KEY_BYTES_MAX || worker.len() > KEY_BYTES_MAX / 2 {
                return Err(fatal(format!(
                    "a row of {} by {worker} has a key of {} bytes, 1 to {KEY_BYTES_MAX} are possible",
                    row.table.name(),
                    row.key.len()
                )));
            }
            if seen.insert((row.table, &row.key)) {
                last.push((part.table(row.table)?, row));
            }
        }

        let mut written = part.written.lock();
        if written.by_worker.get(&worker).is_some_and(|stored| watermark.sequence <= stored.sequence) {
            return Ok(());
        }
        let sequence = written.sequence + 1;
        write.insert(&part.watermarks, MARK_KEY, part.mark.value(sequence));
        for (table, row) in last {
            // Copies: what comes in may share a large buffer, which the write buffer would keep.
            match &row.value {
                Some(value) => write.insert(table, &row.key[..], Slice::from(&value[..])),
                None => write.remove(table, &row.key[..]),
            }
        }
        let value = [watermark.sequence.to_be_bytes(), watermark.input_next.to_be_bytes()].concat();
        write.insert(&part.watermarks, [WATERMARK_PREFIX, worker.as_bytes()].concat(), value);
        write.commit().map_err(|error| failed("a batch", &error))?;
        written.sequence = sequence;
        written.by_worker.insert(worker, watermark);
        Ok(())
    }

    async fn watermark(&self, worker: &str) -> Result<Option<Watermark>, StoreError> {
        Ok(self.parts.values().find_map(|part| part.written.lock().by_worker.get(worker).copied()))
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        let limit = limit.clamp(1, SCAN_ROWS_MAX);
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_vec()),
            _ => Bound::Included(prefix.to_vec()),
        };
        let mut page = ScanPage::default();
        let range = (start, Bound::Unbounded);
        for row in self.table(table)?.range::<Vec<u8>, _>(range) {
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
            let mut value = &value[..];
            let watermark =
                Watermark { sequence: value.try_get_u64().ok()?, input_next: value.try_get_u64().ok()? };
            value.is_empty().then_some((worker, watermark))
        };
        let (worker, watermark) =
            read().ok_or_else(|| format!("watermark row {} is broken", hex::encode(&key)))?;
        by_worker.insert(worker, watermark);
    }
    Ok(by_worker)
}

/// Many small rows with random keys, many looked up that are not there. Indexes and filters are cut
/// into blocks that come and go through the cache, except those of the newest level: the engine's memory
/// does not grow with the rows.
fn keyspace_options(memtable_bytes: u64) -> KeyspaceCreateOptions {
    let parts = || PartitioningPolicy::new([false, true]);
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .data_block_size_policy(BlockSizePolicy::all(4 << 10))
        .expect_point_read_hits(false)
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0))))
        .index_block_partitioning_policy(parts())
        .filter_block_partitioning_policy(parts())
}
