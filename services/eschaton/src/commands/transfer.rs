//! `eschaton export` and `eschaton import`: a ledger from one set of engines to another.

use std::path::PathBuf;

use clap::Args;
use eschaton_node::{TransferReport, export, import};
use serde_json::json;

use super::bar::Bar;
use crate::out::Out;
use crate::settings::SettingsArgs;

/// Write everything of a stopped node or cluster into a directory; goes on where it was interrupted.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  eschaton export --data-dir ./data --to ./moved\n  eschaton export --config cluster.toml --to ./moved\n\nNode and workers must be stopped. Keys stay where they are unless --with-keys is given. With --json: records, bytes, rows, state_hash, verifier_key, keys."
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Directory of the export; made if need be
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Put node.key and dev-issuer.key into the export: who has it can then sign as this node
    #[arg(long)]
    with_keys: bool,
}

/// Put an export into empty engines and compare every row; goes on where it was interrupted.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  eschaton import --data-dir ./new --from ./moved\n  eschaton migrate --config cluster.toml && eschaton import --config cluster.toml --from ./moved\n\nThe node's key must be there before, unless the export has it (--with-keys). Start nothing on the target before it is done. With --json: records, bytes, rows, state_hash, verifier_key, keys."
)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Directory of the export
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

pub(crate) async fn perform_export(args: &ExportArgs, out: Out) -> anyhow::Result<()> {
    let (_, config) = args.settings.read()?;
    let bar = Bar::new();
    let report = export(&config, &args.to, args.with_keys, &mut |step| {
        bar.show(step);
        Ok(())
    })
    .await?;
    bar.end();
    let keys = match report.keys {
        true => {
            "keys are in it: whoever has it can sign as this node; keep it private and delete it when it is moved"
        }
        false => {
            "no keys are in it: bring node.key (and dev-issuer.key, if there is one) to the target yourself"
        }
    };
    let told = format!("exported to {}: {}\n{keys}", args.to.display(), words(&report));
    out.show(told, &object("exported", &report))
}

pub(crate) async fn perform_import(args: &ImportArgs, out: Out) -> anyhow::Result<()> {
    let (_, config) = args.settings.read()?;
    let bar = Bar::new();
    let report = import(&config, &args.from, &mut |step| {
        bar.show(step);
        Ok(())
    })
    .await?;
    bar.end();
    let told = format!("imported {}\nthe target's rows are the source's", words(&report));
    out.show(told, &object("imported", &report))
}

fn words(report: &TransferReport) -> String {
    let TransferReport { records, bytes, rows, state_hash, verifier_key, .. } = report;
    format!("{records} records, {bytes} bytes\n{rows} rows, state hash {state_hash}\nkey {verifier_key}")
}

fn object(what: &str, report: &TransferReport) -> serde_json::Value {
    json!({
        what: true,
        "records": report.records,
        "bytes": report.bytes,
        "rows": report.rows,
        "state_hash": report.state_hash,
        "verifier_key": report.verifier_key,
        "keys": report.keys,
    })
}
