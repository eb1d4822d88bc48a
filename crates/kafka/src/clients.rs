//! What librdkafka is told because of the settings.

use std::time::Duration;

use eschaton_ports::RECORD_BYTES_MAX;
use rdkafka::ClientConfig;

use crate::{Compression, KafkaConfig, SaslMechanism, Security};

/// A record, its headers and the batch around it. Also the topics' `max.message.bytes`.
pub(crate) const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX + (64 << 10);

impl KafkaConfig {
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }

    /// A consumer group's name in the cluster.
    pub(crate) fn group(&self, group: &str) -> String {
        format!("{}.{group}", self.topic_prefix)
    }

    /// What every client is told.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("receive.message.max.bytes", (64 << 20).to_string())
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "5000")
            // Of trouble with connections this crate learns from its calls and from error events.
            .set("log.connection.close", "false");
        let Security { tls, sasl } = &self.security;
        let protocol = match (tls, sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.cert_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (key, file) in files {
                if let Some(file) = file {
                    config.set(key, file.to_string_lossy());
                }
            }
        }
        if let Some(sasl) = sasl {
            let mechanism = match sasl.mechanism {
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config
                .set("sasl.mechanisms", mechanism)
                .set("sasl.username", &sasl.user)
                .set("sasl.password", sasl.password.reveal());
        }
        config
    }

    fn producer(&self) -> ClientConfig {
        let compression = match self.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", self.linger_ms.to_string())
            .set("message.timeout.ms", self.message_timeout_ms.to_string())
            .set("compression.type", compression)
            .set("queue.buffering.max.kbytes", "131072")
            // Retries double it. The first ones mostly wait for the end of this claim's former transaction.
            .set("retry.backoff.ms", "2")
            .set("retry.backoff.max.ms", "500")
            .set("statistics.interval.ms", self.statistics_interval_ms.to_string());
        config
    }

    /// The producer of appends.
    pub(crate) fn idempotent(&self) -> ClientConfig {
        self.producer()
    }

    /// The producer of one claim.
    pub(crate) fn transactional(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.producer();
        config
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", self.transaction_timeout_ms.to_string())
            // All records of a commit are there at once: nothing is worth waiting for.
            .set("linger.ms", "0.5");
        config
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", self.group(group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("fetch.min.bytes", "1")
            .set("fetch.error.backoff.ms", "50")
            // The default of a second stops a reader that was slow for a moment.
            .set("fetch.queue.backoff.ms", "2");
        config
    }

    /// A consumer that follows the ends of many partitions. A partition that joins waits for the running
    /// long poll to end, so polls are short.
    pub(crate) fn follower(&self) -> ClientConfig {
        let mut config = self.consumer("readers");
        config
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", "32768")
            .set("statistics.interval.ms", self.statistics_interval_ms.to_string());
        config
    }

    /// A consumer for reads below the end. It never waits for what is not there yet.
    pub(crate) fn positioned(&self) -> ClientConfig {
        let mut config = self.consumer("readers");
        config
            .set("fetch.wait.max.ms", "5")
            .set("queued.max.messages.kbytes", "16384")
            .set("enable.partition.eof", "true");
        config
    }

    /// A consumer for single records here and there. It fetches one batch and nothing ahead.
    pub(crate) fn seeking(&self) -> ClientConfig {
        let mut config = self.positioned();
        config.set("fetch.message.max.bytes", "4096").set("queued.min.messages", "1");
        config
    }

    /// A consumer that asks for offsets and consumes nothing.
    pub(crate) fn asker(&self, group: &str) -> ClientConfig {
        self.consumer(group)
    }

    /// A member of a group. It is paused: what it fetches by accident is small.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.offset.reset", "latest")
            .set("fetch.message.max.bytes", "1024")
            .set("queued.min.messages", "1")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            // A member learns of a rebalance by its next heartbeat, and a partition that moves waits for all members.
            .set("heartbeat.interval.ms", (self.session_timeout_ms / 16).to_string())
            .set(
                "max.poll.interval.ms",
                (self.revoke_timeout_ms.saturating_mul(2)).max(self.session_timeout_ms).to_string(),
            )
            .set("statistics.interval.ms", self.statistics_interval_ms.to_string());
        if let Some(instance) = &self.member_instance_id {
            config.set("group.instance.id", instance);
        }
        config
    }
}
