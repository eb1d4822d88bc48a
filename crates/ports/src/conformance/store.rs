//! What every store promises.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::poll;

use super::{Case, cases, run_cases};
use crate::{Family, Row, RowChange, Store, StoreBatch, StoreError, Table, Watermark};

/// Runs the suite; `make` gives an empty store.
pub async fn run(make: impl AsyncFn() -> Arc<dyn Store>) {
    run_cases(&all(), make).await;
}

/// The suite's cases, for engines that need to run them apart.
pub fn all() -> [Case<Arc<dyn Store>>; 14] {
    cases![
        get_many_keeps_order_and_says_what_is_missing,
        tables_are_apart,
        the_last_of_several_changes_counts,
        a_delete_removes_and_may_come_first,
        a_late_or_repeated_batch_changes_nothing,
        watermarks_are_per_worker,
        a_batch_without_rows_moves_the_watermark,
        scan_gives_the_prefix_in_order,
        scan_pages_cover_everything_once,
        scan_takes_prefixes_of_all_ones_and_none,
        scan_starts_after_a_key_that_need_not_exist,
        large_values_and_many_rows_come_back,
        a_row_of_another_family_is_refused_whole,
        trees_between_two_equal_watermarks_are_of_one_batch,
    ]
}

/// What was flushed survives closing and opening again. `open` opens the same store each time; the
/// suite drops its handle before the next call.
pub async fn run_reopen(open: impl AsyncFn() -> Arc<dyn Store>) {
    let store = open().await;
    store.apply(batch("a", 1, &[(b"k", Some(b"one")), (b"gone", Some(b"x"))])).await.unwrap();
    store.apply(batch("a", 2, &[(b"k", Some(b"two")), (b"gone", None)])).await.unwrap();
    store.apply(batch("b", 9, &[(b"other", Some(b"three"))])).await.unwrap();
    store.flush().await.unwrap();
    drop(store);

    let store = open().await;
    let expected = [Some("two"), None, Some("three")].map(|value| value.map(Bytes::from));
    assert_eq!(get(&*store, &[b"k", b"gone", b"other"]).await, expected);
    assert_eq!(store.watermark("a").await.unwrap(), Some(mark(2)));
    assert_eq!(store.watermark("b").await.unwrap(), Some(mark(9)));
    store.apply(batch("a", 2, &[(b"k", Some(b"late"))])).await.unwrap();
    assert_eq!(get(&*store, &[b"k"]).await, [Some(Bytes::from("two"))], "late batches stay late");
    store.apply(batch("a", 3, &[(b"k", Some(b"four"))])).await.unwrap();
    assert_eq!(get(&*store, &[b"k"]).await, [Some(Bytes::from("four"))]);
}

fn mark(sequence: u64) -> Watermark {
    Watermark { sequence, input_next: sequence * 10 }
}

fn change(table: Table, key: &[u8], value: Option<&[u8]>) -> RowChange {
    RowChange { table, key: Bytes::copy_from_slice(key), value: value.map(Bytes::copy_from_slice) }
}

fn batch(worker: &str, sequence: u64, rows: &[(&[u8], Option<&[u8]>)]) -> StoreBatch {
    let rows = rows.iter().map(|(key, value)| change(Table::Outputs, key, *value)).collect();
    StoreBatch { worker: worker.to_owned(), family: Family::Ledger, watermark: mark(sequence), rows }
}

async fn get(store: &dyn Store, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
    let keys: Vec<Bytes> = keys.iter().map(|key| Bytes::copy_from_slice(key)).collect();
    store.get_many(Table::Outputs, &keys).await.unwrap()
}

async fn scan_all(store: &dyn Store, prefix: &[u8], limit: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut after: Option<Bytes> = None;
    loop {
        let page = store.scan(Table::Outputs, prefix, after.as_deref(), limit).await.unwrap();
        assert!(page.rows.len() <= limit, "a page holds at most {limit} rows, not {}", page.rows.len());
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return rows,
        }
    }
}

fn keys(rows: &[Row]) -> Vec<&[u8]> {
    rows.iter().map(|(key, _)| &key[..]).collect()
}

async fn put(store: &dyn Store, keys: &[&[u8]]) {
    let rows: Vec<(&[u8], Option<&[u8]>)> = keys.iter().map(|key| (*key, Some(*key))).collect();
    store.apply(batch("w", 1, &rows)).await.unwrap();
}

async fn get_many_keeps_order_and_says_what_is_missing(store: Arc<dyn Store>) {
    put(&*store, &[b"a", b"b", b"c"]).await;
    let found = get(&*store, &[b"c", b"x", b"a", b"a", b"b", b"aa"]).await;
    let expected = [Some("c"), None, Some("a"), Some("a"), Some("b"), None];
    assert_eq!(found, expected.map(|value| value.map(Bytes::from)));
    assert!(get(&*store, &[]).await.is_empty());
}

async fn tables_are_apart(store: Arc<dyn Store>) {
    for family in Family::ALL {
        let rows = Table::ALL
            .into_iter()
            .filter(|table| table.family() == family)
            .map(|table| change(table, b"same", Some(table.name().as_bytes())))
            .collect();
        let worker = format!("w-{}", family.name());
        store.apply(StoreBatch { worker, family, watermark: mark(1), rows }).await.unwrap();
    }
    for table in Table::ALL {
        let found = store.get_many(table, &[Bytes::from("same")]).await.unwrap();
        assert_eq!(found, [Some(Bytes::from(table.name()))]);
    }
}

async fn the_last_of_several_changes_counts(store: Arc<dyn Store>) {
    let rows: [(&[u8], Option<&[u8]>); 6] = [
        (b"a", Some(b"1")),
        (b"b", Some(b"1")),
        (b"a", None),
        (b"b", None),
        (b"a", Some(b"2")),
        (b"c", Some(b"")),
    ];
    store.apply(batch("w", 1, &rows)).await.unwrap();
    let expected = [Some(Bytes::from("2")), None, Some(Bytes::new())];
    assert_eq!(get(&*store, &[b"a", b"b", b"c"]).await, expected);
}

async fn a_delete_removes_and_may_come_first(store: Arc<dyn Store>) {
    store.apply(batch("w", 1, &[(b"never", None), (b"a", Some(b"1"))])).await.unwrap();
    store.apply(batch("w", 2, &[(b"a", None)])).await.unwrap();
    assert_eq!(get(&*store, &[b"a", b"never"]).await, [None, None]);
    assert!(scan_all(&*store, b"", 10).await.is_empty());
    store.apply(batch("w", 3, &[(b"a", Some(b"again"))])).await.unwrap();
    assert_eq!(get(&*store, &[b"a"]).await, [Some(Bytes::from("again"))]);
}

async fn a_late_or_repeated_batch_changes_nothing(store: Arc<dyn Store>) {
    store.apply(batch("w", 5, &[(b"a", Some(b"five"))])).await.unwrap();
    store.apply(batch("w", 5, &[(b"a", Some(b"five"))])).await.unwrap();
    store.apply(batch("w", 4, &[(b"a", Some(b"four"))])).await.unwrap();
    store.apply(batch("w", 3, &[(b"a", None)])).await.unwrap();
    assert_eq!(get(&*store, &[b"a"]).await, [Some(Bytes::from("five"))]);
    assert_eq!(store.watermark("w").await.unwrap(), Some(mark(5)));
}

async fn watermarks_are_per_worker(store: Arc<dyn Store>) {
    assert_eq!(store.watermark("one").await.unwrap(), None);
    store.apply(batch("one", 7, &[(b"a", Some(b"1"))])).await.unwrap();
    store.apply(batch("two", 3, &[(b"b", Some(b"2"))])).await.unwrap();
    assert_eq!(store.watermark("one").await.unwrap(), Some(mark(7)));
    assert_eq!(store.watermark("two").await.unwrap(), Some(mark(3)));
    assert_eq!(store.watermark("three").await.unwrap(), None);
    let expected = ["1", "2"].map(|value| Some(Bytes::from(value)));
    assert_eq!(get(&*store, &[b"a", b"b"]).await, expected);
}

async fn a_batch_without_rows_moves_the_watermark(store: Arc<dyn Store>) {
    store.apply(batch("w", 2, &[])).await.unwrap();
    assert_eq!(store.watermark("w").await.unwrap(), Some(mark(2)));
    store.apply(batch("w", 1, &[(b"a", Some(b"late"))])).await.unwrap();
    assert_eq!(get(&*store, &[b"a"]).await, [None]);
}

async fn scan_gives_the_prefix_in_order(store: Arc<dyn Store>) {
    put(&*store, &[b"ab", b"b", b"a", b"abc\xff", b"ac", b"abc"]).await;
    let rows = scan_all(&*store, b"ab", 100).await;
    assert_eq!(keys(&rows), [&b"ab"[..], b"abc", b"abc\xff"]);
    assert!(rows.iter().all(|(key, value)| key == value));
    assert!(scan_all(&*store, b"x", 100).await.is_empty());
}

async fn scan_pages_cover_everything_once(store: Arc<dyn Store>) {
    let names: Vec<String> = (0..25).map(|n| format!("p{n:02}")).collect();
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    put(&*store, &names).await;
    for limit in [1, 5, 24, 25, 26] {
        assert_eq!(keys(&scan_all(&*store, b"p", limit).await), names, "limit {limit}");
    }
    let page = store.scan(Table::Outputs, b"p", None, 25).await.unwrap();
    assert_eq!(page.rows.len(), 25);
    if let Some(next) = page.next {
        let rest = store.scan(Table::Outputs, b"p", Some(&next), 25).await.unwrap();
        assert!(rest.rows.is_empty() && rest.next.is_none());
    }
}

async fn scan_takes_prefixes_of_all_ones_and_none(store: Arc<dyn Store>) {
    put(&*store, &[b"\x00", b"a", b"\xff", b"\xff\xff", b"\xff\xff\x01", b"\xfe"]).await;
    assert_eq!(keys(&scan_all(&*store, b"\xff", 2).await), [&b"\xff"[..], b"\xff\xff", b"\xff\xff\x01"]);
    assert_eq!(keys(&scan_all(&*store, b"\xff\xff", 2).await), [&b"\xff\xff"[..], b"\xff\xff\x01"]);
    assert_eq!(scan_all(&*store, b"", 2).await.len(), 6);
}

async fn scan_starts_after_a_key_that_need_not_exist(store: Arc<dyn Store>) {
    put(&*store, &[b"k1", b"k3", b"k5", b"m"]).await;
    for (after, expected) in [
        (&b"k3"[..], vec![&b"k5"[..]]),
        (b"k2", vec![b"k3", b"k5"]),
        (b"k5", vec![]),
        (b"l", vec![]),
        (b"a", vec![b"k1", b"k3", b"k5"]),
    ] {
        let page = store.scan(Table::Outputs, b"k", Some(after), 10).await.unwrap();
        assert_eq!(keys(&page.rows), expected, "after {after:?}");
    }
}

async fn large_values_and_many_rows_come_back(store: Arc<dyn Store>) {
    let large = vec![7_u8; 1 << 20];
    let names: Vec<Bytes> = (0_u32..5000).map(|n| Bytes::copy_from_slice(&n.to_be_bytes())).collect();
    let mut rows: Vec<RowChange> = names.iter().map(|key| change(Table::Trees, key, Some(key))).collect();
    rows.push(change(Table::Trees, b"large", Some(&large)));
    let batch = StoreBatch { worker: "w".into(), family: Family::Trees, watermark: mark(1), rows };
    store.apply(batch).await.unwrap();
    let found = store.get_many(Table::Trees, &names).await.unwrap();
    assert!(found.iter().zip(&names).all(|(value, key)| value.as_ref() == Some(key)));
    let found = store.get_many(Table::Trees, &[Bytes::from("large")]).await.unwrap();
    assert_eq!(found, [Some(Bytes::from(large))]);
}

async fn a_row_of_another_family_is_refused_whole(store: Arc<dyn Store>) {
    let rows = vec![change(Table::Outputs, b"a", Some(b"1")), change(Table::Trees, b"b", Some(b"2"))];
    for family in Family::ALL {
        let batch = StoreBatch { worker: "w".into(), family, watermark: mark(1), rows: rows.clone() };
        let refused = store.apply(batch).await;
        assert!(matches!(refused, Err(StoreError::Fatal { .. })), "{refused:?}");
    }
    assert_eq!(store.watermark("w").await.unwrap(), None);
    assert_eq!(get(&*store, &[b"a"]).await, [None]);
    assert_eq!(store.get_many(Table::Trees, &[Bytes::from("b")]).await.unwrap(), [None]);
}

async fn trees_between_two_equal_watermarks_are_of_one_batch(store: Arc<dyn Store>) {
    let names: Vec<Bytes> = (0..24_u8).map(|name| Bytes::from(vec![b'M', name.wrapping_mul(101)])).collect();
    let batch = |sequence: u64| StoreBatch {
        worker: "w".into(),
        family: Family::Trees,
        watermark: mark(sequence),
        rows: names.iter().map(|key| change(Table::Trees, key, Some(&sequence.to_be_bytes()))).collect(),
    };
    store.apply(batch(1)).await.unwrap();
    for sequence in 2..40 {
        // A writer that ends in the middle, sooner or later.
        let mut writing = store.apply(batch(sequence));
        for _ in 0..sequence {
            if poll!(&mut writing).is_ready() {
                break;
            }
            pause().await;
        }
        drop(writing);
        let before = store.watermark("w").await.unwrap();
        let found = store.get_many(Table::Trees, &names).await.unwrap();
        let after = store.watermark("w").await.unwrap();
        if before == after {
            let expected = Some(Bytes::copy_from_slice(&before.unwrap().sequence.to_be_bytes()));
            assert!(found.iter().all(|value| *value == expected), "{found:?} at {before:?}");
        }
    }
}

/// Lets others go on.
async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
