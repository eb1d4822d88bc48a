//! What a node says of payments afterwards.

use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use eschaton_api::query::GetTransactionRequest;
use eschaton_api::query::query_client::QueryClient;
use eschaton_types::TxId;
use futures::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use tonic::transport::Channel;

use crate::contest::{Contest, Fate};
use crate::live::connect;
use crate::scenario::bar;
use crate::workload::Payment;

/// What the nodes say of the payments in the end.
#[derive(Clone, Copy, Debug, Default)]
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
    let client = QueryClient::new(connect(url).await?);
    let missing = futures::stream::iter(acknowledged)
        .map(|index| {
            let (mut client, txid) = (client.clone(), payments[*index].txid);
            let shown = &shown;
            async move {
                shown.inc(1);
                anyhow::Ok(u64::from(!is_accepted(&mut client, txid).await?))
            }
        })
        .buffer_unordered(64)
        .try_fold(0, |sum, one| async move { Ok(sum + one) })
        .await?;
    shown.finish_and_clear();
    Ok(missing)
}

/// Looks the first `outputs` outputs' payments up.
pub(crate) async fn look_up(
    url: &str,
    contest: &Contest,
    outputs: usize,
    shown: &ProgressBar,
) -> anyhow::Result<Found> {
    let ids = contest.fates(outputs);
    ensure!(ids.len() == 2 * outputs, "there are fewer outputs than are to be looked up");
    let client = QueryClient::new(connect(url).await?);
    let found = futures::stream::iter(ids.chunks(2).map(<[_]>::to_vec))
        .map(|pair| {
            let mut client = client.clone();
            async move {
                let (mut found, mut accepted) = (Found::default(), 0);
                for (txid, fate) in pair {
                    let is_accepted = is_accepted(&mut client, txid).await?;
                    accepted += usize::from(is_accepted);
                    found.lost += usize::from(fate == Fate::Accepted && !is_accepted);
                    found.revived += usize::from(fate == Fate::Rejected && is_accepted);
                    shown.inc(1);
                }
                found.twice += usize::from(accepted > 1);
                anyhow::Ok(found)
            }
        })
        .buffer_unordered(32)
        .try_fold(Found::default(), |sum, one| async move {
            let Found { lost, twice, revived } = sum;
            Ok(Found { lost: lost + one.lost, twice: twice + one.twice, revived: revived + one.revived })
        })
        .await?;
    shown.finish_and_clear();
    Ok(found)
}

/// True when the node says that this payment is accepted.
async fn is_accepted(client: &mut QueryClient<Channel>, txid: TxId) -> anyhow::Result<bool> {
    let request = GetTransactionRequest { txid: Bytes::copy_from_slice(&txid.0) };
    match client.get_transaction(request).await {
        Ok(found) => Ok(found.into_inner().state == "ACCEPTED"),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
        Err(status) => Err(status).context("look-up failed"),
    }
}
