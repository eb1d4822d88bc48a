//! Keyspaces of their own for tests, and short forms for batches.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use eschaton_cql::{CqlConfig, CqlStore, Secret, migrate};
use eschaton_ports::{RowChange, Store, StoreBatch, Table, Watermark};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

static MADE: AtomicU32 = AtomicU32::new(0);

/// One test's tables.
pub(crate) struct Keyspace {
    pub(crate) config: CqlConfig,
}

/// From the environment, and the recipe's login unless told otherwise.
#[allow(clippy::disallowed_methods, reason = "the engine's address comes from whoever runs the tests")]
pub(crate) fn config() -> CqlConfig {
    let address = std::env::var("ESCHATON_TEST_CQL").unwrap_or_else(|_| {
        panic!(
            "ESCHATON_TEST_CQL is not set; start an engine with deploy/engines/cassandra/run.sh and set it to 127.0.0.1:19042"
        )
    });
    let from = |name: &str| std::env::var(name).unwrap_or_else(|_| "cassandra".to_owned());
    let mut config = CqlConfig {
        nodes: vec![address],
        user: Some(from("ESCHATON_TEST_CQL_USER")),
        password: Some(Secret::from(from("ESCHATON_TEST_CQL_PASSWORD"))),
        ..CqlConfig::default()
    };
    config.migrate.replicas = 1;
    config
}

impl Keyspace {
    pub(crate) async fn make() -> Self {
        Self::make_with(config()).await
    }

    pub(crate) async fn make_with(mut config: CqlConfig) -> Self {
        config.keyspace = format!("test_{}_{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        migrate(&config).await.unwrap();
        Self { config }
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.keyspace
    }

    pub(crate) async fn open(&self) -> Arc<CqlStore> {
        Arc::new(CqlStore::open(&self.config).await.unwrap())
    }

    async fn session(&self) -> Session {
        let user = self.config.user.clone().unwrap();
        #[allow(clippy::disallowed_methods, reason = "as above")]
        let password = std::env::var("ESCHATON_TEST_CQL_PASSWORD").unwrap_or_else(|_| "cassandra".to_owned());
        SessionBuilder::new().known_nodes(&self.config.nodes).user(user, password).build().await.unwrap()
    }

    /// Something that the store itself never does.
    pub(crate) async fn run(&self, statement: &str) {
        self.session().await.query_unpaged(statement, &[]).await.unwrap();
    }

    pub(crate) async fn drop(self) {
        self.run(&format!("DROP KEYSPACE {}", self.name())).await;
    }
}

pub(crate) fn mark(sequence: u64) -> Watermark {
    Watermark { sequence, input_next: sequence * 10 }
}

/// Changes of outputs.
pub(crate) fn batch(worker: &str, sequence: u64, rows: &[(&str, Option<&str>)]) -> StoreBatch {
    let mut batch = put(worker, sequence, Table::Outputs, &[]);
    batch.rows = rows
        .iter()
        .map(|(key, value)| RowChange {
            table: Table::Outputs,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        })
        .collect();
    batch
}

/// Rows whose values are their keys.
pub(crate) fn put(worker: &str, sequence: u64, table: Table, keys: &[Bytes]) -> StoreBatch {
    let rows =
        keys.iter().map(|key| RowChange { table, key: key.clone(), value: Some(key.clone()) }).collect();
    StoreBatch { worker: worker.to_owned(), family: table.family(), watermark: mark(sequence), rows }
}

pub(crate) async fn get(store: &dyn Store, keys: &[&str]) -> Vec<Option<Bytes>> {
    let keys: Vec<Bytes> = keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
    store.get_many(Table::Outputs, &keys).await.unwrap()
}

pub(crate) async fn watermark(store: &dyn Store, worker: &str) -> Option<Watermark> {
    store.watermark(worker).await.unwrap()
}
