//! What is known of a commitment: its interval's root, its anchor, its block.

use std::collections::HashMap;

use bytes::Bytes;
use eschaton_driver::WorkerError;
use eschaton_kit::Ports;
use eschaton_ots::tree::Hash;
use eschaton_ots::{CalendarUri, Chain, Op, Timestamp};
use eschaton_timestamp::proof::{self, anchor_path, answer, block_timestamp, interval_path, promise};
use eschaton_timestamp::rows::{
    Place, RootPlace, RowKey, anchor_key, anchorer_key, digest_key, interval_key, root_key, shard_of,
};
use eschaton_timestamp::stamper::interval_row;
use eschaton_timestamp::{Anchor, Anchorer, TimestampError};

use crate::AggregatorConfig;
use crate::stampers::{core_error, get};

/// How far a commitment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Durable; its interval waits for an anchor, or the anchor for a transaction.
    Pending,
    /// An anchor's transaction is on its way.
    Anchoring {
        /// Its newest transaction, internal byte order.
        txid: Hash,
    },
    /// In a block.
    Confirmed {
        /// The transaction, internal byte order.
        txid: Hash,
        /// Blocks on it, its own included.
        confirmations: u64,
        /// Enough of them.
        is_final: bool,
    },
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The timestamp, from what was asked for. With a promise of this node until it is final.
    pub timestamp: Timestamp,
    /// How far it is.
    pub progress: Progress,
}

/// Answers from rows, in any process.
#[derive(Clone)]
pub struct Lookup {
    ports: Ports,
    shards: u32,
    uri: CalendarUri,
    chain: Chain,
    final_blocks: u64,
}

struct Above {
    ops: Vec<Op>,
    /// Of the anchor's root.
    ends: Vec<Timestamp>,
    progress: Progress,
}

impl Lookup {
    /// Promises in the name of `uri`; anchors are on `chain`.
    pub fn new(ports: &Ports, config: &AggregatorConfig, uri: CalendarUri, chain: Chain) -> Self {
        let final_blocks = config.anchorer.final_blocks;
        Self { ports: ports.clone(), shards: config.shards, uri, chain, final_blocks }
    }

    /// Blocks on an anchor that make it final.
    pub fn final_blocks(&self) -> u64 {
        self.final_blocks
    }

    /// What is known of an interval's root; none when no anchor has it.
    ///
    /// # Errors
    /// A store that does not answer, or damaged rows.
    pub async fn root(&self, root: &Hash) -> Result<Option<Known>, WorkerError> {
        let Some(above) = self.above(root).await? else { return Ok(None) };
        self.known(Vec::new(), Some(above)).map(Some)
    }

    /// What is known of a digest as it was submitted; none when it was not.
    ///
    /// # Errors
    /// A store that does not answer, or damaged rows.
    pub async fn digest(&self, digest: &[u8]) -> Result<Option<Known>, WorkerError> {
        let key = digest_key(digest).map_err(core_error)?;
        let mut rows = HashMap::new();
        self.get(vec![key.clone()], &mut rows).await?;
        let Some(row) = rows.get(&key) else { return Ok(None) };
        let place = Place::from_row(&key, row).map_err(core_error)?;
        let shard = shard_of(&key, self.shards);
        self.get(vec![interval_key(shard, place.interval)], &mut rows).await?;
        let interval = match interval_row(shard, place.interval, &|key: &[u8]| rows.get(key).cloned()) {
            // Not closed yet: nothing was promised.
            Err(TimestampError::Open) => return Ok(None),
            other => other.map_err(core_error)?,
        };
        self.get(proof::rows_for_interval_path(shard, place, interval.count), &mut rows).await?;
        let read = |key: &[u8]| rows.get(key).cloned();
        let path = interval_path(digest, shard, place, &read).map_err(core_error)?;
        let above = self.above(&path.root).await?;
        self.known(path.ops, above).map(Some)
    }

    fn known(&self, mut ops: Vec<Op>, above: Option<Above>) -> Result<Known, WorkerError> {
        let promise = promise(&self.uri);
        let Some(above) = above else {
            let timestamp = answer(ops, &[&promise]).map_err(core_error)?;
            return Ok(Known { timestamp, progress: Progress::Pending });
        };
        let last = matches!(above.progress, Progress::Confirmed { is_final: true, .. });
        let mut top = Timestamp::new();
        for end in &above.ends {
            top.merge(end).map_err(|error| core_error(error.into()))?;
        }
        // The promise is of the interval's root, where a client asks for it.
        let mut of_root = if last { Timestamp::new() } else { promise };
        if !top.is_empty() {
            let path = Timestamp::path(above.ops, top).map_err(|error| core_error(error.into()))?;
            of_root.merge(&path).map_err(|error| core_error(error.into()))?;
        }
        let timestamp = answer(std::mem::take(&mut ops), &[&of_root]).map_err(core_error)?;
        Ok(Known { timestamp, progress: above.progress })
    }

    /// From an interval's root up.
    async fn above(&self, root: &Hash) -> Result<Option<Above>, WorkerError> {
        let mut rows = HashMap::new();
        self.get(vec![root_key(root)], &mut rows).await?;
        let Some(row) = rows.get(&root_key(root)) else { return Ok(None) };
        let place = RootPlace::from_row(&root_key(root), row).map_err(core_error)?;
        let key = anchor_key(place.anchor);
        self.get(vec![key.clone(), anchorer_key()], &mut rows).await?;
        let pending = Above { ops: Vec::new(), ends: Vec::new(), progress: Progress::Pending };
        let Some(row) = rows.get(&key) else { return Ok(Some(pending)) };
        let anchor = Anchor::from_row(place.anchor, row).map_err(core_error)?;
        let tip = Anchorer::head_of(rows.get(&anchorer_key())).map_err(core_error)?.tip;
        self.get(proof::rows_for_anchor_path(place, anchor.count), &mut rows).await?;
        let read = |key: &[u8]| rows.get(key).cloned();
        let path = anchor_path(root, place, anchor.count, &read).map_err(core_error)?;
        let mut above = Above { ops: path.ops, ..pending };
        if !anchor.upstream.is_empty() {
            let upstream = Timestamp::from_answer(&anchor.root, &anchor.upstream);
            above.ends.push(upstream.map_err(|error| core_error(error.into()))?);
        }
        if let Some((block, attempt)) = anchor.block.as_ref().zip(anchor.confirmed()) {
            let confirmations = (tip + 1).saturating_sub(block.height).max(1);
            above.progress =
                Progress::Confirmed { txid: block.txid, confirmations, is_final: anchor.is_final };
            if anchor.is_final {
                let of_block = block_timestamp(
                    &anchor.root,
                    &attempt.transaction,
                    &block.branch,
                    self.chain,
                    block.height,
                );
                above.ends.push(of_block.map_err(core_error)?);
            }
        } else if let Some(newest) = anchor.attempts.last() {
            above.progress = Progress::Anchoring { txid: newest.transaction.txid() };
        }
        Ok(Some(above))
    }

    async fn get(&self, keys: Vec<RowKey>, rows: &mut HashMap<RowKey, Bytes>) -> Result<(), WorkerError> {
        get(self.ports.store.as_ref(), keys, rows).await
    }
}
