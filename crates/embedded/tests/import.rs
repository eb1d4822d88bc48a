//! A log that is filled with another one's offsets.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use eschaton_embedded::{EmbeddedLog, LogImport, LogOptions, OpenError};
use eschaton_ports::{Log, LogError, LogRecord, NewRecord, Topic, TopicPartition};

const AT: TopicPartition = TopicPartition { topic: Topic::Changes, partition: 1 };

fn record(offset: u64) -> LogRecord {
    LogRecord { offset, at_ms: 7, id: None, trace: None, payload: Bytes::from(offset.to_string()) }
}

#[tokio::test]
async fn offsets_are_kept_and_the_log_goes_on_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { tail_cache_bytes: 1, ..LogOptions::new(2) };
    let offsets: Vec<u64> = (0..4_000).map(|n| n * 3 + n / 100 * 7 + 5).collect();
    for half in offsets.chunks(2_000) {
        // Opened again it goes on.
        let mut import = LogImport::open(dir.path(), &options).unwrap();
        assert!(matches!(LogImport::open(dir.path(), &options), Err(OpenError::InUse { .. })));
        for part in half.chunks(90) {
            let records: Vec<_> = part.iter().copied().map(record).collect();
            import.put(AT, &records).unwrap();
            assert_eq!(import.end(AT).unwrap(), part.last().unwrap() + 1);
        }
        let last = *half.last().unwrap();
        assert_eq!(import.read(AT, last, 1, 1).unwrap(), [record(last)]);
        assert!(matches!(import.put(AT, &[record(last)]), Err(LogError::Invalid { .. })), "offsets ascend");
    }
    let (log, report) = EmbeddedLog::open(dir.path(), &options).unwrap();
    assert_eq!(report.cut, None);
    let end = offsets.last().unwrap() + 1;
    assert_eq!(log.end(AT).await.unwrap(), end);
    let to = NewRecord { to: AT, at_ms: 1, id: None, trace: None, payload: Bytes::new() };
    assert_eq!(log.append(vec![to.clone(), to]).await.unwrap()[1].offset, end + 1);
    let (mut next, mut found) = (0, Vec::new());
    loop {
        let page = log.read(AT, next, 777, 1 << 20).await.unwrap();
        let Some(last) = page.last() else { break };
        next = last.offset + 1;
        found.extend(page.iter().map(|record| record.offset));
    }
    assert_eq!(found[..4_000], offsets);
    assert_eq!(found[4_000..], [end, end + 1]);
    let mut claim = log.claim("g", &[AT]).await.unwrap();
    claim.commit(Vec::new(), &[(AT, end)]).await.unwrap();
}
