//! The tables' definitions, and what is recorded about them.

use std::collections::{BTreeMap, HashSet};

use eschaton_ports::Table;
use scylla::client::session::Session;

use crate::config::{CqlConfig, Tablets};
use crate::error::Failure;

/// The newest schema that this program knows. 2: tables of timestamps. 3: no table more; but programs that know 2 would
/// lose count of the messages that workers send after their commits.
pub(crate) const SCHEMA_VERSION: u32 = 3;

/// Keeps the workers' watermarks.
pub(crate) const WATERMARKS: &str = "watermarks";
/// Keeps the last batch of the trees whole; see `redo.rs`.
pub(crate) const REDO: &str = "redo";
/// Keeps what is known about the tables, and the migration's lock.
pub(crate) const META: &str = "meta";
/// Row of [`META`]: the schema's version, decimal.
pub(crate) const META_VERSION: &str = "schema_version";
/// Row of [`META`]: see [`CqlConfig::partition_bits`], decimal.
pub(crate) const META_BITS: &str = "partition_bits";
/// Row of [`META`]: what the ledger is known by, as its owner wrote it.
pub(crate) const META_LEDGER: &str = "ledger";
/// Row of [`META`]: who migrates.
pub(crate) const META_LOCK: &str = "migration_lock";

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Apache Cassandra.
    Cassandra,
    /// Scylla, spreading data over vnodes only.
    Scylla,
    /// Scylla that has tablets.
    ScyllaWithTablets,
}

impl Engine {
    /// Asks the cluster, by the system tables that only one of them has.
    pub(crate) async fn detect(session: &Session) -> Result<Self, Failure> {
        let rows = session
            .query_unpaged("SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'system'", &[])
            .await?
            .into_rows_result()
            .map_err(Failure::answer)?;
        let mut names = HashSet::new();
        for row in rows.rows::<(String,)>().map_err(Failure::answer)? {
            names.insert(row.map_err(Failure::answer)?.0);
        }
        // `system.versions` is Scylla's own.
        Ok(match (names.contains("versions"), names.contains("tablets")) {
            (false, _) => Engine::Cassandra,
            (true, false) => Engine::Scylla,
            (true, true) => Engine::ScyllaWithTablets,
        })
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Cassandra => "Cassandra",
            Engine::Scylla => "Scylla without tablets",
            Engine::ScyllaWithTablets => "Scylla with tablets",
        }
    }
}

/// Makes the keyspace.
pub(crate) fn create_keyspace(config: &CqlConfig, engine: Engine) -> String {
    let options = &config.migrate;
    let replication = if options.replicas_by_datacenter.is_empty() {
        format!("'replication_factor': {}", options.replicas)
    } else {
        let each = options.replicas_by_datacenter.iter().map(|(name, count)| format!("'{name}': {count}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let tablets = match (engine, options.tablets) {
        (Engine::Cassandra, _) | (Engine::Scylla, Tablets::Auto | Tablets::Off) => "",
        (Engine::ScyllaWithTablets, Tablets::Off) => " AND tablets = {'enabled': false}",
        (Engine::ScyllaWithTablets, Tablets::Auto | Tablets::On) | (Engine::Scylla, Tablets::On) => {
            " AND tablets = {'enabled': true}"
        }
    };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy', {replication}}}\
         {tablets}",
        config.keyspace
    )
}

/// Makes the table that everything else is recorded in.
pub(crate) fn create_meta(config: &CqlConfig) -> String {
    format!("CREATE TABLE IF NOT EXISTS {}.{META} (name text PRIMARY KEY, value text)", config.keyspace)
}

/// The steps from each schema to the next, for `SCHEMA_VERSION` the last. Steps only add, each may be
/// repeated, and none drops a column: the engines remember a dropped column's time, and rows stamped with
/// log positions would all count as older.
pub(crate) fn steps(config: &CqlConfig, from: u32) -> Vec<String> {
    let keyspace = &config.keyspace;
    let new = Table::ALL.into_iter().filter(|table| since(*table) > from);
    let mut steps: Vec<String> = new.map(|table| create_table(config, table)).collect();
    if from >= 1 {
        return steps;
    }
    steps.push(format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.{WATERMARKS} (worker text PRIMARY KEY, sequence bigint, \
         input_next bigint, begun_sequence bigint, begun_input_next bigint, begun_chunks int)"
    ));
    steps.push(format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.{REDO} \
         (worker text, chunk int, sequence bigint, data blob, PRIMARY KEY (worker, chunk))"
    ));
    steps
}

/// The first schema that has a table.
fn since(table: Table) -> u32 {
    match table {
        Table::Outputs
        | Table::Transactions
        | Table::Totals
        | Table::Pending
        | Table::Workers
        | Table::Trees => 1,
        Table::Digests | Table::Intervals | Table::Anchors | Table::StampWorkers => 2,
    }
}

fn create_table(config: &CqlConfig, table: Table) -> String {
    let mut options = vec!["CLUSTERING ORDER BY (key ASC)".to_owned()];
    match table {
        // Rows are found by key, all over a large table: few files to look into.
        Table::Outputs
        | Table::Transactions
        | Table::Trees
        | Table::Digests
        | Table::Intervals
        | Table::Anchors => {
            options.push("compaction = {'class': 'LeveledCompactionStrategy'}".to_owned());
        }
        Table::Totals | Table::Pending | Table::Workers | Table::StampWorkers => {}
    }
    if matches!(table, Table::Pending | Table::Trees) {
        options.push(format!("gc_grace_seconds = {}", config.migrate.gc_grace_s));
    }
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (part blob, key blob, value blob, PRIMARY KEY (part, key)) WITH {}",
        config.keyspace,
        table.name(),
        options.join(" AND ")
    )
}

/// The rows of [`META`]; none when the keyspace or the table is not there.
pub(crate) async fn read_meta(
    session: &Session,
    keyspace: &str,
) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let there = session
        .query_unpaged(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?",
            (keyspace, META),
        )
        .await?
        .into_rows_result()
        .map_err(Failure::answer)?;
    if there.rows_num() == 0 {
        return Ok(None);
    }
    let rows = session
        .query_unpaged(format!("SELECT name, value FROM {keyspace}.{META}"), &[])
        .await?
        .into_rows_result()
        .map_err(Failure::answer)?;
    let mut meta = BTreeMap::new();
    for row in rows.rows::<(String, Option<String>)>().map_err(Failure::answer)? {
        let (name, value) = row.map_err(Failure::answer)?;
        meta.extend(value.map(|value| (name, value)));
    }
    Ok(Some(meta))
}

/// A number among the rows of [`META`].
pub(crate) fn meta_number<N: std::str::FromStr>(
    meta: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<N>, Failure> {
    meta.get(name)
        .map(|text| {
            text.parse()
                .map_err(|_| Failure::Answer(format!("row {name} of table {META} is {text:?}, no number")))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_has_its_definition() {
        let mut config = CqlConfig::default();
        let plain = create_keyspace(&config, Engine::Cassandra);
        assert!(plain.ends_with("{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}"), "{plain}");
        assert_eq!(create_keyspace(&config, Engine::Scylla), plain);
        assert!(create_keyspace(&config, Engine::ScyllaWithTablets).contains("'enabled': true"));
        config.migrate.tablets = Tablets::Off;
        config.migrate.replicas_by_datacenter = [("east".to_owned(), 3), ("west".to_owned(), 2)].into();
        let off = create_keyspace(&config, Engine::ScyllaWithTablets);
        assert!(off.contains("'east': 3, 'west': 2} AND tablets = {'enabled': false}"), "{off}");
    }

    #[test]
    fn deletions_are_kept_where_rows_are_deleted() {
        let steps = steps(&CqlConfig::default(), 0);
        assert_eq!(steps.len(), Table::ALL.len() + 2);
        let kept = steps.iter().filter(|step| step.contains("gc_grace_seconds = 86400")).count();
        assert_eq!(kept, 2);
        let added = super::steps(&CqlConfig::default(), 1);
        assert!(added.len() == 4 && added.iter().all(|step| step.contains("IF NOT EXISTS")), "{added:?}");
        assert!(super::steps(&CqlConfig::default(), SCHEMA_VERSION).is_empty());
    }
}
