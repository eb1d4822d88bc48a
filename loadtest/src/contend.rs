//! Two payments of one output, at once, over different connections.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use eschaton_api::ingress::ingress_client::IngressClient;
use eschaton_api::ingress::{Outcome, SubmitRequest};
use futures::{StreamExt, TryStreamExt};

use crate::live::{connect, submit_all};
use crate::node::Running;
use crate::scenario::{bar, run_id};
use crate::workload::Workload;

#[derive(Args)]
pub(crate) struct ContendArgs {
    /// Directory of the node's data; made if need be
    #[arg(long)]
    data_dir: PathBuf,
    /// How many outputs to contend for
    #[arg(long, default_value_t = 10_000)]
    pairs: u64,
}

pub(crate) async fn run(args: ContendArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data_dir)?;
    let workload = Workload::new(run_id()?)?;
    let (issuances, pairs) = workload.contenders(args.pairs, 1)?;
    let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
    let shown = bar("creating outputs", u64::try_from(issuances.len())?);
    submit_all(&node.url, issuances, 8, &shown).await?;
    shown.finish_and_clear();
    let (left, right) =
        (IngressClient::new(connect(&node.url).await?), IngressClient::new(connect(&node.url).await?));
    let shown = bar("contending", args.pairs);
    let outcomes: Vec<(bool, bool)> = futures::stream::iter(pairs.into_iter().enumerate())
        .map(|(number, [one, other])| {
            let (mut left, mut right, shown) = (left.clone(), right.clone(), &shown);
            async move {
                let request = |bytes| SubmitRequest { transaction: bytes, no_wait: false };
                // Who goes first changes, so that neither connection has the advantage.
                let (a, b) = if number % 2 == 0 { (one, other) } else { (other, one) };
                let (a, b) = tokio::join!(left.submit(request(a.bytes)), right.submit(request(b.bytes)));
                shown.inc(1);
                let (a, b) = (a?.into_inner(), b?.into_inner());
                let accepted = |outcome| outcome == Outcome::Accepted;
                let decided = |outcome| matches!(outcome, Outcome::Accepted | Outcome::Rejected);
                ensure!(
                    decided(a.outcome()) && decided(b.outcome()),
                    "pair {number} is not decided: {a:?} {b:?}"
                );
                Ok((accepted(a.outcome()), accepted(b.outcome())))
            }
        })
        .buffer_unordered(64)
        .try_collect()
        .await?;
    shown.finish_and_clear();
    node.stop()?;
    let count = |wanted: (bool, bool)| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    println!(
        "{} pairs: first connection's {}, second connection's {}, both {}, neither {}",
        outcomes.len(),
        count((true, false)),
        count((false, true)),
        count((true, true)),
        count((false, false))
    );
    ensure!(count((true, true)) + count((false, false)) == 0, "not exactly one of each pair was accepted");
    Ok(())
}
