//! Settings.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use crate::OpenError;

/// How to reach the cluster and how long to wait for it. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to begin with, `host:port` separated by commas.
    pub bootstrap: String,
    /// Before the names of topics, groups and transactional ids: several ledgers may share a cluster.
    pub topic_prefix: String,
    /// Shards of the ledger: partitions of each topic but `checkpoints`. Fixed once topics are made. A file
    /// gives it once for all engines, so it is not read here.
    #[serde(skip)]
    pub shards: u32,
    /// Names this process in the brokers' logs and metrics, and to the other members of its groups: where its
    /// gRPC is reached, `host:port`. Not read from a file either.
    #[serde(skip)]
    pub client_id: String,
    /// Copies of each record, which [`migrate`](crate::migrate) asks for.
    pub replication: u32,
    /// The broker aborts a transaction that is open for longer. At most its `transaction.max.timeout.ms`.
    pub transaction_timeout_ms: u32,
    /// A commit that took longer is given up and its claim is void. Below `transaction_timeout_ms`.
    pub commit_timeout_ms: u32,
    /// A record that was not acknowledged by then failed. Below `commit_timeout_ms`.
    pub message_timeout_ms: u32,
    /// Bound of a question about topics and offsets, and of a read.
    pub request_timeout_ms: u32,
    /// How long an appended record waits for those that come with it. At least as long as handing a thousand over takes on a
    /// busy machine: what is handed over later than that waits for the answer to the first part, and librdkafka's thread spins.
    pub linger_ms: u32,
    /// How batches are compressed.
    pub compression: Compression,
    /// How often the client's statistics become metrics; 0: never.
    pub statistics_interval_ms: u32,
    /// Newest records kept in memory for each followed partition, bytes.
    pub tail_cache_bytes: usize,
    /// Threads, and consumers, for reads behind the tail.
    pub read_threads: usize,
    /// A group's member that was not heard of for so long loses its partitions. Within the broker's bounds.
    pub session_timeout_ms: u32,
    /// How long giving a partition to another member waits for its release; afterwards it is given without.
    pub revoke_timeout_ms: u32,
    /// Static membership (KIP-345): a process of this name that comes back within the session time-out gets its
    /// partitions back without a rebalance. Unique among the processes of each group.
    pub member_instance_id: Option<String>,
    /// Encryption and authentication; without any, plaintext.
    pub security: Security,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap: String::new(),
            topic_prefix: "eschaton".to_owned(),
            shards: 1,
            client_id: "eschaton".to_owned(),
            replication: 3,
            transaction_timeout_ms: 30_000,
            commit_timeout_ms: 20_000,
            message_timeout_ms: 10_000,
            request_timeout_ms: 5_000,
            linger_ms: 6,
            compression: Compression::Lz4,
            statistics_interval_ms: 5_000,
            tail_cache_bytes: 8 << 20,
            read_threads: 4,
            session_timeout_ms: 8_000,
            revoke_timeout_ms: 25_000,
            member_instance_id: None,
            security: Security::default(),
        }
    }
}

/// Compression of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// Cheapest for the processor.
    Lz4,
    /// Smaller, at about three times the work.
    Zstd,
}

/// Encryption and authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Encrypt, and check the broker's certificate and name.
    pub tls: Option<Tls>,
    /// Authenticate by user and password. Without TLS only SCRAM's proof crosses the wire, and records in the clear.
    pub sasl: Option<Sasl>,
}

/// TLS: whom to trust, and who this is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities to trust, PEM; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate chain, PEM; together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM, not encrypted.
    pub key_file: Option<PathBuf>,
}

/// SASL/SCRAM (RFC 5802) credentials.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// Hash of the exchange.
    pub mechanism: SaslMechanism,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
}

/// Hash of a SCRAM exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum SaslMechanism {
    /// SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A string that `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Settings are shown with their secrets hidden.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

impl Secret {
    /// Hides it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl KafkaConfig {
    /// The defaults, for these brokers and shards.
    pub fn new(bootstrap: impl Into<String>, shards: u32) -> Self {
        Self { bootstrap: bootstrap.into(), shards, ..Self::default() }
    }

    /// Refuses settings that cannot work.
    pub fn check(&self) -> Result<(), OpenError> {
        let refuse = |detail: &str| Err(OpenError::Config { detail: detail.to_owned() });
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.bootstrap.trim().is_empty() {
            return refuse("bootstrap is empty; name at least one broker as host:port");
        }
        if self.topic_prefix.is_empty()
            || self.topic_prefix.len() > 100
            || !self.topic_prefix.chars().all(name)
        {
            return refuse("topic_prefix has 1 to 100 of letters, digits, '.', '_' and '-'");
        }
        if self.shards == 0 || self.shards > 4_096 {
            return refuse("shards is 1 to 4096");
        }
        if self.transaction_timeout_ms <= self.commit_timeout_ms
            || self.commit_timeout_ms <= self.message_timeout_ms
            || self.message_timeout_ms < 1_000
        {
            return refuse(
                "times must descend: transaction_timeout_ms > commit_timeout_ms > message_timeout_ms >= 1000",
            );
        }
        if self.message_timeout_ms <= self.linger_ms || self.request_timeout_ms < 100 {
            return refuse("linger_ms must be below message_timeout_ms, and request_timeout_ms at least 100");
        }
        if self.read_threads == 0 || self.read_threads > 64 {
            return refuse("read_threads is 1 to 64");
        }
        if !(1_000..=1_800_000).contains(&self.session_timeout_ms) || self.revoke_timeout_ms > 600_000 {
            return refuse("session_timeout_ms is 1000 to 1800000, and revoke_timeout_ms at most 600000");
        }
        if let Some(tls) = &self.security.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            return refuse("security.tls.cert_file and key_file come together");
        }
        if cfg!(not(feature = "tls")) && self.security != Security::default() {
            return refuse("this program was built without the feature `tls`; TLS and SCRAM need it");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_name_everything_and_nothing_unknown() {
        let full = r#"{"bootstrap": "a:9092,b:9092", "topic_prefix": "test", "replication": 2, "compression": "zstd",
            "security": {"tls": {"ca_file": "/etc/ca.pem"},
                "sasl": {"mechanism": "SCRAM-SHA-512", "user": "u", "password": "p"}}}"#;
        let config: KafkaConfig = serde_json::from_str(full).unwrap();
        config.check().unwrap();
        assert_eq!(config.replication, 2);
        assert_eq!(config.transaction_timeout_ms, 30_000, "what is absent has its default");
        for unknown in [
            r#"{"boostrap": "a:1"}"#,
            r#"{"security": {"ssl": {}}}"#,
            r#"{"security": {"tls": {"insecure": true}}}"#,
        ] {
            assert!(serde_json::from_str::<KafkaConfig>(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = KafkaConfig::new("a:1", 1);
        let sasl = Sasl {
            mechanism: SaslMechanism::ScramSha256,
            user: "u".into(),
            password: Secret::new("hunter2"),
        };
        config.security.sasl = Some(sasl);
        assert!(!format!("{config:?} {:?}", config.idempotent()).contains("hunter2"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let good = KafkaConfig::new("a:1", 2);
        good.check().unwrap();
        let bad = [
            KafkaConfig { bootstrap: " ".into(), ..good.clone() },
            KafkaConfig { topic_prefix: "a b".into(), ..good.clone() },
            KafkaConfig { shards: 0, ..good.clone() },
            KafkaConfig { commit_timeout_ms: 30_000, ..good.clone() },
            KafkaConfig { message_timeout_ms: 20_000, ..good.clone() },
            KafkaConfig { read_threads: 0, ..good.clone() },
            KafkaConfig {
                security: Security {
                    tls: Some(Tls { cert_file: Some("c".into()), ..Tls::default() }),
                    sasl: None,
                },
                ..good
            },
        ];
        for config in bad {
            assert!(matches!(config.check(), Err(OpenError::Config { .. })), "{config:?}");
        }
    }
}
