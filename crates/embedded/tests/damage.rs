//! What a crash or a bad disk does to the files, and that acknowledged records never go silently.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eschaton_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, OpenError, OpenReport, StoreOptions};
use eschaton_ports::{
    Family, Log, NewRecord, RowChange, Store, StoreBatch, Table, Topic, TopicPartition, Watermark,
};

const AT: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 0 };
const DECIDED: TopicPartition = TopicPartition { topic: Topic::Decisions, partition: 0 };

fn open(dir: &Path) -> Result<(EmbeddedLog, OpenReport), OpenError> {
    EmbeddedLog::open(dir, &LogOptions::new(1))
}

fn record(to: TopicPartition, n: usize) -> NewRecord {
    let payload = Bytes::from(format!("record {n}"));
    NewRecord { to, at_ms: 1, id: None, trace: None, payload }
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("engine/0.jnl")
}

fn copy(from: &Path) -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&to).unwrap();
                copy_into(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

/// A log of four commits and where each ends in its journal, which has no zeros after them.
async fn four_commits() -> (tempfile::TempDir, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let mut ends = Vec::new();
    for n in 0..4 {
        let (log, report) = open(dir.path()).unwrap();
        assert_eq!((report.tail_bytes_cut, report.cut), (0, None), "a clean close leaves nothing to cut");
        // The last commit has two partitions, and a position of a claim.
        let mut claim = log.claim("g", &[AT]).await.unwrap();
        claim.commit(vec![record(AT, n), record(DECIDED, n)], &[(AT, n as u64)]).await.unwrap();
        drop((claim, log));
        ends.push(fs::read(journal(dir.path())).unwrap().len());
    }
    (dir, ends)
}

/// How many of the four commits are there. Both partitions and the position agree.
async fn commits(log: &EmbeddedLog) -> u64 {
    let end = log.end(AT).await.unwrap();
    assert_eq!(log.end(DECIDED).await.unwrap(), end, "a commit is there in all its partitions or in none");
    for at in [AT, DECIDED] {
        let read = log.read(at, 0, 100, 1 << 20).await.unwrap();
        assert!(read.iter().zip(0..).all(|(record, n)| record.payload == format!("record {n}")));
        assert_eq!(read.len() as u64, end);
    }
    let claim = log.claim("inquiry", &[AT]).await.unwrap();
    drop(claim);
    let claim = log.claim("g", &[AT]).await.unwrap();
    assert_eq!(claim.positions(), [(AT, end - 1)], "positions belong to their commit");
    end
}

/// Opens a damaged copy: three commits are left, the report says so, and the log goes on.
async fn expect_three(dir: &Path, start: usize, bad: &[u8], what: &str) {
    let copy = copy(dir);
    let dir = copy.path();
    fs::write(journal(dir), bad).unwrap();
    let (log, report) = open(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let data_end = bad.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    assert_eq!(report.ends[0], (AT, 3), "{what}");
    match &report.cut {
        Some(cut) => {
            assert_eq!(report.tail_bytes_cut, cut.bytes_before - cut.bytes_after, "{what}");
            assert_eq!(cut.bytes_before, data_end as u64, "{what}");
            let kept = fs::read(&cut.kept).unwrap();
            assert_eq!(kept, bad[usize::try_from(cut.bytes_after).unwrap()..data_end], "{what}");
        }
        None => assert_eq!(report.tail_bytes_cut, 0, "{what}"),
    }
    assert!(data_end <= start || report.cut.is_some(), "{what}: cut without a word");
    assert_eq!(commits(&log).await, 3, "{what}");
    log.append(vec![record(AT, 3), record(DECIDED, 3)]).await.unwrap();
    drop(log);
    let (log, report) = open(dir).unwrap();
    assert_eq!(report.tail_bytes_cut, 0, "{what}: cut once is cut for good");
    assert_eq!(log.end(AT).await.unwrap(), 4, "{what}");
}

/// The engine's sequence number in a batch, which has no checksum. One that still grows changes nothing.
const SEQNO: std::ops::Range<usize> = 5..13;

async fn expect_four_or_refusal(dir: &Path, bad: &[u8], byte: usize) {
    let copy = copy(dir);
    fs::write(journal(copy.path()), bad).unwrap();
    match open(copy.path()) {
        Ok((log, report)) if report.cut.is_none() => assert_eq!(commits(&log).await, 4, "byte {byte}"),
        Ok((log, report)) => assert_eq!((commits(&log).await, report.ends[0]), (3, (AT, 3)), "byte {byte}"),
        Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "byte {byte}: {error}"),
    }
}

/// The last of the four steps writes two batches, a claim and a commit: where the commit begins.
fn last_commit_start(bytes: &[u8], ends: &[usize]) -> usize {
    let trailer = bytes[ends[2]..].windows(4).position(|window| window == b"FJL\x03").unwrap();
    ends[2] + trailer + 4
}

#[tokio::test]
async fn a_commit_cut_short_anywhere_is_dropped_whole() {
    let (dir, ends) = four_commits().await;
    let whole = fs::read(journal(dir.path())).unwrap();
    let start = last_commit_start(&whole, &ends);
    for length in start..ends[3] {
        expect_three(dir.path(), start, &whole[..length], &format!("cut to {length}")).await;
    }
}

#[tokio::test]
async fn a_commit_that_ends_in_zeros_is_dropped_whole() {
    let (dir, ends) = four_commits().await;
    let whole = fs::read(journal(dir.path())).unwrap();
    let start = last_commit_start(&whole, &ends);
    for length in (start..ends[3]).step_by(7) {
        // As in a journal that was made large in advance.
        let mut padded = whole[..length].to_vec();
        padded.resize(ends[3] + 200_000, 0);
        expect_three(dir.path(), start, &padded, &format!("zeros from {length}")).await;
    }
}

#[tokio::test]
async fn a_bit_flipped_in_the_last_commit_is_found() {
    let (dir, ends) = four_commits().await;
    let whole = fs::read(journal(dir.path())).unwrap();
    let start = last_commit_start(&whole, &ends);
    for byte in start..ends[3] {
        let mut bad = whole.clone();
        bad[byte] ^= 1 << (byte % 8);
        if SEQNO.contains(&(byte - start)) {
            expect_four_or_refusal(dir.path(), &bad, byte).await;
        } else {
            expect_three(dir.path(), start, &bad, &format!("bit {} of byte {byte}", byte % 8)).await;
        }
    }
}

#[tokio::test]
async fn a_bit_flipped_in_an_earlier_commit_is_refused() {
    let (dir, ends) = four_commits().await;
    let whole = fs::read(journal(dir.path())).unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for byte in 0..last_commit_start(&whole, &ends) {
        let copy = copy(dir.path());
        let mut bad = whole.clone();
        bad[byte] ^= 1 << (byte % 8);
        fs::write(journal(copy.path()), &bad).unwrap();
        match open(copy.path()) {
            Err(error) => {
                refused += 1;
                assert!(matches!(error, OpenError::Damaged { .. }), "byte {byte}: {error}");
            }
            Ok((log, report)) => {
                harmless += 1;
                assert_eq!((commits(&log).await, report.cut), (4, None), "byte {byte}");
                continue;
            }
        }
        assert_eq!(fs::read(journal(copy.path())).unwrap(), bad, "refusing changes nothing");
    }
    // A sequence number that still grows, in some of the seven batches.
    assert!(harmless < refused / 20, "{harmless} of {refused} went unnoticed");
}

#[tokio::test]
async fn damage_in_a_finished_journal_is_refused() {
    let (dir, ends) = four_commits().await;
    let whole = fs::read(journal(dir.path())).unwrap();
    for bad in [&whole[..ends[3] - 1], &whole[..ends[2]]] {
        let copy = copy(dir.path());
        // A newer journal makes this one finished, whose last commit was synced before.
        let (log, _) = open(copy.path()).unwrap();
        log.append(vec![record(AT, 4)]).await.unwrap();
        drop(log);
        let longer = fs::read(journal(copy.path())).unwrap();
        fs::write(copy.path().join("engine/1.jnl"), &longer[ends[3]..]).unwrap();
        fs::write(journal(copy.path()), &whole).unwrap();
        assert_eq!(open(copy.path()).unwrap().0.end(AT).await.unwrap(), 5, "two journals, both whole");

        fs::write(journal(copy.path()), bad).unwrap();
        let error = open(copy.path()).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (log, report) = open(dir.path()).unwrap();
    assert!(report.created);
    for n in 0..20 {
        log.append(vec![record(AT, n), record(DECIDED, n)]).await.unwrap();
    }
    // The files as they are now, while the log is open: nothing was closed or flushed.
    let killed = copy(dir.path());
    let (survivor, report) = open(killed.path()).unwrap();
    assert_eq!((report.created, report.tail_bytes_cut), (false, 0));
    assert_eq!(survivor.read(DECIDED, 0, 100, 1 << 20).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_lost_partition_is_refused() {
    let (dir, _) = four_commits().await;
    for lost in ["1", "2", "3"] {
        let copy = copy(dir.path());
        fs::remove_file(copy.path().join("engine/keyspaces").join(lost).join("current")).unwrap();
        let error = open(copy.path()).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "keyspace {lost}: {error}");
    }
}

fn batch(n: u64) -> StoreBatch {
    let row = |key: Bytes| RowChange { table: Table::Outputs, key, value: Some(Bytes::from(n.to_string())) };
    let rows = vec![row(Bytes::from("same")), row(Bytes::from(format!("key {n}")))];
    let watermark = Watermark { sequence: n, input_next: n };
    StoreBatch { worker: "w".into(), family: Family::Ledger, watermark, rows }
}

#[tokio::test]
async fn a_store_goes_back_to_the_last_whole_batch() {
    let open = |dir: &Path| EmbeddedStore::open(dir, &StoreOptions::default());
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let store = open(dir.path()).unwrap().0;
    for n in 1..=4 {
        store.apply(batch(n)).await.unwrap();
    }
    drop(store);
    let whole = fs::read(journal(dir.path())).unwrap();
    for byte in (0..whole.len()).step_by(5) {
        let mut flipped = whole.clone();
        flipped[byte] ^= 0x10;
        for bad in [&whole[..byte], &flipped] {
            let copy = copy(dir.path());
            fs::write(journal(copy.path()), bad).unwrap();
            let (store, _) = open(copy.path()).unwrap();
            // However much is left, rows and watermark belong together, and the log's batches fit on.
            let left = store.watermark("w").await.unwrap().map_or(0, |mark| mark.sequence);
            let whole_batches = (byte * 4 / whole.len()) as u64;
            if bad.len() == whole.len() && SEQNO.contains(&(byte % (whole.len() / 4))) {
                assert!(left >= whole_batches, "byte {byte}");
            } else {
                assert_eq!(left, whole_batches, "byte {byte}");
            }
            let keys = ["same", "key 1", "key 2", "key 3", "key 4"].map(Bytes::from);
            let rows = store.get_many(Table::Outputs, &keys).await.unwrap();
            let expected = |n: u64| (n > 0 && n <= left).then(|| Bytes::from(n.to_string()));
            assert_eq!(rows, [left, 1, 2, 3, 4].map(expected), "byte {byte}");
            for n in 1..=5 {
                store.apply(batch(n)).await.unwrap();
            }
            drop(store);
            let (store, cut) = open(copy.path()).unwrap();
            assert_eq!((store.watermark("w").await.unwrap().unwrap().sequence, cut), (5, Vec::new()));
        }
    }
}
