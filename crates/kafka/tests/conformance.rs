//! The port's suite on a real broker.

#![allow(clippy::unwrap_used, clippy::panic)]

mod kit;

use std::sync::{Arc, Mutex};

use eschaton_ports::Log;
use eschaton_ports::conformance::log as suite;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let leavings = Mutex::new(Vec::new());
    suite::run(async || {
        let (config, of_this) = kit::made().await;
        leavings.lock().unwrap().push(of_this);
        Arc::new(kit::open(&config).await) as Arc<dyn Log>
    })
    .await;
}

/// Nothing but the newest record from memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_without_a_tail_cache() {
    let leavings = Mutex::new(Vec::new());
    suite::run(async || {
        let (config, of_this) = kit::made().await;
        leavings.lock().unwrap().push(of_this);
        let config = eschaton_kafka::KafkaConfig { tail_cache_bytes: 0, ..config };
        Arc::new(kit::open(&config).await) as Arc<dyn Log>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_after_reopening() {
    let (config, _leavings) = kit::made().await;
    suite::run_reopen(async || Arc::new(kit::open(&config).await) as Arc<dyn Log>).await;
}
