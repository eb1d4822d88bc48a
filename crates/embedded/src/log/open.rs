use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use eschaton_ports::{Topic, TopicPartition};
use fjall::config::{CompressionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Keyspace, KeyspaceCreateOptions};

use super::committer::{Committer, Owners, read_owners};
use super::layout::Layout;
use super::partition::Partition;
use super::queue::{Poison, Queue};
use super::{EmbeddedLog, Partitions};
use crate::home::{EngineOptions, Home, Kind};
use crate::{JournalCut, OpenError, background, spent_buffers};

/// More shards than this on one machine only cost memory.
const SHARDS_MAX: u32 = 256;
const META: &str = "meta";
/// Positions and owners: little.
const META_MEMTABLE_BYTES: u64 = 4 << 20;

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Shards of the ledger; fixed when the log is made.
    pub shards: u32,
    /// Bytes of newest records kept in memory, all partitions of the ledger's topics together, and as many again for
    /// those of timestamps. Consumers that keep up read from here. Shares its bytes with the write buffer.
    pub tail_cache_bytes: usize,
    /// Bytes of the write buffer (memtables), all partitions of the ledger's topics together, and as many again for
    /// those of timestamps; each at least 1 MiB and at most 16 MiB. Fixed when the log is made. The engine may hold
    /// twice as much while it flushes.
    pub write_buffer_bytes: u64,
    /// Bytes of disk blocks kept in memory, for consumers that catch up.
    pub block_cache_bytes: u64,
    /// About as many bytes of journals are replayed at opening; at least 64 MiB.
    pub journal_bytes_max: u64,
    /// Shortest time between the beginnings of two commits: under load, more requests share a sync and
    /// every consumer wakes less often. A request that finds the log idle is committed at once.
    pub commit_interval: Duration,
}

impl LogOptions {
    /// For about 200 MiB of memory with payments alone, twice as much with as busy timestamps beside them.
    pub fn new(shards: u32) -> Self {
        Self {
            shards,
            tail_cache_bytes: 64 << 20,
            write_buffer_bytes: 128 << 20,
            block_cache_bytes: 16 << 20,
            journal_bytes_max: 256 << 20,
            commit_interval: Duration::from_millis(2),
        }
    }
}

/// What was found at opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// There was no log; this made it.
    pub created: bool,
    /// Bytes cut off the newest journal: a commit that was never acknowledged, or the very last one,
    /// damaged since (see `cut`). 0 if all was whole.
    pub tail_bytes_cut: u64,
    /// What was cut, and where it is kept.
    pub cut: Option<JournalCut>,
    /// Each partition, and the offset that its next record will have.
    pub ends: Vec<(TopicPartition, u64)>,
}

/// A log's directory, checked and ours alone, before anybody writes.
pub(super) struct Opened {
    pub(super) home: Home,
    pub(super) layout: Layout,
    pub(super) meta: Keyspace,
    pub(super) list: Vec<Partition>,
    /// Of the last batch.
    pub(super) sequence: u64,
    pub(super) owners: Owners,
}

impl Opened {
    pub(super) fn new(dir: &Path, options: &LogOptions) -> Result<Self, OpenError> {
        if options.shards == 0 || options.shards > SHARDS_MAX {
            let detail = format!("shards must be 1 to {SHARDS_MAX}, not {}", options.shards);
            return Err(OpenError::Options { dir: dir.to_owned(), detail });
        }
        let kind = Kind::Log { shards: options.shards };
        let engine_options = EngineOptions {
            cache_bytes: options.block_cache_bytes,
            journal_bytes_max: options.journal_bytes_max,
        };
        let home = Home::open(dir, kind, &engine_options)?;
        let layout = Layout::new(options.shards);

        let meta = home.keyspace(META, || keyspace_options(META_MEMTABLE_BYTES))?;
        // One work's idle partitions must not make the other's buffers small: small ones are flushed often, and
        // their tables merged often.
        let mut sharers = BTreeMap::new();
        for at in layout.all() {
            *sharers.entry(since_format(at.topic)).or_insert(0_usize) += 1;
        }
        let mut list = Vec::with_capacity(sharers.values().sum());
        for at in layout.all() {
            let (since, name) = (since_format(at.topic), keyspace_name(at));
            let sharers = sharers.get(&since).copied().unwrap_or(1);
            let memtable_bytes = (options.write_buffer_bytes / sharers as u64).clamp(1 << 20, 16 << 20);
            let tail_bytes = options.tail_cache_bytes / sharers;
            let keyspace = home.keyspace_since(since, &name, || keyspace_options(memtable_bytes))?;
            list.push(Partition::open(at, keyspace, tail_bytes).map_err(|detail| home.damaged(detail))?);
        }
        let sequence = home.seal(&meta)?;
        let owners = read_owners(&meta).map_err(|detail| home.damaged(detail))?;
        check_owners(&owners, &list).map_err(|detail| home.damaged(detail))?;
        Ok(Self { home, layout, meta, list, sequence, owners })
    }
}

pub(super) fn open(dir: &Path, options: &LogOptions) -> Result<(EmbeddedLog, OpenReport), OpenError> {
    // A flush that competes with the committer's thread is a payment's longest wait.
    let opened = background::opening(|| Opened::new(dir, options));
    let opened = opened.map_err(OpenError::io(dir, "start the engine of"))??;
    let Opened { home, layout, meta, list, sequence, owners } = opened;
    let Home { dir, db, mark, scan, created, lock, .. } = home;
    let ends: Vec<(TopicPartition, u64)> =
        list.iter().map(|partition| (partition.at, partition.end())).collect();
    let report = OpenReport {
        created,
        tail_bytes_cut: scan.cut.as_ref().map_or(0, |cut| cut.bytes_before - cut.bytes_after),
        cut: scan.cut,
        ends,
    };
    let buffers = list.iter().map(|partition| partition.keyspace.clone());
    let spent_buffers =
        spent_buffers::free("log", buffers).map_err(OpenError::io(&dir, "start a thread for"))?;
    let poison = Poison::default();
    let partitions = Arc::new(Partitions { layout, list, poison: poison.clone() });
    let (queue, requests) = Queue::new(poison);
    let closing = Arc::new(AtomicBool::new(false));
    let committer = Committer {
        commit_interval: options.commit_interval,
        db,
        meta,
        partitions: Arc::clone(&partitions),
        mark,
        sequence,
        epoch: owners.values().map(|owner| owner.epoch).max().unwrap_or(0),
        ends: report.ends.iter().map(|(_, end)| *end).collect(),
        owners,
        requests,
        closing: Arc::clone(&closing),
    };
    let committer = thread::Builder::new()
        .name("log-committer".to_owned())
        .spawn(move || committer.run())
        .map_err(OpenError::io(&dir, "start the committer of"))?;
    let committer = Some(committer);
    let log =
        EmbeddedLog { queue, partitions, closing, committer, _spent_buffers: spent_buffers, _lock: lock };
    Ok((log, report))
}

/// A position beyond its partition's end was consumed from records that are no longer there.
fn check_owners(owners: &Owners, list: &[Partition]) -> Result<(), String> {
    for ((group, number), owner) in owners {
        let end = list.get(*number).map_or(0, Partition::end);
        if owner.next > end {
            return Err(format!(
                "group {group} stands at {} of partition {number}, which ends at {end}",
                owner.next
            ));
        }
    }
    Ok(())
}

/// The format of the first directories that had a topic; older ones get its partitions when they are opened.
fn since_format(topic: Topic) -> u32 {
    match topic {
        Topic::Ledger | Topic::Decisions | Topic::Changes | Topic::Checkpoints => 1,
        Topic::Stamps
        | Topic::Stamped
        | Topic::StampChanges
        | Topic::Anchors
        | Topic::AnchorEvents
        | Topic::AnchorChanges => 2,
    }
}

fn keyspace_name(at: TopicPartition) -> String {
    format!("{}-{}", at.topic.name(), at.partition)
}

/// Rows are written once, in key order, and found by range: no filters; nothing compresses.
fn keyspace_options(memtable_bytes: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::None))
        .data_block_compression_policy(CompressionPolicy::disabled())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use eschaton_ports::{Log, NewRecord};

    use super::*;

    fn record(to: TopicPartition) -> NewRecord {
        NewRecord { to, at_ms: 1, id: None, trace: None, payload: Bytes::from("record") }
    }

    /// Makes a directory as programs did before there were timestamps.
    fn old(dir: &Path, without: Option<TopicPartition>) {
        let engine = EngineOptions { cache_bytes: 1 << 20, journal_bytes_max: 64 << 20 };
        let home = Home::open(dir, Kind::Log { shards: 2 }, &engine).unwrap();
        home.keyspace(META, || keyspace_options(1 << 20)).unwrap();
        let topics = Layout::new(2).all().filter(|at| since_format(at.topic) == 1 && Some(*at) != without);
        for at in topics {
            home.keyspace(&keyspace_name(at), || keyspace_options(1 << 20)).unwrap();
        }
        home.seal_as(1).unwrap();
    }

    #[tokio::test]
    async fn a_directory_from_before_timestamps_gets_their_partitions() {
        let dir = tempfile::tempdir().unwrap();
        old(dir.path(), None);
        let stamps = TopicPartition { topic: Topic::Stamps, partition: 1 };
        for count in 1..3 {
            let (log, report) = open(dir.path(), &LogOptions::new(2)).unwrap();
            assert!(!report.created);
            log.append(vec![record(stamps)]).await.unwrap();
            assert_eq!(log.end(stamps).await.unwrap(), count);
        }
        let header = std::fs::read_to_string(dir.path().join("header")).unwrap();
        assert!(header.contains("\nformat 2\n"), "{header}");
    }

    #[test]
    fn what_an_older_directory_should_have_is_still_missed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = TopicPartition { topic: Topic::Ledger, partition: 1 };
        old(dir.path(), Some(ledger));
        let refused = open(dir.path(), &LogOptions::new(2)).map(drop).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Damaged { detail, .. } if detail.contains("ledger-1")),
            "{refused}"
        );
    }
}
