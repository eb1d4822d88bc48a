//! `kill -9` at random moments under load.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use crate::anew;
use crate::contest::{Contest, Dice, load};
use crate::live::submit_all;
use crate::lookup::look_up;
use crate::node::Running;
use crate::scenario::{bar, run_id};
use crate::workload::Workload;

#[derive(Args)]
pub(crate) struct KillsArgs {
    /// Directory of the node's data; made if need be
    #[arg(long)]
    data_dir: PathBuf,
    /// How often to kill
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Longest time under load before a kill, ms
    #[arg(long, default_value_t = 1_000)]
    load_ms: u64,
    /// Outputs to pay from; two payments exclude one another on each
    #[arg(long, default_value_t = 200_000)]
    outputs: u64,
}

pub(crate) async fn run(args: KillsArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data_dir)?;
    let id = run_id()?;
    let workload = Workload::new(id)?;
    println!("signing two payments of each of {} outputs", args.outputs);
    let (issuances, pairs) = workload.contenders(args.outputs, 1)?;
    let outputs = pairs.len();
    let contest = Arc::new(Contest::new(pairs, 1));
    contest.put(0..outputs);
    contest.complete();
    let mut dice = Dice(u64::from_be_bytes([id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]]));

    let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
    let shown = bar("creating outputs", u64::try_from(issuances.len())?);
    submit_all(&node.url, issuances, 8, &shown).await?;
    shown.finish_and_clear();
    node.stop()?;

    let shown = bar("killing", args.kills.into());
    let mut slowest = Duration::ZERO;
    for kill in 0..args.kills {
        if kill % 8 == 7 {
            // A crash in the recovery from a crash.
            let after = Duration::from_millis(dice.below(400));
            Running::start_and_kill(&args.data_dir, &workload.issuer(), after)?;
        }
        let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
        slowest = slowest.max(node.started_in);
        let load = tokio::spawn(load(node.url.clone(), contest.clone(), 0));
        tokio::time::sleep(Duration::from_millis(20 + dice.below(args.load_ms))).await;
        node.kill()?;
        load.await?;
        shown.inc(1);
    }
    shown.finish_and_clear();

    let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
    let shown = bar("looking payments up", u64::try_from(2 * outputs)?);
    let found = look_up(&node.url, &contest, outputs, &shown).await?;
    let answers = contest.answers();
    node.stop()?;
    println!(
        "{} kills: {} acknowledged payments, {} refused contenders, {} lost, {} outputs spent twice, {} contradictory answers, slowest start {:.2} s",
        args.kills,
        answers.accepted,
        answers.rejected,
        found.lost,
        found.twice,
        answers.contradicted,
        slowest.as_secs_f64()
    );
    let shown = bar("deciding the log anew", 1);
    let scratch = args.data_dir.join("check");
    let report = eschaton_node::check(&args.data_dir, &scratch, 0, anew::progress(&shown)).await?;
    shown.finish_and_clear();
    anew::print(&report);
    ensure!(found.lost == 0 && found.twice == 0 && answers.contradicted == 0, "money was lost or doubled");
    ensure!(
        report.store_hash == report.replay_hash && report.first_difference.is_none(),
        "{}",
        report.first_difference.unwrap_or_default()
    );
    Ok(())
}
