//! `eschaton verify state`: whether rows and trees are what the log says.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use eschaton_node::{How, StateReport, Step, verify_state};
use serde_json::json;

use super::bar::Bar;
use crate::out::Out;
use crate::settings::SettingsArgs;

/// Between two lines that tell programs how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  eschaton verify state --data-dir ./data\n  eschaton verify state --config cluster.toml --scratch /var/tmp/verify\n\nThe log is decided anew into an empty store in the scratch directory, and every row, every tree row, every published decision and every checkpoint's roots are compared. An embedded node must be stopped; a cluster may run, with payments at rest. Exits 1 at a difference and names the first. With --json: lines with \"progress\", \"done\" and \"of\", then one with verified, records, checkpoints, decisions, rows, store_hash, log_hash and difference (table, key, meaning, log_says, store_has; null when there is none)."
)]
pub(crate) struct StateArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Directory for the rows that are made anew, which take as much room as the store; it must not be there, and is
    /// removed [default: eschaton-verify-PID in the system's directory for temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Apply the changes that were committed instead of deciding anew: for a ledger whose window_ms was changed.
    /// Published decisions are not compared then
    #[arg(long)]
    from_changes: bool,
}

pub(super) async fn perform(args: &StateArgs, out: Out) -> anyhow::Result<()> {
    let (_, mut config) = args.settings.read()?;
    if args.settings.names_only_a_directory() {
        // A directory knows what it was made with.
        config.follow_recorded()?;
    }
    let own = || std::env::temp_dir().join(format!("eschaton-verify-{}", std::process::id()));
    let scratch = args.scratch.clone().unwrap_or_else(own);
    let how = if args.from_changes { How::Apply } else { How::Decide };
    let (bar, mut teller) = (Bar::new(), Teller { out, last: None });
    let report = verify_state(&config, &scratch, how, &mut |step| {
        bar.show(step);
        teller.tell(step);
        Ok(())
    })
    .await?;
    bar.end();
    let mut object = serde_json::to_value(&report)?;
    object["verified"] = json!(report.difference.is_none());
    out.show(words(&report), &object)?;
    match report.difference {
        None => Ok(()),
        Some(difference) => bail!("the state is not what the log says: {difference}"),
    }
}

fn words(report: &StateReport) -> String {
    let StateReport { records, checkpoints, decisions, rows, store_hash, log_hash, difference } = report;
    let verdict = match difference {
        None if *decisions > 0 => "every row, every root and every published decision is what the log says",
        None => "every row and every root is what the log says",
        Some(_) => "they differ; the first place is named below",
    };
    format!(
        "{records} records, {checkpoints} checkpoints, {decisions} decisions, {rows} rows\nstore {store_hash}\nlog   {log_hash}\n{verdict}"
    )
}

/// Lines for programs: one at each new phase, and one a second.
struct Teller {
    out: Out,
    last: Option<(&'static str, Instant)>,
}

impl Teller {
    fn tell(&mut self, step: Step) {
        let fresh = |(what, at): &(&str, Instant)| *what == step.what && at.elapsed() < TOLD_EVERY;
        if !self.out.is_json() || self.last.as_ref().is_some_and(fresh) {
            return;
        }
        self.last = Some((step.what, Instant::now()));
        // The result's line fails too if nobody reads, and that one is told.
        let _ = self.out.show("", &json!({"progress": step.what, "done": step.done, "of": step.all}));
    }
}
