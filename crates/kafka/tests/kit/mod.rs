//! A broker to test against: its address is in `ESCHATON_TEST_KAFKA`. `deploy/engines/kafka/run.sh start` starts one.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use eschaton_kafka::{KafkaConfig, KafkaLog, migrate};
use eschaton_ports::{Log, LogRecord, NewRecord, Topic, TopicPartition};

pub(crate) const LEDGER_0: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 0 };
pub(crate) const LEDGER_1: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 1 };
pub(crate) const DECISIONS_0: TopicPartition = TopicPartition { topic: Topic::Decisions, partition: 0 };

/// The broker's plaintext address.
pub(crate) fn bootstrap() -> String {
    std::env::var("ESCHATON_TEST_KAFKA").unwrap_or_else(|_| {
        panic!(
            "set ESCHATON_TEST_KAFKA to a broker's address; `KAFKA_SECURE=1 deploy/engines/kafka/run.sh start` \
             starts one at 127.0.0.1:29092"
        )
    })
}

/// Settings with a topic prefix of its own. Topics are not made.
pub(crate) fn config(shards: u32) -> KafkaConfig {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let topic_prefix = format!("test-{}-{}-{number}", since.as_millis(), std::process::id());
    KafkaConfig { topic_prefix, ..KafkaConfig::new(bootstrap(), shards) }
}

/// Settings of two shards, whose topics are made.
pub(crate) async fn made() -> KafkaConfig {
    let config = config(2);
    migrate(&config, 1).await.unwrap();
    config
}

pub(crate) async fn open(config: &KafkaConfig) -> KafkaLog {
    KafkaLog::open(config.clone()).await.unwrap()
}

pub(crate) fn record(to: TopicPartition, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { to, at_ms: 1, id: None, trace: None, payload: payload.into() }
}

pub(crate) async fn read_all(log: &dyn Log, at: TopicPartition, mut from: u64) -> Vec<LogRecord> {
    let mut all = Vec::new();
    loop {
        let page = log.read(at, from, 1000, 1 << 20).await.unwrap();
        let Some(last) = page.last() else { return all };
        from = last.offset + 1;
        all.extend(page);
    }
}

pub(crate) fn payloads(records: &[LogRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect()
}

/// A broker of the test's own, to be paused and killed. Stopped and wiped when it is dropped.
pub(crate) struct Broker {
    port: u16,
}

impl Broker {
    pub(crate) fn start(port: u16) -> Self {
        let broker = Self { port };
        broker.run("wipe");
        broker.run("start");
        broker
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Calls the set-up script with this verb.
    pub(crate) fn run(&self, verb: &str) {
        let output = std::process::Command::new("../../deploy/engines/kafka/run.sh")
            .arg(verb)
            .env("KAFKA_PORT", self.port.to_string())
            .env("KAFKA_NAME", format!("kafka-test-{}", self.port))
            .env("KAFKA_HEAP", "256m")
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.run("stop");
        self.run("wipe");
    }
}
