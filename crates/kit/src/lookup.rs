use bytes::Bytes;
use eschaton_driver::WorkerError;
use eschaton_ledger::keys;
use eschaton_ports::{Log, Store, Table, Topic, TopicPartition};
use eschaton_types::pb::log::{LedgerInput, ledger_input::Kind};
use eschaton_types::pb::state::TransactionRow;
use eschaton_types::{Transaction, TxId};
use prost::Message;

/// A transaction as this node knows it.
pub struct Found {
    /// State, reason and time.
    pub row: TransactionRow,
    /// The transaction, from the log. `None` when the log no longer has it.
    pub transaction: Option<Transaction>,
}

/// Looks a transaction up: its row in the store, its bytes on the log.
pub async fn transaction(
    log: &dyn Log,
    store: &dyn Store,
    txid: &TxId,
) -> Result<Option<Found>, WorkerError> {
    let rows = store.get_many(Table::Transactions, &[keys::transaction(txid)]).await?;
    let Some(value) = rows.into_iter().next().flatten() else { return Ok(None) };
    let row: TransactionRow = keys::decode(Table::Transactions, &value)?;
    let at = TopicPartition { topic: Topic::Ledger, partition: row.partition };
    let record = log.read(at, row.ledger_offset, 1, 1).await?.into_iter().next();
    let transaction = record.and_then(|record| submitted(record.payload, txid));
    Ok(Some(Found { row, transaction }))
}

fn submitted(payload: Bytes, txid: &TxId) -> Option<Transaction> {
    match LedgerInput::decode(payload).ok()?.kind? {
        Kind::Submit(bytes) => Transaction::decode(bytes).ok().filter(|tx| tx.txid == *txid),
        _ => None,
    }
}
