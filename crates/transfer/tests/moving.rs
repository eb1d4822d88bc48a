//! A log goes into files and into another log, whole or in pieces, and damage on the way is named.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_embedded::{EmbeddedLog, LogImport, LogOptions};
use eschaton_ports::{Log, LogRecord, NewRecord, Topic, TopicPartition};
use eschaton_transfer::{
    Appending, FileEntry, Ledger, MANIFEST, Manifest, State, Target, TransferError, export_partition,
    file_name, import_partition, positions, set_positions, verify_file,
};

const AT: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 0 };
const RECORDS: u64 = 40;

struct Filling(LogImport);

#[async_trait]
impl Target for Filling {
    async fn end(&mut self, at: TopicPartition) -> Result<u64, TransferError> {
        Ok(self.0.end(at)?)
    }
    async fn record(&mut self, at: TopicPartition, offset: u64) -> Result<Option<LogRecord>, TransferError> {
        Ok(self.0.read(at, offset, 1, 1)?.into_iter().next())
    }
    async fn put(&mut self, at: TopicPartition, records: Vec<LogRecord>) -> Result<(), TransferError> {
        Ok(self.0.put(at, &records)?)
    }
}

fn open(dir: &Path) -> Arc<dyn Log> {
    Arc::new(EmbeddedLog::open(dir, &LogOptions::new(1)).unwrap().0)
}

/// A log of large records, so that its file has many frames.
async fn source(dir: &Path, salt: u64) -> Arc<dyn Log> {
    let log = open(dir);
    for n in 0..RECORDS {
        let payload = Bytes::from(vec![u8::try_from(n + salt).unwrap(); 200_000]);
        log.append(vec![NewRecord { to: AT, at_ms: n, id: None, trace: None, payload }]).await.unwrap();
    }
    log
}

/// A log with gaps.
fn with_gaps(dir: &Path) -> Vec<LogRecord> {
    let mut target = LogImport::open(dir, &LogOptions::new(1)).unwrap();
    let record = |n: u64| LogRecord {
        offset: n * 2 + n / 5 * 3,
        at_ms: n,
        id: None,
        trace: None,
        payload: Bytes::from(vec![3; 100_000]),
    };
    let records: Vec<_> = (0..RECORDS).map(record).collect();
    for part in records.chunks(7) {
        target.put(AT, part).unwrap();
    }
    records
}

/// Ends a step after so many calls.
fn after(mut calls: u32) -> impl FnMut(u64) -> Result<(), TransferError> + Send {
    move |_| {
        calls = calls.checked_sub(1).ok_or(TransferError::Stopped)?;
        Ok(())
    }
}

async fn export(log: &dyn Log, to: &Path, calls: u32) -> Result<FileEntry, TransferError> {
    let end = log.end(AT).await?;
    export_partition(log, AT, end, to, &mut after(calls)).await
}

async fn all(log: &dyn Log) -> Vec<LogRecord> {
    let mut records = Vec::new();
    loop {
        let next = records.last().map_or(0, |record: &LogRecord| record.offset + 1);
        let page = log.read(AT, next, 1_000, 1 << 20).await.unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

#[tokio::test]
async fn interrupted_exports_and_imports_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (one, whole, pieces) = (dir.path().join("one"), dir.path().join("whole"), dir.path().join("pieces"));
    for made in [&whole, &pieces] {
        fs::create_dir(made).unwrap();
    }
    let log = source(&one, 0).await;
    let entry = export(log.as_ref(), &whole, u32::MAX).await.unwrap();
    assert_eq!((entry.records, entry.end, entry.has_gaps()), (RECORDS, RECORDS, false));

    assert!(matches!(export(log.as_ref(), &pieces, 2).await, Err(TransferError::Stopped)));
    let file = pieces.join(file_name(AT));
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.len() > 1_000_000 && bytes.len() < 5_000_000, "{}", bytes.len());
    // Cut anywhere, also in the head, or with rubbish at its end.
    for cut in [0, 5, 17, 20, 500_000, bytes.len() - 1] {
        fs::write(&file, &bytes[..cut]).unwrap();
        assert_eq!(export(log.as_ref(), &pieces, u32::MAX).await.unwrap(), entry, "cut to {cut}");
    }
    fs::write(&file, [&bytes[..], &[7; 100]].concat()).unwrap();
    assert_eq!(export(log.as_ref(), &pieces, u32::MAX).await.unwrap(), entry);
    assert_eq!(export(log.as_ref(), &pieces, u32::MAX).await.unwrap(), entry, "nothing left to do");

    for (name, filling) in [("filled", true), ("appended", false)] {
        let to = dir.path().join(name);
        for calls in [2, 1, 3, u32::MAX] {
            let mut target: Box<dyn Target> = match filling {
                true => Box::new(Filling(LogImport::open(&to, &LogOptions::new(1)).unwrap())),
                false => Box::new(Appending(open(&to))),
            };
            let done = import_partition(target.as_mut(), AT, &entry, &whole, &mut after(calls)).await;
            assert_eq!(done.is_ok(), calls == u32::MAX, "{name} {done:?}");
        }
        assert_eq!(all(open(&to).as_ref()).await, all(log.as_ref()).await, "{name}");
    }
}

#[tokio::test]
async fn gaps_are_kept_by_one_that_fills_and_refused_by_one_that_appends() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to, files) = (dir.path().join("from"), dir.path().join("to"), dir.path().join("files"));
    fs::create_dir(&files).unwrap();
    let records = with_gaps(&from);
    let log = open(&from);
    assert_eq!(all(log.as_ref()).await, records);
    let entry = export(log.as_ref(), &files, u32::MAX).await.unwrap();
    assert!(entry.has_gaps());
    for calls in [1, 2, u32::MAX] {
        let mut target = Filling(LogImport::open(&to, &LogOptions::new(1)).unwrap());
        let _ = import_partition(&mut target, AT, &entry, &files, &mut after(calls)).await;
    }
    assert_eq!(all(open(&to).as_ref()).await, records);
    let mut appending = Appending(open(&dir.path().join("third")));
    let refused = import_partition(&mut appending, AT, &entry, &files, &mut after(u32::MAX)).await;
    assert!(refused.unwrap_err().to_string().contains("gave offset"));
}

#[tokio::test]
async fn another_log_is_refused_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    let (log, other) = (source(&dir.path().join("one"), 0).await, source(&dir.path().join("two"), 1).await);
    let entry = export(log.as_ref(), &files, u32::MAX).await.unwrap();
    let refused = export(other.as_ref(), &files, u32::MAX).await.unwrap_err().to_string();
    assert!(refused.contains("another log"), "{refused}");
    let mut target = Appending(other.clone());
    let refused = import_partition(&mut target, AT, &entry, &files, &mut after(9)).await.unwrap_err();
    assert!(refused.to_string().contains("another record"), "{refused}");
    other
        .append(vec![NewRecord { to: AT, at_ms: 0, id: None, trace: None, payload: Bytes::new() }])
        .await
        .unwrap();
    let refused = import_partition(&mut target, AT, &entry, &files, &mut after(9)).await.unwrap_err();
    assert!(refused.to_string().contains("holds something else"), "{refused}");
}

#[tokio::test]
async fn damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = source(&dir.path().join("log"), 0).await;
    let entry = export(log.as_ref(), dir.path(), u32::MAX).await.unwrap();
    let file = dir.path().join(&entry.name);
    let bytes = fs::read(&file).unwrap();
    verify_file(dir.path(), &entry, &mut after(u32::MAX)).unwrap();
    for at in [3, 30, 4_000_000, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        fs::write(&file, &bad).unwrap();
        let error = verify_file(dir.path(), &entry, &mut after(u32::MAX)).unwrap_err().to_string();
        assert!(error.contains("ledger-0.log is damaged"), "{error}");
        let mut target = Appending(open(&dir.path().join(format!("to-{at}"))));
        let error =
            import_partition(&mut target, AT, &entry, dir.path(), &mut after(u32::MAX)).await.unwrap_err();
        assert!(error.to_string().contains("ledger-0.log is damaged"), "{error}");
    }
    fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    assert!(verify_file(dir.path(), &entry, &mut after(9)).unwrap_err().to_string().contains("bytes"));
}

#[tokio::test]
async fn positions_go_along() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (source(&dir.path().join("one"), 0).await, source(&dir.path().join("two"), 0).await);
    let claims = [("readers", vec![AT])];
    one.claim("readers", &[AT]).await.unwrap().commit(Vec::new(), &[(AT, 17)]).await.unwrap();
    let found = positions(one.as_ref(), &claims).await.unwrap();
    for _ in 0..2 {
        set_positions(two.as_ref(), &claims, &found).await.unwrap();
        assert_eq!(positions(two.as_ref(), &claims).await.unwrap(), found);
    }
    two.claim("readers", &[AT]).await.unwrap().commit(Vec::new(), &[(AT, 18)]).await.unwrap();
    assert!(
        set_positions(two.as_ref(), &claims, &found).await.unwrap_err().to_string().contains("stands at 18")
    );
}

#[test]
fn a_manifest_comes_back_and_knows_its_format() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Manifest::read(dir.path()).unwrap(), None);
    let text = |text: &str| text.to_owned();
    let files = Manifest::partitions(1)
        .map(|at| FileEntry {
            name: file_name(at),
            topic: at.topic.number(),
            partition: at.partition,
            records: 0,
            end: 0,
            bytes: 17,
            blake3: text("00"),
        })
        .collect();
    let ledger = Ledger { network: text("dev"), shards: 1, origin: text("o"), verifier_key: text("k") };
    let state = State { rows: 0, hash: text("1"), runs: text("rows.txt"), runs_blake3: text("2") };
    let manifest = Manifest { format: 1, ledger, files, positions: Vec::new(), state };
    manifest.write(dir.path()).unwrap();
    assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest));
    let path = dir.path().join(MANIFEST);
    let whole = fs::read_to_string(&path).unwrap();
    for (from, to, said) in [
        ("\"shards\": 1", "\"shards\": 2", "check sum"),
        ("\"format\": 1", "\"format\": 2", "format 2"),
        ("ledger-0.log", "ledger-9.log", "check sum"),
        ("\"rows\": 0", "\"lines\": 0", "lines"),
        ("{", "", "damaged"),
    ] {
        fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        let error = Manifest::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(said), "{from}: {error}");
    }
}
