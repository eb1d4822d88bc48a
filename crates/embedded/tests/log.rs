//! The log on real files: the port's suite, and what only this adapter promises.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eschaton_embedded::{EmbeddedLog, LogOptions, OpenError};
use eschaton_ports::conformance::log as suite;
use eschaton_ports::{Log, LogError, NewRecord, Topic, TopicPartition};

const AT: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 1 };

fn open(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(dir, &LogOptions::new(2)).unwrap().0
}

/// Everything read through the disk, nothing from memory but the newest row.
fn open_cold(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(dir, &LogOptions { tail_cache_bytes: 0, ..LogOptions::new(2) }).unwrap().0
}

fn record(payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { to: AT, at_ms: 1, id: None, trace: None, payload: payload.into() }
}

/// A log whose directory goes with it.
struct Temporary(EmbeddedLog, #[expect(dead_code, reason = "held for its drop")] tempfile::TempDir);

#[async_trait::async_trait]
impl Log for Temporary {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<eschaton_ports::Position>, LogError> {
        self.0.append(records).await
    }
    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<eschaton_ports::LogRecord>, LogError> {
        self.0.read(at, from, records, bytes).await
    }
    async fn wait(&self, from: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        self.0.wait(from).await
    }
    async fn end(&self, at: TopicPartition) -> Result<u64, LogError> {
        self.0.end(at).await
    }
    async fn claim(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Box<dyn eschaton_ports::Claim>, LogError> {
        self.0.claim(group, partitions).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    for open in [open, open_cold] {
        suite::run(async || {
            let dir = tempfile::tempdir().unwrap();
            Arc::new(Temporary(open(dir.path()), dir)) as Arc<dyn Log>
        })
        .await;
    }
}

#[tokio::test]
async fn conforms_after_reopening() {
    for open in [open, open_cold] {
        let dir = tempfile::tempdir().unwrap();
        suite::run_reopen(async || Arc::new(open(dir.path())) as Arc<dyn Log>).await;
    }
}

#[tokio::test]
async fn the_shard_count_is_fixed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let error = EmbeddedLog::open(dir.path(), &LogOptions::new(3)).err().unwrap();
    assert!(matches!(error, OpenError::Shards { recorded: 2, asked: 3, .. }), "{error}");
    assert!(error.to_string().contains("has 2 shards, but 3"), "{error}");
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let claim = log.claim("g", &[AT]).await.unwrap();
    let error = EmbeddedLog::open(dir.path(), &LogOptions::new(2)).err().unwrap();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(log);
    // A claim that outlives the log does not hold the directory, and says so.
    let reopened = open(dir.path());
    let mut claim = claim;
    assert!(matches!(claim.commit(Vec::new(), &[]).await, Err(LogError::Unavailable { .. })));
    drop(reopened);
}

#[tokio::test]
async fn a_half_made_log_is_made_again_and_a_lost_header_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    // As if the machine had stopped before the header was written.
    std::fs::remove_file(dir.path().join("header")).unwrap();
    let log = open(dir.path());
    log.append(vec![record("a")]).await.unwrap();
    drop(log);
    std::fs::remove_file(dir.path().join("header")).unwrap();
    let error = EmbeddedLog::open(dir.path(), &LogOptions::new(2)).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn every_flipped_bit_of_the_header_is_found() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("header");
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        let mut bad = whole.clone();
        bad[byte] ^= 1;
        std::fs::write(&path, bad).unwrap();
        assert!(EmbeddedLog::open(dir.path(), &LogOptions::new(2)).is_err(), "byte {byte}");
    }
    std::fs::write(&path, whole).unwrap();
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_position_cannot_go_back_or_beyond_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append(vec![record("a"), record("b")]).await.unwrap();
    let mut claim = log.claim("g", &[AT]).await.unwrap();
    claim.commit(Vec::new(), &[(AT, 1)]).await.unwrap();
    let other = TopicPartition { topic: Topic::Ledger, partition: 0 };
    for advance in [(AT, 0), (AT, 3), (other, 0)] {
        let refused = claim.commit(vec![record("c")], &[advance]).await;
        assert!(matches!(refused, Err(LogError::Invalid { .. })), "{advance:?} gave {refused:?}");
    }
    assert_eq!(log.end(AT).await.unwrap(), 2);
    claim.commit(Vec::new(), &[(AT, 2)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_and_a_slow_reader_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // A write buffer of 1 MiB makes the engine flush and move tables under way.
    let options = LogOptions { tail_cache_bytes: 1 << 20, write_buffer_bytes: 1, ..LogOptions::new(2) };
    let log = Arc::new(EmbeddedLog::open(dir.path(), &options).unwrap().0);
    let writers = (0..4_u8).map(|writer| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for batch in 0..60_u32 {
                let record = |n: u32| {
                    let mut payload = vec![writer; 700];
                    payload[..4].copy_from_slice(&(batch * 50 + n).to_be_bytes());
                    record(payload)
                };
                log.append((0..50).map(record).collect()).await.unwrap();
            }
        })
    });
    let writers = futures::future::join_all(writers);
    let reader = Arc::clone(&log);
    let reader = tokio::spawn(async move {
        let (mut next, mut seen) = (0, [0_u32; 4]);
        while next < 12_000 {
            reader.wait(&[(AT, next)]).await.unwrap();
            for record in reader.read(AT, next, 37, 1 << 20).await.unwrap() {
                assert_eq!(record.offset, next);
                next += 1;
                let writer = usize::from(record.payload[4]);
                let number = u32::from_be_bytes(record.payload[..4].try_into().unwrap());
                assert_eq!(number, seen[writer], "each writer's order is kept");
                seen[writer] += 1;
            }
        }
    });
    for written in writers.await {
        written.unwrap();
    }
    reader.await.unwrap();
    drop(log);
    let log = open_cold(dir.path());
    assert_eq!(log.end(AT).await.unwrap(), 12_000);
    let mut next = 0;
    while next < 12_000 {
        let page = log.read(AT, next, 1000, 1 << 20).await.unwrap();
        assert!(page.iter().map(|record| record.offset).eq(next..next + page.len() as u64));
        next += page.len() as u64;
    }
}
