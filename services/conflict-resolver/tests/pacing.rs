//! Where commits and statements cost much by themselves, a worker makes fewer of them: it rests between turns, and gathers
//! rows between writes.

#![allow(clippy::unwrap_used)]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use conflict_resolver::{GROUP, LedgerHost};
use eschaton_driver::{Limits, Worker, WorkerSpec};
use eschaton_embedded::{EmbeddedLog, LogOptions};
use eschaton_ports::{Clock, Log, Store};
use eschaton_types::Key;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::kit::{issuance, store};

const BATCHES: u32 = 4;
/// Records of each: enough that its rows are no small write, less than a batch holds.
const BATCH: u32 = 200;
const ALL: u64 = (BATCHES * BATCH) as u64;
const ALL_RECORDS: usize = (BATCHES * BATCH) as usize;
/// For what happens at once.
const SOON: Duration = Duration::from_secs(60);

/// Time passes when the test says so.
struct Manual {
    now_ms: AtomicU64,
    passed: Notify,
    /// Hears of each sleep.
    sleeps: mpsc::UnboundedSender<u64>,
}

impl Manual {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<u64>) {
        let (sleeps, heard) = mpsc::unbounded_channel();
        (Arc::new(Self { now_ms: AtomicU64::new(1_000), passed: Notify::new(), sleeps }), heard)
    }

    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.passed.notify_waiters();
    }
}

#[async_trait]
impl Clock for Manual {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    async fn sleep_ms(&self, ms: u64) {
        let until = self.now_ms() + ms;
        let mut told = false;
        loop {
            let passed = self.passed.notified();
            if self.now_ms() >= until {
                return;
            }
            if !std::mem::replace(&mut told, true) {
                self.sleeps.send(ms).unwrap();
            }
            passed.await;
        }
    }
}

fn spec(
    log: &Arc<dyn Log>,
    store: &Arc<dyn Store>,
    clock: &Arc<Manual>,
    limits: Limits,
) -> WorkerSpec<LedgerHost> {
    let mut spec = kit::spec(log, store, clock.clone(), limits);
    spec.limits.batch_records = limits.batch_records;
    spec
}

fn log(dir: &std::path::Path) -> Arc<dyn Log> {
    Arc::new(EmbeddedLog::open(&dir.join("log"), &LogOptions::new(1)).unwrap().0)
}

/// As it comes while the worker is at work: after the turn that had all before it.
async fn append_batch(log: &Arc<dyn Log>, number: u32) {
    let issuer = Key::from_secret([7; 32]).unwrap();
    let nonces = number * BATCH..(number + 1) * BATCH;
    log.append(nonces.map(|nonce| issuance(&issuer, nonce)).collect()).await.unwrap();
}

async fn consumed(store: &Arc<dyn Store>) -> u64 {
    let mark = store.watermark(&format!("{GROUP}/0")).await.unwrap();
    mark.map_or(0, |mark| mark.input_next)
}

#[tokio::test]
async fn turns_keep_their_distance_and_a_stop_does_not_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rows) = (log(dir.path()), store(&dir.path().join("rows")));
    append_batch(&log, 0).await;
    let (clock, mut sleeps) = Manual::new();
    let limits = Limits { turn_ms: 100, batch_records: ALL_RECORDS, ..Limits::default() };
    let mut worker = Worker::open(spec(&log, &rows, &clock, limits)).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let told = async {
        for number in 1..BATCHES {
            assert_eq!(sleeps.recv().await, Some(100), "after each turn");
            append_batch(&log, number).await;
            clock.pass(100);
        }
        // After the last one too: more may come.
        assert_eq!(sleeps.recv().await, Some(100));
        stop.send(()).unwrap();
    };
    let both = async { tokio::join!(worker.run(Box::pin(async { drop(stopped.await) })), told) };
    let (ended, ()) = timeout(SOON, both).await.unwrap();
    ended.unwrap();
    assert_eq!(worker.next_input(), ALL);
    assert!(sleeps.try_recv().is_err());
}

#[tokio::test]
async fn what_is_little_and_what_is_full_never_waits() {
    let paced = Limits { turn_ms: 100, write_ms: 500, write_small: 100_000, ..Limits::default() };
    let full = Limits { batch_records: 40, ..paced };
    let little = Limits { batch_records: 40, turn_small: 41, ..paced };
    let little_of_much = Limits { turn_small: ALL_RECORDS + 1, batch_records: 100_000, ..paced };
    for limits in [full, little, little_of_much] {
        let dir = tempfile::tempdir().unwrap();
        let (log, rows) = (log(dir.path()), store(&dir.path().join("rows")));
        for number in 0..BATCHES {
            append_batch(&log, number).await;
        }
        let (clock, mut sleeps) = Manual::new();
        let mut worker = Worker::open(spec(&log, &rows, &clock, limits)).await.unwrap();
        let done = async {
            while consumed(&rows).await < ALL {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, worker.run(Box::pin(done))).await.unwrap().unwrap();
        assert_eq!((worker.next_input(), sleeps.try_recv().is_err()), (ALL, true), "{limits:?}");
    }
}

#[tokio::test]
async fn rows_gather_between_writes_and_a_stop_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rows) = (log(dir.path()), store(&dir.path().join("rows")));
    let (clock, mut sleeps) = Manual::new();
    let limits = Limits { write_ms: 500, batch_records: BATCH as usize, ..Limits::default() };
    let mut worker = Worker::open(spec(&log, &rows, &clock, limits)).await.unwrap();
    append_batch(&log, 0).await;
    assert!(worker.turn().await.unwrap());
    let rests = async {
        // A turn without records writes on all the same.
        while sleeps.try_recv() != Ok(500) {
            assert!(!worker.turn().await.unwrap());
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, rests).await.unwrap();
    assert_eq!(consumed(&rows).await, u64::from(BATCH), "the first write has nothing to wait for");
    for number in 1..BATCHES {
        append_batch(&log, number).await;
        assert!(worker.turn().await.unwrap(), "turns go on");
    }
    assert_eq!(consumed(&rows).await, u64::from(BATCH), "what came since waits");
    worker.run(std::future::ready(())).await.unwrap();
    assert_eq!((worker.next_input(), consumed(&rows).await), (ALL, ALL), "though no time has passed");
}
