//! A broker to test against: its address is in `ESCHATON_TEST_KAFKA`. `deploy/engines/kafka/run.sh start` starts one.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eschaton_kafka::{KafkaConfig, KafkaLog, migrate};
use eschaton_ports::{Log, LogRecord, NewRecord, Topic, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

/// For one question or one deletion.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Settings of two shards, whose topics are made, and their end.
pub(crate) async fn made() -> (KafkaConfig, Leavings) {
    let config = config(2);
    let leavings = Leavings::of(&config);
    migrate(&config, 1).await.unwrap();
    (config, leavings)
}

/// Topics and groups of one test, deleted when it is dropped, also when the test fails: a broker with thousands of
/// partitions is slow. Drop the logs before it.
pub(crate) struct Leavings {
    prefix: String,
}

impl Leavings {
    pub(crate) fn of(config: &KafkaConfig) -> Self {
        Self { prefix: format!("{}.", config.topic_prefix) }
    }

    async fn delete(&self) -> Result<(), Box<dyn std::error::Error>> {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", bootstrap()).create()?;
        let found = admin.inner().fetch_metadata(None, PATIENCE)?;
        let names = found.topics().iter().map(|topic| topic.name());
        let topics: Vec<&str> = names.filter(|name| name.starts_with(&self.prefix)).collect();
        if !topics.is_empty() {
            for deleted in admin.delete_topics(&topics, &options).await? {
                deleted.map_err(|(topic, code)| format!("{topic}: {code}"))?;
            }
        }
        let found = admin.inner().fetch_group_list(None, PATIENCE)?;
        let names = found.groups().iter().map(|group| group.name());
        let groups: Vec<&str> = names.filter(|name| name.starts_with(&self.prefix)).collect();
        if !groups.is_empty() {
            // One whose member was killed is not empty before its session ends, and goes by itself a week later.
            admin.delete_groups(&groups, &options).await?;
        }
        Ok(())
    }
}

impl Drop for Leavings {
    fn drop(&mut self) {
        // A thread of its own, for the caller is inside a runtime.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                if let Err(error) = runtime.block_on(self.delete()) {
                    eprintln!("topics {}* stay: {error}", self.prefix);
                }
            });
        });
    }
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
