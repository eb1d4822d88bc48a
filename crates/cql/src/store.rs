use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_ports::{Family, ScanPage, Store, StoreBatch, StoreError, Table, Watermark};
use parking_lot::Mutex;
use scylla::client::session::Session;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::CqlConfig;
use crate::connect::connect;
use crate::error::{Failure, OpenError};
use crate::metrics::{self, Kind, Request};
use crate::migrate::check_bits;
use crate::partition::Partitioning;
use crate::read::Existing;
use crate::schema::{META_BITS, META_LEDGER, META_VERSION, SCHEMA_VERSION, meta_number, read_meta};
use crate::statements::Statements;

/// Limit of both engines.
pub(crate) const KEY_BYTES_MAX: usize = 65_535;

const ADVICE: &str = "grant it SELECT and MODIFY on the keyspace";
/// A worker that there is not.
const NOBODY: &str = "-";

/// A worker's watermark as this process last knew it; none before it was read.
type Known = Arc<tokio::sync::Mutex<Option<Option<Watermark>>>>;

/// Rows in a Scylla or Cassandra cluster. Its connections are served by the runtime that it was opened
/// on; it may be used from any other that has timers.
pub struct CqlStore {
    pub(crate) session: Session,
    pub(crate) statements: Statements,
    pub(crate) partitioning: Partitioning,
    pub(crate) concurrency: usize,
    pub(crate) batch_rows: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) existing: Mutex<Existing>,
    ledger: Option<String>,
    turns: HashMap<Family, Semaphore>,
    workers: Mutex<HashMap<String, Known>>,
}

impl CqlStore {
    /// Connects, and checks that the schema is this program's and that this user may write.
    ///
    /// # Errors
    /// See [`OpenError`]; [`OpenError::is_passing`] tells whether trying again may help.
    pub async fn open(config: &CqlConfig) -> Result<Self, OpenError> {
        metrics::describe();
        let session = connect(config).await?;
        let keyspace = &config.keyspace;
        let failed =
            |doing: &'static str| move |error: Failure| OpenError::request(config, doing, ADVICE, &error);
        let meta = read_meta(&session, keyspace).await.map_err(failed("reading what is installed"))?;
        let meta = meta.ok_or_else(|| OpenError::NotMigrated { keyspace: keyspace.clone() })?;
        let number = failed("reading what is installed");
        match meta_number(&meta, META_VERSION).map_err(&number)? {
            None => return Err(OpenError::NotMigrated { keyspace: keyspace.clone() }),
            Some(found) if found > SCHEMA_VERSION => {
                return Err(OpenError::SchemaNew {
                    keyspace: keyspace.clone(),
                    found,
                    wanted: SCHEMA_VERSION,
                });
            }
            Some(found) if found < SCHEMA_VERSION => {
                return Err(OpenError::SchemaOld {
                    keyspace: keyspace.clone(),
                    found,
                    wanted: SCHEMA_VERSION,
                });
            }
            Some(_) => {}
        }
        check_bits(config, meta_number(&meta, META_BITS).map_err(&number)?)?;
        let statements =
            Statements::prepare(&session, keyspace).await.map_err(failed("preparing statements"))?;
        let probe = session.execute_unpaged(&statements.may_write, (NOBODY,)).await;
        probe.map_err(Failure::from).map_err(failed("trying to write"))?;
        Ok(Self {
            session,
            statements,
            partitioning: Partitioning::new(config.partition_bits),
            concurrency: config.concurrency,
            batch_rows: config.batch_rows,
            batch_bytes: config.batch_bytes,
            existing: Mutex::default(),
            ledger: meta.get(META_LEDGER).cloned(),
            turns: Family::ALL
                .into_iter()
                .map(|family| (family, Semaphore::new(config.concurrency)))
                .collect(),
            workers: Mutex::default(),
        })
    }

    /// For which ledger the keyspace was made, as [`crate::migrate_for`] recorded it.
    pub fn ledger(&self) -> Option<&str> {
        self.ledger.as_deref()
    }

    /// Waits until a request of this family may go out.
    pub(crate) async fn turn(&self, family: Family, kind: Kind) -> Result<Turn<'_>, Failure> {
        let missing = || Failure::Answer(format!("there is no family {}", family.name()));
        let turns = self.turns.get(&family).ok_or_else(missing)?;
        let permit = turns.acquire().await.map_err(Failure::answer)?;
        Ok(Turn { request: Request::begin(kind), _permit: permit })
    }

    pub(crate) fn worker(&self, name: &str) -> Known {
        let mut workers = self.workers.lock();
        if let Some(known) = workers.get(name) {
            return Arc::clone(known);
        }
        Arc::clone(workers.entry(name.to_owned()).or_default())
    }
}

/// A request's place among those in flight.
pub(crate) struct Turn<'a> {
    request: Request,
    _permit: SemaphorePermit<'a>,
}

impl Turn<'_> {
    /// Counts how it went.
    pub(crate) fn end<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.request.end(result)
    }
}

#[async_trait]
impl Store for CqlStore {
    async fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.get(table, keys).await.map_err(|error| error.into_store("reading rows"))
    }

    async fn apply(&self, batch: StoreBatch) -> Result<(), StoreError> {
        self.write(&batch).await
    }

    async fn watermark(&self, worker: &str) -> Result<Option<Watermark>, StoreError> {
        let known = self.worker(worker);
        match known.try_lock() {
            Ok(mut known) => {
                let stored = self.recover(worker).await?;
                *known = Some(stored);
                Ok(stored)
            }
            // A batch is under way in this process; nothing is to be completed for it.
            Err(_) => Ok(self.read_marks(worker).await?.written),
        }
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        self.scan_page(table, prefix, after, limit).await.map_err(|error| error.into_store("scanning rows"))
    }

    /// Nothing to do: a batch that was applied was acknowledged by a majority of replicas, each as durably
    /// as the cluster's `commitlog_sync` says.
    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
