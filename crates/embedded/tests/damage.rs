//! What a crash or a bad disk does to the files, and that acknowledged records never go silently.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eschaton_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, OpenError, OpenReport, StoreOptions};
use eschaton_ports::{Log, NewRecord, RowChange, Store, StoreBatch, Table, Topic, TopicPartition, Watermark};

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
async fn expect_three(dir: &Path, ends: &[usize], bad: &[u8], what: &str) {
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
    assert!(data_end <= ends[2] || report.cut.is_some(), "{what}: cut without a word");
    assert_eq!(commits(&log).await, 3, "{what}");
    log.append(vec![record(AT, 3), record(DECIDED, 3)]).await.unwrap();
    drop(log);
    let (log, report) = open(dir).unwrap();
    assert_eq!(report.tail_bytes_cut, 0, "{what}: cut once is cut for good");
    assert_eq!(log.end(AT).await.unwrap(), 4, "{what}");
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
    for length in last_commit_start(&whole, &ends)..ends[3] {
        let dir = copy(dir.path());
        expect_three(dir.path(), &ends, &whole[..length], &format!("cut to {length}")).await;
        // As in a journal made large in advance: what was not written is zero.
        if length % 3 == 0 {
            let dir = copy(dir.path());
            let mut padded = whole[..length].to_vec();
            padded.resize(ends[3] + 100_000, 0);
            // The copy was repaired already: put the unrepaired bytes back under a fresh directory.
            drop(dir);
        }
    }
}
