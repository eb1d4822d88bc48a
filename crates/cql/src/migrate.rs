//! Makes keyspace and tables, and brings older ones up to this program.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use scylla::client::session::Session;
use scylla::errors::DbError;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use tokio::time::timeout;

use crate::config::CqlConfig;
use crate::connect::connect;
use crate::error::{Failure, OpenError};
use crate::schema::{
    self, Engine, META, META_BITS, META_LEDGER, META_LOCK, META_VERSION, SCHEMA_VERSION, meta_number,
    read_meta,
};

const ADVICE: &str = "grant it CREATE, ALTER, SELECT and MODIFY, or migrate as another user";
/// After so long a lock counts as left behind by a killed migration.
const LOCK_S: u32 = 300;
/// Changes of the schema are slow in large clusters, and on a small machine with other work: there one of them took
/// more than half a minute.
const STEP_MS: u64 = 90_000;

/// What a migration found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which engine answered.
    pub engine: Engine,
    /// The schema's version before; none when there was no schema.
    pub found: Option<u32>,
    /// The schema's version now.
    pub version: u32,
    /// How finely the tables are cut.
    pub partition_bits: u8,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engine, version, bits) = (self.engine.name(), self.version, self.partition_bits);
        match self.found {
            Some(found) if found == version => write!(f, "schema {version} is there already")?,
            Some(found) => write!(f, "schema went from {found} to {version}")?,
            None => write!(f, "schema {version} was made")?,
        }
        write!(f, "; {engine}, partition_bits {bits}")
    }
}

/// Makes what is missing. May be repeated, and killed at any moment: every step finds what is done. An
/// existing keyspace keeps its replication.
///
/// # Errors
/// See [`OpenError`]; what was made until then stays.
pub async fn migrate(config: &CqlConfig) -> Result<Report, OpenError> {
    migrate_for(config, None).await
}

/// As [`migrate`], and records for which ledger: a text that [`crate::CqlStore::ledger`] gives to whoever opens the
/// store. A keyspace that records another one is refused, before anything is changed.
///
/// # Errors
/// See [`migrate`].
pub async fn migrate_for(config: &CqlConfig, ledger: Option<&str>) -> Result<Report, OpenError> {
    let session = connect(config).await?;
    let migration = Migration { config, ledger, session };
    let engine = Engine::detect(&migration.session)
        .await
        .map_err(|error| OpenError::request(config, "asking which engine it is", ADVICE, &error))?;
    if let Some(meta) = migration.meta().await? {
        migration.check(&meta)?;
    }
    migration.check_replicas()?;
    migration.schema(&schema::create_keyspace(config, engine)).await?;
    migration.schema(&schema::create_meta(config)).await?;
    let locked = migration.lock().await?;
    let report = migration.run(engine).await;
    if locked {
        migration.unlock().await;
    }
    report
}

struct Migration<'a> {
    config: &'a CqlConfig,
    ledger: Option<&'a str>,
    session: Session,
}

impl Migration<'_> {
    async fn run(&self, engine: Engine) -> Result<Report, OpenError> {
        // Under the lock: another migration may have come between.
        let meta = self.meta().await?.unwrap_or_default();
        self.check(&meta)?;
        let found = self.number(&meta, META_VERSION)?;
        for step in schema::steps(self.config, found.unwrap_or(0)) {
            self.schema(&step).await?;
        }
        // The version last: it says that everything before is there.
        if !meta.contains_key(META_BITS) {
            self.record(META_BITS, &self.config.partition_bits.to_string()).await?;
        }
        if let Some(ledger) = self.ledger.filter(|_| !meta.contains_key(META_LEDGER)) {
            self.record(META_LEDGER, ledger).await?;
        }
        if found != Some(SCHEMA_VERSION) {
            self.record(META_VERSION, &SCHEMA_VERSION.to_string()).await?;
        }
        Ok(Report { engine, found, version: SCHEMA_VERSION, partition_bits: self.config.partition_bits })
    }

    /// Refuses a schema that this program or these settings do not fit.
    fn check(&self, meta: &BTreeMap<String, String>) -> Result<(), OpenError> {
        let keyspace = self.config.keyspace.clone();
        match self.number(meta, META_VERSION)? {
            Some(found) if found > SCHEMA_VERSION => {
                return Err(OpenError::SchemaNew { keyspace, found, wanted: SCHEMA_VERSION });
            }
            _ => {}
        }
        if let (Some(wanted), Some(found)) = (self.ledger, meta.get(META_LEDGER))
            && wanted != found
        {
            let (found, wanted) = (found.clone(), wanted.to_owned());
            return Err(OpenError::OtherLedger { keyspace, found, wanted });
        }
        check_bits(self.config, self.number(meta, META_BITS)?)
    }

    /// A majority of more replicas than nodes is never there, and the engines only warn of it.
    fn check_replicas(&self) -> Result<(), OpenError> {
        let state = self.session.get_cluster_state();
        let mut nodes: HashMap<&str, u16> = HashMap::new();
        for datacenter in state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()) {
            let count = nodes.entry(datacenter).or_default();
            *count = count.saturating_add(1);
        }
        let options = &self.config.migrate;
        let wanted: Vec<(&str, u16)> = if options.replicas_by_datacenter.is_empty() {
            nodes.keys().map(|name| (*name, options.replicas)).collect()
        } else {
            options.replicas_by_datacenter.iter().map(|(name, count)| (name.as_str(), *count)).collect()
        };
        for (name, replicas) in wanted {
            let there = nodes.get(name).copied().unwrap_or(0);
            if there < replicas {
                return Err(OpenError::Config {
                    detail: format!(
                        "migrate.replicas asks for {replicas} replicas in datacenter {name}, which has {there} nodes; add \
                         nodes, or ask for fewer"
                    ),
                });
            }
        }
        Ok(())
    }

    /// True when the lock is held; false where the cluster has no lightweight transactions for it. Steps
    /// can be repeated, so the lock only keeps two migrations from slowing each other down.
    async fn lock(&self) -> Result<bool, OpenError> {
        let query = format!(
            "INSERT INTO {}.{META} (name, value) VALUES (?, 'held') IF NOT EXISTS USING TTL {LOCK_S}",
            self.config.keyspace
        );
        match self.ask(&query, (META_LOCK,)).await {
            Ok(answer) => match applied(answer) {
                Ok(true) => Ok(true),
                Ok(false) => Err(OpenError::Locked { keyspace: self.config.keyspace.clone() }),
                Err(error) => Err(self.failed("taking the migration's lock", &error)),
            },
            Err(error) if matches!(error.db(), Some((DbError::Invalid, _))) => {
                tracing::info!(%error, "no lightweight transactions here; migrating without a lock");
                Ok(false)
            }
            Err(error) => Err(self.failed("taking the migration's lock", &error)),
        }
    }

    /// Left alone when it fails: the lock ends by itself.
    async fn unlock(&self) {
        let query = format!("DELETE FROM {}.{META} WHERE name = ? IF EXISTS", self.config.keyspace);
        if let Err(error) = self.ask(&query, (META_LOCK,)).await {
            tracing::warn!(%error, "the migration's lock stays for up to {LOCK_S} s");
        }
    }

    async fn record(&self, name: &str, value: &str) -> Result<(), OpenError> {
        let query = format!("INSERT INTO {}.{META} (name, value) VALUES (?, ?)", self.config.keyspace);
        match self.ask(&query, (name, value)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&format!("recording {name}"), &error)),
        }
    }

    async fn meta(&self) -> Result<Option<BTreeMap<String, String>>, OpenError> {
        read_meta(&self.session, &self.config.keyspace)
            .await
            .map_err(|error| self.failed("reading what is installed", &error))
    }

    fn number<N: std::str::FromStr>(
        &self,
        meta: &BTreeMap<String, String>,
        name: &str,
    ) -> Result<Option<N>, OpenError> {
        meta_number(meta, name).map_err(|error| self.failed("reading what is installed", &error))
    }

    /// Changes the schema and waits until the nodes agree on it.
    async fn schema(&self, statement: &str) -> Result<(), OpenError> {
        tracing::debug!(statement, "migrating");
        let limit = std::time::Duration::from_millis(STEP_MS);
        let mut query = scylla::statement::unprepared::Statement::new(statement);
        query.set_request_timeout(Some(limit));
        match timeout(2 * limit, self.session.query_unpaged(query, &[])).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed(statement, &error.into())),
            Err(_) => Err(OpenError::Failed {
                doing: statement.to_owned(),
                detail: format!("no answer within {} ms; repeat it", 2 * STEP_MS),
            }),
        }
    }

    async fn ask(&self, query: &str, values: impl SerializeRow) -> Result<QueryResult, Failure> {
        Ok(self.session.query_unpaged(query, values).await?)
    }

    fn failed(&self, doing: &str, error: &Failure) -> OpenError {
        OpenError::request(self.config, doing, ADVICE, error)
    }
}

/// Refuses settings that would look for rows in other partitions than they are in.
pub(crate) fn check_bits(config: &CqlConfig, installed: Option<u8>) -> Result<(), OpenError> {
    match installed {
        Some(installed) if installed != config.partition_bits => Err(OpenError::PartitionBits {
            keyspace: config.keyspace.clone(),
            installed,
            configured: config.partition_bits,
        }),
        _ => Ok(()),
    }
}

/// What a lightweight transaction says in its first column.
fn applied(answer: QueryResult) -> Result<bool, Failure> {
    let rows = answer.into_rows_result().map_err(Failure::answer)?;
    let row = rows.first_row::<scylla::value::Row>().map_err(Failure::answer)?;
    row.columns.first().and_then(Option::as_ref).and_then(scylla::value::CqlValue::as_boolean).ok_or_else(
        || Failure::Answer("a lightweight transaction does not say whether it happened".to_owned()),
    )
}
