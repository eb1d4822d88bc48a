//! The prepared statements of every table.

use std::collections::HashMap;

use eschaton_ports::Table;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;

use crate::error::Failure;
use crate::schema::{REDO, WATERMARKS};

/// Of one table.
pub(crate) struct OfTable {
    /// part, keys → key, value.
    pub(crate) get: PreparedStatement,
    /// part, least key, limit → key, value, ascending.
    pub(crate) from: PreparedStatement,
    /// part, least key, end (excluded), limit → key, value, ascending.
    pub(crate) between: PreparedStatement,
    /// → part, in no order.
    pub(crate) parts: PreparedStatement,
    /// stamp, value or null, part, key. A row without a value is no row, so this deletes too: rows of
    /// both kinds go into one request, and none carries a marker of its own.
    pub(crate) put: PreparedStatement,
}

/// Of all tables.
pub(crate) struct Statements {
    tables: HashMap<Table, OfTable>,
    /// worker → sequence, `input_next`, and of the batch begun: sequence, `input_next`, chunks.
    pub(crate) marks: PreparedStatement,
    /// stamp, sequence, `input_next`, chunks, worker.
    pub(crate) put_begun: PreparedStatement,
    /// worker, chunk → sequence, data.
    pub(crate) chunk: PreparedStatement,
    /// stamp, sequence, data, worker, chunk.
    pub(crate) put_chunk: PreparedStatement,
    /// worker, sequence, `input_next`, stamp.
    pub(crate) put_watermark: PreparedStatement,
    /// worker. Changes nothing: asks whether this user may write.
    pub(crate) may_write: PreparedStatement,
}

impl Statements {
    pub(crate) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, Failure> {
        let prepare = async |text: String| -> Result<PreparedStatement, Failure> {
            let mut statement = session.prepare(text).await?;
            // Stamped with their place in the log: repeating them changes nothing.
            statement.set_is_idempotent(true);
            Ok(statement)
        };
        let mut tables = HashMap::new();
        for table in Table::ALL {
            let name = format!("{keyspace}.{}", table.name());
            let select = format!("SELECT key, value FROM {name} WHERE part = ?");
            let statements = OfTable {
                get: prepare(format!("{select} AND key IN ?")).await?,
                from: prepare(format!("{select} AND key >= ? LIMIT ?")).await?,
                between: prepare(format!("{select} AND key >= ? AND key < ? LIMIT ?")).await?,
                parts: prepare(format!("SELECT DISTINCT part FROM {name}")).await?,
                put: prepare(format!(
                    "UPDATE {name} USING TIMESTAMP ? SET value = ? WHERE part = ? AND key = ?"
                ))
                .await?,
            };
            tables.insert(table, statements);
        }
        let (marks, redo) = (format!("{keyspace}.{WATERMARKS}"), format!("{keyspace}.{REDO}"));
        Ok(Self {
            tables,
            marks: prepare(format!(
                "SELECT sequence, input_next, begun_sequence, begun_input_next, begun_chunks FROM {marks} \
                 WHERE worker = ?"
            ))
            .await?,
            put_begun: prepare(format!(
                "UPDATE {marks} USING TIMESTAMP ? \
                 SET begun_sequence = ?, begun_input_next = ?, begun_chunks = ? WHERE worker = ?"
            ))
            .await?,
            chunk: prepare(format!("SELECT sequence, data FROM {redo} WHERE worker = ? AND chunk = ?"))
                .await?,
            put_chunk: prepare(format!(
                "UPDATE {redo} USING TIMESTAMP ? SET sequence = ?, data = ? WHERE worker = ? AND chunk = ?"
            ))
            .await?,
            put_watermark: prepare(format!(
                "INSERT INTO {marks} (worker, sequence, input_next) VALUES (?, ?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            may_write: prepare(format!("DELETE FROM {marks} USING TIMESTAMP 0 WHERE worker = ?")).await?,
        })
    }

    pub(crate) fn of(&self, table: Table) -> Result<&OfTable, Failure> {
        let missing = || Failure::Answer(format!("there are no statements for table {}", table.name()));
        self.tables.get(&table).ok_or_else(missing)
    }
}
