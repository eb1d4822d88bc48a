use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::OpenError;

/// Names of keyspaces are at most this long, in both engines.
const KEYSPACE_BYTES_MAX: usize = 48;
/// Stands for a secret wherever settings are shown.
const HIDDEN: &str = "(secret)";

/// How the store finds and uses a cluster. Every field has a default; unknown fields are refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CqlConfig {
    /// Some of the cluster's nodes, `host:port`; the others are learnt from them.
    pub nodes: Vec<String>,
    /// Where the tables are: lower case letters, digits and `_`, a letter first.
    pub keyspace: String,
    /// Who logs in; none where the cluster asks for no login.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Encrypts connections.
    pub tls: Option<TlsConfig>,
    /// The datacenter whose nodes are asked. Needed when the cluster has more than one.
    pub local_datacenter: Option<String>,
    /// How many replicas answer before a read or a write counts.
    pub consistency: Consistency,
    /// Longest time of one request with all its retries, 100 to 60 000 ms. Sound are 2 000 to 5 000.
    pub request_timeout_ms: u64,
    /// Longest time to connect and log in, 100 to 60 000 ms.
    pub connect_timeout_ms: u64,
    /// Most requests in flight for each family of tables, 1 to 4 096.
    pub concurrency: usize,
    /// Most rows of one write request, 1 to 10 000. 1: a request for each row.
    pub batch_rows: usize,
    /// About the most bytes of one write request, 1 KiB to 4 MiB. A larger row goes alone.
    pub batch_bytes: usize,
    /// How frames are packed.
    pub compression: Compression,
    /// How finely tables are cut, 2 to 18; see the crate's page. Fixed at installation.
    pub partition_bits: u8,
    /// What only `migrate` uses.
    pub migrate: MigrateConfig,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "eschaton".to_owned(),
            user: None,
            password: None,
            tls: None,
            local_datacenter: None,
            consistency: Consistency::LocalQuorum,
            request_timeout_ms: 3_000,
            connect_timeout_ms: 5_000,
            concurrency: 64,
            batch_rows: 500,
            batch_bytes: 64 << 10,
            compression: Compression::None,
            partition_bits: 12,
            migrate: MigrateConfig::default(),
        }
    }
}

/// What a keyspace is made with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MigrateConfig {
    /// Replicas in every datacenter that [`Self::replicas_by_datacenter`] does not name.
    pub replicas: u16,
    /// Replicas in these datacenters and in no others, unless it is empty.
    pub replicas_by_datacenter: BTreeMap<String, u16>,
    /// Whether Scylla spreads the tables by tablets. Cassandra has none.
    pub tablets: Tablets,
    /// Seconds for which deletions are kept in the tables that delete, at least 3 600. A node that was away
    /// longer must be rebuilt or repaired before it serves again.
    pub gc_grace_s: u32,
}

impl Default for MigrateConfig {
    fn default() -> Self {
        Self {
            replicas: 3,
            replicas_by_datacenter: BTreeMap::new(),
            tablets: Tablets::Auto,
            gc_grace_s: 86_400,
        }
    }
}

/// Files that secure connections, PEM. The nodes' certificates must name the addresses that the cluster
/// tells its clients.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates of the authorities that sign the nodes' certificates.
    pub ca_file: PathBuf,
    /// This client's certificate with its chain, where nodes ask for one.
    #[serde(default)]
    pub client_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
}

/// Reads must see what was acknowledged, so each value is a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// A majority of the replicas in the local datacenter. All writers must use the same datacenter.
    LocalQuorum,
    /// A majority of all replicas.
    Quorum,
}

/// Frame compression. Rows are hashes and keys for the most part and shrink little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// None.
    None,
    /// LZ4.
    Lz4,
    /// Snappy.
    Snappy,
}

/// Use of Scylla's tablets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tablets {
    /// Where the cluster has them.
    Auto,
    /// Always; an older cluster refuses.
    On,
    /// Never.
    Off,
}

/// Text that is not shown: neither printed nor serialised.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl CqlConfig {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`OpenError::Config`] names the field and the possible values.
    pub fn check(&self) -> Result<(), OpenError> {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        if self.nodes.is_empty() || self.nodes.iter().any(|node| node.trim().is_empty()) {
            return refuse("nodes must name at least one host:port, none of them empty".to_owned());
        }
        let first = self.keyspace.starts_with(|first: char| first.is_ascii_lowercase());
        let rest = self.keyspace.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !first || !rest || self.keyspace.len() > KEYSPACE_BYTES_MAX {
            return refuse(format!(
                "keyspace is {:?}; it must be a lower case letter, then letters, digits and _, at most {KEYSPACE_BYTES_MAX} together",
                self.keyspace
            ));
        }
        if self.user.is_some() != self.password.is_some() {
            return refuse("user and password go together; one of them is missing".to_owned());
        }
        within("request_timeout_ms", self.request_timeout_ms, 100, 60_000)?;
        within("connect_timeout_ms", self.connect_timeout_ms, 100, 60_000)?;
        within("concurrency", wide(self.concurrency), 1, 4_096)?;
        within("batch_rows", wide(self.batch_rows), 1, 10_000)?;
        within("batch_bytes", wide(self.batch_bytes), 1 << 10, 4 << 20)?;
        within("partition_bits", self.partition_bits.into(), 2, 18)?;
        within("migrate.replicas", self.migrate.replicas.into(), 1, 100)?;
        within("migrate.gc_grace_s", self.migrate.gc_grace_s.into(), 3_600, 864_000)?;
        for (name, replicas) in &self.migrate.replicas_by_datacenter {
            if name.is_empty() || name.contains('\'') {
                return refuse(format!(
                    "migrate.replicas_by_datacenter names {name:?}, no datacenter's name"
                ));
            }
            within(&format!("migrate.replicas_by_datacenter.{name}"), (*replicas).into(), 1, 100)?;
        }
        if let Some(tls) = &self.tls
            && tls.client_cert_file.is_some() != tls.client_key_file.is_some()
        {
            return refuse("tls.client_cert_file and tls.client_key_file go together".to_owned());
        }
        Ok(())
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn addresses(&self) -> String {
        self.nodes.join(", ")
    }
}

fn within(name: &str, value: u64, least: u64, most: u64) -> Result<(), OpenError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    refuse(format!("{name} is {value}; it must be {least} to {most}"))
}

fn refuse(detail: String) -> Result<(), OpenError> {
    Err(OpenError::Config { detail })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CqlConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn defaults_are_sound_and_fields_are_known() {
        CqlConfig::default().check().unwrap();
        let config = parse("nodes = ['db-1:9042']\npartition_bits = 6\n[migrate]\nreplicas = 1").unwrap();
        config.check().unwrap();
        assert_eq!((config.partition_bits, config.migrate.replicas), (6, 1));
        assert_eq!(config.consistency, Consistency::LocalQuorum);
        assert!(parse("node = 'db-1'").is_err());
        assert!(parse("consistency = 'one'").is_err(), "a read must see what was acknowledged");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (text, named) in [
            ("nodes = []", "nodes"),
            ("keyspace = 'Eschaton'", "keyspace"),
            ("keyspace = 'a; drop'", "keyspace"),
            ("user = 'me'", "password"),
            ("request_timeout_ms = 0", "request_timeout_ms"),
            ("concurrency = 0", "concurrency"),
            ("batch_rows = 0", "batch_rows"),
            ("partition_bits = 1", "partition_bits"),
            ("migrate = { replicas = 0 }", "migrate.replicas"),
            ("migrate = { gc_grace_s = 0 }", "migrate.gc_grace_s"),
            ("migrate = { replicas_by_datacenter = { \"a'b\" = 1 } }", "replicas_by_datacenter"),
            ("tls = { ca_file = 'ca.pem', client_cert_file = 'c.pem' }", "client_key_file"),
        ] {
            let error = parse(text).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = parse("user = 'me'\npassword = 'hunter2'").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!toml::to_string(&config).unwrap().contains("hunter2"));
        assert_eq!(config.password.unwrap().expose(), "hunter2");
    }
}
