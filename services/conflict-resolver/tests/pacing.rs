//! Where commits and statements cost much by themselves, a worker makes fewer of them: it rests between turns, and gathers
//! rows between writes.

#![allow(clippy::unwrap_used)]

mod kit;

use std::future::pending;
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

/// Batches that wait when the worker begins.
const BATCHES: u32 = 4;
/// Records of each: enough that its rows are no small write.
const BATCH: u32 = 200;
const ALL: u64 = (BATCHES * BATCH) as u64;
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

async fn log_with_batches(dir: &std::path::Path) -> Arc<dyn Log> {
    let (log, _) = EmbeddedLog::open(&dir.join("log"), &LogOptions::new(1)).unwrap();
    let issuer = Key::from_secret([7; 32]).unwrap();
    log.append((0..BATCHES * BATCH).map(|nonce| issuance(&issuer, nonce)).collect()).await.unwrap();
    Arc::new(log)
}

async fn consumed(store: &Arc<dyn Store>) -> u64 {
    let mark = store.watermark(&format!("{GROUP}/0")).await.unwrap();
    mark.map_or(0, |mark| mark.input_next)
}

#[tokio::test]
async fn turns_keep_their_distance_and_a_stop_does_not_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rows) = (log_with_batches(dir.path()).await, store(&dir.path().join("rows")));
    let (clock, mut sleeps) = Manual::new();
    let limits = Limits { turn_ms: 100, batch_records: BATCH as usize, ..Limits::default() };
    let mut worker = Worker::open(spec(&log, &rows, &clock, limits)).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let told = async {
        for _ in 1..BATCHES {
            assert_eq!(sleeps.recv().await, Some(100), "after each turn");
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
async fn few_records_and_few_rows_never_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rows) = (log_with_batches(dir.path()).await, store(&dir.path().join("rows")));
    let (clock, mut sleeps) = Manual::new();
    let limits = Limits { turn_ms: 100, write_ms: 500, batch_records: 10, ..Limits::default() };
    let mut worker = Worker::open(spec(&log, &rows, &clock, limits)).await.unwrap();
    let done = async {
        while consumed(&rows).await < ALL {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, worker.run(Box::pin(done))).await.unwrap().unwrap();
    assert_eq!((worker.next_input(), sleeps.try_recv().is_err()), (ALL, true));
}

#[tokio::test]
async fn rows_gather_between_writes_and_a_stop_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rows) = (log_with_batches(dir.path()).await, store(&dir.path().join("rows")));
    let (clock, mut sleeps) = Manual::new();
    let limits = Limits { write_ms: 500, batch_records: BATCH as usize, ..Limits::default() };
    let mut worker = Worker::open(spec(&log, &rows, &clock, limits)).await.unwrap();
    // The first write has nothing to wait for; when it is done the worker rests, and turns go on.
    assert!(worker.turn().await.unwrap());
    let idle = timeout(SOON, async { while sleeps.recv().await != Some(500) {} });
    tokio::select! {
        ended = worker.run(Box::pin(pending())) => panic!("{ended:?}"),
        rested = idle => rested.unwrap(),

    }
    assert_eq!((worker.next_input() > u64::from(BATCH), consumed(&rows).await < ALL), (true, true));
    while worker.turn().await.unwrap() {}
    assert!(consumed(&rows).await < ALL, "what came since waits");
    worker.run(std::future::ready(())).await.unwrap();
    assert_eq!((worker.next_input(), consumed(&rows).await), (ALL, ALL), "no time has passed");
    clock.pass(1);
}
