//! `eschaton.query.v1.Query`: look-ups over the store and the log, and the node's status.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use conflict_resolver::{Resolver, ShardGauges};
use eschaton_api::query as api;
use eschaton_kit::{Found, Health, Ports};
use eschaton_ledger::keys;
use eschaton_ports::{SCAN_ROWS_MAX, Table, Topic, TopicPartition};
use eschaton_types::pb::log::{Checkpoint, Reason, State};
use eschaton_types::pb::state::{OutputRow, TransactionRow};
use eschaton_types::{Address, Network, TxId};
use gossip_ingress::{Decision, Ingress, Submitter};
use prost::Message;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::NodeConfig;
use crate::caught_up::{caught_up, consumed};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Spent rows that one page may pass over.
const PASSED_OVER_MAX: usize = 5_000;
const WATCHED_MAX: usize = 1_000;
const STATES_MAX: usize = 1_000;

/// Answers from rows; holds no state of its own.
pub(crate) struct Query {
    network: Network,
    shards: u32,
    started_ms: u64,
    verifier_key: String,
    ports: Ports,
    health: Health,
    submitter: Submitter,
    decisions: broadcast::Sender<Arc<Decision>>,
    /// Of a resolver in this process.
    gauges: Option<Arc<[ShardGauges]>>,
}

impl Query {
    pub(crate) fn new(
        config: &NodeConfig,
        ports: Ports,
        health: Health,
        verifier_key: String,
        ingress: &Ingress,
        resolver: Option<&Resolver>,
    ) -> Self {
        Self {
            network: config.network,
            shards: config.shards,
            started_ms: ports.clock.now_ms(),
            verifier_key,
            ports,
            health,
            submitter: ingress.submitter(),
            decisions: ingress.watcher(),
            gauges: resolver.map(Resolver::gauges),
        }
    }

    async fn transaction(&self, txid: &TxId) -> Result<Option<Found>, Status> {
        eschaton_kit::transaction(self.ports.log.as_ref(), self.ports.store.as_ref(), txid)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))
    }

    async fn transaction_rows(&self, keys: &[Bytes]) -> Result<Vec<Option<TransactionRow>>, Status> {
        let rows = self.ports.store.get_many(Table::Transactions, keys).await;
        let rows = rows.map_err(|error| Status::unavailable(error.to_string()))?;
        let decoded = |value| {
            keys::decode(Table::Transactions, &value).map_err(|error| Status::internal(error.to_string()))
        };
        rows.into_iter().map(|row| row.map(decoded).transpose()).collect()
    }

    async fn partition(&self, partition: u32) -> Result<api::PartitionStatus, Status> {
        let away = |error: String| Status::unavailable(error);
        let end = async |topic| {
            self.ports
                .log
                .end(TopicPartition { topic, partition })
                .await
                .map_err(|e| Status::unavailable(e.to_string()))
        };
        let worker = format!("{}/{partition}", conflict_resolver::GROUP);
        let mark = self.ports.store.watermark(&worker).await.map_err(|e| away(e.to_string()))?;
        let ledger_end = end(Topic::Ledger).await?;
        let next = mark.map_or(0, |mark| mark.input_next);
        let at = TopicPartition { topic: Topic::Ledger, partition };
        let all = consumed(self.ports.log.as_ref(), at, next, ledger_end).await;
        let local = self.gauges.as_ref().and_then(|gauges| gauges.get(usize::try_from(partition).ok()?));
        let pending = match local {
            Some(gauges) => gauges.pending(),
            None => self.pending_rows(partition).await?,
        };
        Ok(api::PartitionStatus {
            partition,
            ledger_end,
            ledger_consumed: if all.map_err(|e| away(e.to_string()))? { ledger_end } else { next },
            decisions_end: end(Topic::Decisions).await?,
            pending,
        })
    }

    /// Undecided transactions of another process's shard; at most a page is counted, which is the most there
    /// can be.
    async fn pending_rows(&self, shard: u32) -> Result<u64, Status> {
        let prefix = keys::pending_prefix(shard);
        let page = self.ports.store.scan(Table::Pending, &prefix, None, SCAN_ROWS_MAX).await;
        let page = page.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(u64::try_from(page.rows.len()).unwrap_or(u64::MAX))
    }

    /// The newest checkpoint of which the store knows.
    async fn checkpoint(&self) -> Result<Option<Checkpoint>, Status> {
        merkle_prover::newest_checkpoint(self.ports.store.as_ref())
            .await
            .map_err(|error| Status::unavailable(error.to_string()))
    }
}

#[tonic::async_trait]
impl api::query_server::Query for Query {
    async fn get_transaction(
        &self,
        request: Request<api::GetTransactionRequest>,
    ) -> Result<Response<api::TransactionInfo>, Status> {
        let txid = txid(&request.into_inner().txid)?;
        let mut found = self.transaction(&txid).await?;
        if found.is_none() {
            // Its row may be under way: "never" is said only of what the log did not hold.
            caught_up(&self.ports, self.shards).await?;
            found = self.transaction(&txid).await?;
        }
        let found =
            found.ok_or_else(|| Status::not_found(format!("this node never saw transaction {txid}")))?;
        let (reason, message, spent_by) = match found.row.rejection.clone() {
            Some(rejection) => (reason(rejection.reason), rejection.message, rejection.spent_by),
            None => Default::default(),
        };
        Ok(Response::new(api::TransactionInfo {
            txid: txid.to_bytes(),
            state: state(found.row.state()).to_owned(),
            transaction: found.transaction.map(|tx| tx.bytes).unwrap_or_default(),
            reason,
            message,
            spent_by,
            at_ms: found.row.at_ms,
        }))
    }

    async fn get_states(
        &self,
        request: Request<api::GetStatesRequest>,
    ) -> Result<Response<api::GetStatesResponse>, Status> {
        let txids = request.into_inner().txids;
        if txids.len() > STATES_MAX {
            return Err(Status::invalid_argument(format!("at most {STATES_MAX} transactions can be named")));
        }
        let keys = txids.iter().map(|bytes| Ok(keys::transaction(&txid(bytes)?)));
        let keys = keys.collect::<Result<Vec<_>, Status>>()?;
        let mut rows = self.transaction_rows(&keys).await?;
        let missing: Vec<usize> = (0..rows.len()).filter(|index| rows[*index].is_none()).collect();
        if !missing.is_empty() {
            // As for a single one: their rows may be under way.
            caught_up(&self.ports, self.shards).await?;
            let keys: Vec<Bytes> = missing.iter().map(|index| keys[*index].clone()).collect();
            for (index, row) in missing.into_iter().zip(self.transaction_rows(&keys).await?) {
                rows[index] = row;
            }
        }
        let states = rows.into_iter().map(|row| row.map(transaction_state).unwrap_or_default()).collect();
        Ok(Response::new(api::GetStatesResponse { states }))
    }

    async fn list_outputs(
        &self,
        request: Request<api::ListOutputsRequest>,
    ) -> Result<Response<api::ListOutputsResponse>, Status> {
        let request = request.into_inner();
        let invalid = |error: eschaton_types::TxError| Status::invalid_argument(error.to_string());
        let owner = Address::from_slice(&request.address, "address (32 bytes)").map_err(invalid)?;
        let size = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
            0 => PAGE_DEFAULT,
            size if size <= PAGE_MAX => size,
            _ => return Err(Status::invalid_argument(format!("page_size is above {PAGE_MAX}"))),
        };
        if !request.page_token.is_empty() && !request.page_token.starts_with(&owner.0) {
            return Err(Status::invalid_argument("page_token is of another address; begin without one"));
        }
        let mut response = api::ListOutputsResponse::default();
        let mut after = Some(request.page_token).filter(|token| !token.is_empty());
        let mut passed_over = 0;
        loop {
            let wanted = size - response.outputs.len();
            let page = self
                .ports
                .store
                .scan(Table::Outputs, &owner.0, after.as_deref(), wanted)
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            for (key, value) in page.rows {
                let row = OutputRow::decode(value).map_err(|error| Status::internal(error.to_string()))?;
                if !row.spent_by.is_empty() && !request.include_spent {
                    passed_over += 1;
                    continue;
                }
                let Some((_, outpoint)) = keys::parse_output(&key) else {
                    return Err(Status::internal(
                        "a row has a malformed key; rebuild the store from the log",
                    ));
                };
                response.outputs.push(api::OutputInfo {
                    txid: outpoint.txid.to_bytes(),
                    index: outpoint.index.into(),
                    product: row.product,
                    amount: row.amount,
                    created_at_ms: row.created_at_ms,
                    spendable_at_ms: row.spendable_at_ms,
                    spent_by: row.spent_by,
                    spent_at_ms: row.spent_at_ms,
                });
            }
            after = page.next;
            if after.is_none() || response.outputs.len() >= size || passed_over >= PASSED_OVER_MAX {
                break;
            }
        }
        response.next_page_token = after.unwrap_or_default();
        Ok(Response::new(response))
    }

    type WatchDecisionsStream = Pin<Box<dyn Stream<Item = Result<api::DecisionEvent, Status>> + Send>>;

    async fn watch_decisions(
        &self,
        request: Request<api::WatchDecisionsRequest>,
    ) -> Result<Response<Self::WatchDecisionsStream>, Status> {
        let wanted = request.into_inner().txids;
        if wanted.len() > WATCHED_MAX {
            return Err(Status::invalid_argument(format!("at most {WATCHED_MAX} transactions can be named")));
        }
        let wanted = wanted.iter().map(txid).collect::<Result<HashSet<_>, _>>()?;
        let events = BroadcastStream::new(self.decisions.subscribe()).filter_map(move |decision| match decision {
            Ok(decision) => {
                let txid = TxId::from_slice(&decision.txid, "txid").ok()?;
                let named = wanted.is_empty() || wanted.contains(&txid);
                named.then(|| Ok(event(&decision)))
            }
            Err(BroadcastStreamRecvError::Lagged(count)) => Some(Err(Status::resource_exhausted(format!(
                "{count} decisions were missed for the reader was too slow; look them up and begin again"
            )))),
        });
        Ok(Response::new(Box::pin(until_error(events))))
    }

    async fn get_status(&self, _: Request<api::GetStatusRequest>) -> Result<Response<api::Status>, Status> {
        let mut partitions = Vec::new();
        let mut problems = self.health.problems();
        for partition in 0..self.shards {
            match self.partition(partition).await {
                Ok(found) => partitions.push(found),
                // One look at an engine that is away is enough.
                Err(away) => {
                    problems.push(format!("shards cannot be looked at: {}", away.message()));
                    break;
                }
            }
        }
        for partition in &partitions {
            let lag = partition.ledger_end.saturating_sub(partition.ledger_consumed);
            if lag > 100_000 {
                problems.push(format!("shard {}: {lag} records are not consumed yet", partition.partition));
            }
        }
        let checkpoint = self.checkpoint().await.unwrap_or_else(|away| {
            problems.push(format!("the checkpoint cannot be looked at: {}", away.message()));
            None
        });
        Ok(Response::new(api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: self.network.name().to_owned(),
            shards: self.shards,
            uptime_ms: self.ports.clock.now_ms().saturating_sub(self.started_ms),
            partitions,
            undecided: u64::try_from(self.submitter.undecided()).unwrap_or(u64::MAX),
            checkpoint_number: checkpoint.as_ref().map(|checkpoint| checkpoint.number),
            checkpoint_size: checkpoint.map_or(0, |checkpoint| checkpoint.size),
            verifier_key: self.verifier_key.clone(),
            problems,
        }))
    }
}

/// Ends a stream after its first error.
fn until_error<T>(
    stream: impl Stream<Item = Result<T, Status>> + Send,
) -> impl Stream<Item = Result<T, Status>> + Send {
    let mut failed = false;
    stream.take_while(move |item| {
        let go_on = !failed;
        failed |= item.is_err();
        go_on
    })
}

fn event(decision: &Decision) -> api::DecisionEvent {
    let (reason, message) = match &decision.rejection {
        Some(rejection) => (reason(rejection.reason), rejection.message.clone()),
        None => Default::default(),
    };
    api::DecisionEvent {
        txid: decision.txid.clone(),
        state: state(decision.state()).to_owned(),
        reason,
        message,
        at_ms: decision.at_ms,
    }
}

fn transaction_state(row: TransactionRow) -> api::TransactionState {
    let (state, at_ms) = (state(row.state()).to_owned(), row.at_ms);
    let (reason, message) = match row.rejection {
        Some(rejection) => (reason(rejection.reason), rejection.message),
        None => Default::default(),
    };
    api::TransactionState { state, reason, message, at_ms }
}

fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "UNKNOWN",
        State::Pending => "PENDING",
        State::Accepted => "ACCEPTED",
        State::Rejected => "REJECTED",
    }
}

fn reason(number: i32) -> String {
    Reason::try_from(number).unwrap_or_default().as_str_name().to_owned()
}

fn txid(bytes: &Bytes) -> Result<TxId, Status> {
    TxId::from_slice(bytes, "transaction id (32 bytes)")
        .map_err(|error| Status::invalid_argument(error.to_string()))
}
