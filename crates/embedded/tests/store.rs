//! The store on real files: the port's suite, and what only this adapter promises.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;
use eschaton_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, OpenError, StoreOptions};
use eschaton_ports::conformance::store as suite;
use eschaton_ports::{Family, RowChange, SCAN_ROWS_MAX, Store, StoreBatch, StoreError, Table, Watermark};
use parking_lot::Mutex;

#[tokio::test]
async fn conforms() {
    let dirs = Mutex::new(Vec::new());
    suite::run(async || {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap().0;
        dirs.lock().push(dir);
        Arc::new(store) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn conforms_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    suite::run_reopen(async || {
        Arc::new(EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap().0) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_directory_has_one_owner_and_one_kind() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap();
    let error = EmbeddedStore::open(dir.path(), &StoreOptions::default()).err().unwrap();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(store);
    let error = EmbeddedLog::open(dir.path(), &LogOptions::new(1)).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_store_of_another_format_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap());
    let header = dir.path().join("header");
    let written = std::fs::read_to_string(&header).unwrap();
    for (format, advice) in [("1", "delete the directory and start again"), ("3", "use a newer program")] {
        let other = written.replace("\nformat 2\n", &format!("\nformat {format}\n"));
        assert_ne!(other, written);
        std::fs::write(&header, other).unwrap();
        let error = EmbeddedStore::open(dir.path(), &StoreOptions::default()).err().unwrap();
        assert!(matches!(error, OpenError::Foreign { .. }) && error.to_string().contains(advice), "{error}");
    }
}

/// Large tables are cut by their keys' first byte.
#[tokio::test]
async fn a_scan_gives_all_rows_in_key_order_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap().0;
    let keys: Vec<Bytes> =
        (0..=255_u8).flat_map(|first| [0, 9].map(|second| vec![first, second].into())).collect();
    let rows = keys.iter().rev().map(|key| RowChange {
        table: Table::Outputs,
        key: key.clone(),
        value: Some(key.clone()),
    });
    let watermark = Watermark { sequence: 1, input_next: 1 };
    let batch = StoreBatch { worker: "w".into(), family: Family::Ledger, watermark, rows: rows.collect() };
    store.apply(batch).await.unwrap();
    for limit in [1, 7, 64, 1_000] {
        let (mut found, mut after) = (Vec::new(), None::<Bytes>);
        loop {
            let page = store.scan(Table::Outputs, b"", after.as_deref(), limit).await.unwrap();
            found.extend(page.rows.into_iter().map(|(key, _)| key));
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert_eq!(found, keys, "{limit} rows a page");
    }
    let page = store.scan(Table::Outputs, &[0x7f], None, 10).await.unwrap();
    assert_eq!(page.rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), keys[254..256]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_write_at_once_while_tables_are_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { cache_bytes: 1 << 20, write_buffer_bytes: 1 << 20 };
    let store = Arc::new(EmbeddedStore::open(dir.path(), &options).unwrap().0);
    let key = |worker: u32, n: u64| Bytes::from([&worker.to_be_bytes()[..], &n.to_be_bytes()].concat());
    let workers = (0..4_u32).map(|worker| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for sequence in 1..=100_u64 {
                let value = Some(Bytes::from(vec![1; 150]));
                let rows = (0..100)
                    .map(|n| RowChange {
                        table: Table::Outputs,
                        key: key(worker, sequence * 100 + n),
                        value: value.clone(),
                    })
                    .chain([RowChange { table: Table::Outputs, key: key(worker, sequence), value: None }])
                    .collect();
                let watermark = Watermark { sequence, input_next: sequence };
                store
                    .apply(StoreBatch { worker: worker.to_string(), family: Family::Ledger, watermark, rows })
                    .await
                    .unwrap();
            }
        })
    });
    for worker in futures::future::join_all(workers).await {
        worker.unwrap();
    }
    store.flush().await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path(), &options).unwrap().0;
    for worker in 0..4_u32 {
        let page = store.scan(Table::Outputs, &worker.to_be_bytes(), None, SCAN_ROWS_MAX + 1).await.unwrap();
        // Keys 100 to 10099, of which the last batch deleted the first.
        assert_eq!((page.rows.len(), page.next), (SCAN_ROWS_MAX - 1, None));
        assert_eq!(store.watermark(&worker.to_string()).await.unwrap().unwrap().sequence, 100);
    }
}

#[tokio::test]
async fn an_impossible_key_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap().0;
    for key in [Bytes::new(), Bytes::from(vec![0; 65_536])] {
        let row = |key| RowChange { table: Table::Trees, key, value: Some(Bytes::from("v")) };
        let rows = vec![row(Bytes::from("good")), row(key)];
        let watermark = Watermark { sequence: 1, input_next: 1 };
        let batch = StoreBatch { worker: "w".into(), family: Family::Trees, watermark, rows };
        let refused = store.apply(batch).await;
        assert!(matches!(refused, Err(StoreError::Fatal { .. })), "{refused:?}");
        assert_eq!(store.watermark("w").await.unwrap(), None);
        assert_eq!(store.get_many(Table::Trees, &[Bytes::from("good")]).await.unwrap(), [None]);
    }
}
