//! What a node says of payments afterwards: its rows, asked for by id as any client asks. That its rows are what the log
//! says is another question; the scenarios that end with a replay of the log answer it.

use std::sync::Arc;

use anyhow::{Context, ensure};
use eschaton_api::query::GetStatesRequest;
use eschaton_api::query::query_client::QueryClient;
use eschaton_types::TxId;
use futures::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use tonic::transport::Channel;

use crate::contest::{Contest, Fate};
use crate::live::connect;
use crate::scenario::bar;
use crate::workload::Payment;

/// Ids of one question, the most that a node takes.
const BATCH: usize = 1_000;
const CONNECTIONS: usize = 4;
/// Questions under way at once, over all connections.
const WINDOW: usize = 12;

/// What the nodes say of the payments in the end.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Found {
    /// Acknowledged and not accepted.
    pub(crate) lost: usize,
    /// Outputs with two accepted payments.
    pub(crate) twice: usize,
    /// Told to be rejected, and accepted.
    pub(crate) revived: usize,
}

/// Looks every acknowledged payment up; gives how many are not accepted.
pub(crate) async fn lost(
    url: &str,
    payments: &Arc<Vec<Payment>>,
    acknowledged: &[usize],
) -> anyhow::Result<u64> {
    let shown = bar("looking up what was acknowledged", u64::try_from(acknowledged.len())?);
    let ids: Vec<TxId> = acknowledged.iter().map(|index| payments[*index].txid).collect();
    let accepted = accepted(url, &ids, &shown).await?;
    shown.finish_and_clear();
    Ok(u64::try_from(accepted.iter().filter(|is_accepted| !**is_accepted).count())?)
}

/// Looks the first `outputs` outputs' payments up.
pub(crate) async fn look_up(
    url: &str,
    contest: &Contest,
    outputs: usize,
    shown: &ProgressBar,
) -> anyhow::Result<Found> {
    let fates = contest.fates(outputs);
    ensure!(fates.len() == 2 * outputs, "there are fewer outputs than are to be looked up");
    let ids: Vec<TxId> = fates.iter().map(|(txid, _)| *txid).collect();
    let accepted = accepted(url, &ids, shown).await?;
    shown.finish_and_clear();
    let mut found = Found::default();
    for ((_, fate), is_accepted) in fates.iter().zip(&accepted) {
        found.lost += usize::from(*fate == Fate::Accepted && !is_accepted);
        found.revived += usize::from(*fate == Fate::Rejected && *is_accepted);
    }
    found.twice = accepted.chunks(2).filter(|pair| matches!(pair, [true, true])).count();
    Ok(found)
}

/// Which of these transactions the node says are accepted, in their order.
async fn accepted(url: &str, ids: &[TxId], shown: &ProgressBar) -> anyhow::Result<Vec<bool>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(QueryClient::new(connect(url).await?));
    }
    let batches = futures::stream::iter(ids.chunks(BATCH).enumerate()).map(|(number, batch)| {
        let client = clients[number % CONNECTIONS].clone();
        async move {
            let found = ask(client, batch).await?;
            shown.inc(u64::try_from(batch.len())?);
            anyhow::Ok(found)
        }
    });
    let batches: Vec<Vec<bool>> = batches.buffered(WINDOW).try_collect().await?;
    Ok(batches.concat())
}

async fn ask(mut client: QueryClient<Channel>, ids: &[TxId]) -> anyhow::Result<Vec<bool>> {
    let request = GetStatesRequest { txids: ids.iter().map(|txid| txid.to_bytes()).collect() };
    let states = client.get_states(request).await.context("look-up failed")?.into_inner().states;
    ensure!(states.len() == ids.len(), "{} states for {} ids", states.len(), ids.len());
    Ok(states.into_iter().map(|state| state.state == "ACCEPTED").collect())
}
