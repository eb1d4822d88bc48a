//! Answers from a closed interval's rows, which follow its record by a moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use eschaton_driver::WorkerError;
use eschaton_timestamp::proof::{ChunkPaths, chunk_of, chunk_paths, rows_for_chunk_paths};
use eschaton_timestamp::rows::interval_key;
use eschaton_timestamp::stamper::interval_row;
use eschaton_timestamp::{TimestampError, rows::RowKey};

use super::rounds::Entry;
use super::{Shared, Stamp};
use crate::stampers::{core_error, get};

/// Between two looks at rows that are not there yet, ms.
const LOOK_EVERY_MS: u64 = 4;

/// A digest and its leaf.
pub(super) struct Leaf {
    pub(super) index: u32,
    pub(super) entry: Entry,
}

/// Answers digests of an interval as soon as its rows are there.
pub(super) fn start(shared: &Arc<Shared>, shard: u32, interval: u64, leaves: Vec<Leaf>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let mut by_chunk: BTreeMap<u32, Vec<Leaf>> = BTreeMap::new();
        for leaf in leaves {
            by_chunk.entry(chunk_of(leaf.index)).or_default().push(leaf);
        }
        let until = shared.ports.clock.now_ms().saturating_add(shared.limits.wait_ms);
        while let Some(mut chunk) = by_chunk.first_entry() {
            match paths(&shared, shard, interval, *chunk.key()).await {
                Ok(paths) => {
                    answer(&shared, &paths, std::mem::take(chunk.get_mut()));
                    chunk.remove();
                    // A large interval must not hold up others.
                    tokio::task::yield_now().await;
                }
                Err(error) if shared.ports.clock.now_ms() >= until => {
                    tracing::warn!(shard, interval, %error, "digests are not answered for want of rows");
                    return;
                }
                Err(_) => shared.ports.clock.sleep_ms(LOOK_EVERY_MS).await,
            }
        }
    });
}

async fn paths(shared: &Shared, shard: u32, interval: u64, chunk: u32) -> Result<ChunkPaths, WorkerError> {
    let mut rows: HashMap<RowKey, Bytes> = HashMap::new();
    let store = shared.ports.store.as_ref();
    get(store, vec![interval_key(shard, interval)], &mut rows).await?;
    let row = interval_row(shard, interval, &|key: &[u8]| rows.get(key).cloned()).map_err(core_error)?;
    get(store, rows_for_chunk_paths(shard, interval, row.count, chunk), &mut rows).await?;
    let read = |key: &[u8]| rows.get(key).cloned();
    chunk_paths(shard, interval, (row.count, &row.root), chunk, &read).map_err(core_error)
}

fn answer(shared: &Shared, paths: &ChunkPaths, leaves: Vec<Leaf>) {
    for Leaf { index, entry } in leaves {
        match paths.timestamp(&entry.digest, index, &shared.end) {
            Ok(timestamp) => {
                let stamp = Stamp { timestamp: timestamp.into(), commitment: paths.root() };
                entry.batch.answer(entry.slot, stamp);
            }
            // Never acknowledged with a proof that does not hold.
            Err(error @ TimestampError::CorruptRow { .. }) => tracing::error!(%error, "a leaf is another's"),
            Err(error) => tracing::error!(%error, "a digest has no answer"),
        }
    }
}
