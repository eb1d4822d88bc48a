//! Rounds of payments, each to be accepted whatever happens to the cluster meanwhile.

use std::time::{Duration, Instant};

use eschaton_api::ingress::Outcome;
use futures::future::join_all;

use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::rpc::Rpc;
use crate::kit::{PATIENCE, until, until_within};

/// Payments of one round, over owners of all shards.
pub(crate) const ROUND: usize = 24;

/// Money for `rounds` rounds.
pub(crate) async fn fund(rpc: &Rpc, mint: &Mint, rounds: usize) -> eschaton_types::Transaction {
    let owners: Vec<_> = (0..rounds * ROUND).map(|n| key(n as u64).address()).collect();
    let issued = mint.issue(&owners, 10, 0);
    rpc.decide(&issued).await;
    issued
}

/// Pays a round, each payment repeated until it is decided; all must be accepted. Gives the time that it took.
pub(crate) async fn pay_round(rpc: &Rpc, issued: &eschaton_types::Transaction, round: usize) -> Duration {
    pay_round_within(PATIENCE, rpc, issued, round).await
}

/// As [`pay_round`], for payments that wait longer.
pub(crate) async fn pay_round_within(
    patience: Duration,
    rpc: &Rpc,
    issued: &eschaton_types::Transaction,
    round: usize,
) -> Duration {
    let began = Instant::now();
    let payments: Vec<_> = (round * ROUND..(round + 1) * ROUND)
        .map(|n| pay(&key(n as u64), outpoint(issued, n), stranger(7), 10))
        .collect();
    join_all(payments.iter().map(|payment| async move {
        let result = until_within(patience, "a decision", async || {
            let result = rpc.submit(&payment.bytes).await.ok()?;
            (result.outcome() != Outcome::Pending).then_some(result)
        })
        .await;
        assert_eq!(result.outcome(), Outcome::Accepted, "{result:?}");
    }))
    .await;
    began.elapsed()
}

/// Credits of other shards follow a moment after a payment; there must be exactly so many in the end.
pub(crate) async fn paid(rpc: &Rpc, count: usize) {
    until("all credits", async || (rpc.outputs(stranger(7)).await.len() >= count).then_some(())).await;
    assert_eq!(rpc.outputs(stranger(7)).await.len(), count);
}
