//! `eschaton migrate` and `eschaton cluster`: an operator's view of the engines.

use anyhow::bail;
use clap::{Args, Subcommand};
use eschaton_node::{ClusterState, cluster_state};
use serde_json::json;

use crate::out::Out;
use crate::settings::SettingsArgs;

/// Make what is missing of topics and tables; deletes nothing, may be repeated.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  eschaton migrate --config cluster.toml")]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Look at a cluster whole.
#[derive(Args, Debug)]
pub(crate) struct ClusterCommand {
    #[command(subcommand)]
    task: ClusterTask,
}

#[derive(Subcommand, Debug)]
enum ClusterTask {
    /// Services, shards and owners, lag, watermarks, and what is wrong; exits 1 when something is
    #[command(after_help = "Example:\n  eschaton cluster status --config cluster.toml")]
    Status(SettingsArgs),
}

pub(crate) async fn migrate(args: &MigrateArgs, out: Out) -> anyhow::Result<()> {
    let (_, config) = args.settings.read()?;
    let lines = eschaton_node::migrate(&config).await?;
    out.show(lines.join("\n"), &json!({"done": lines}))
}

pub(crate) async fn perform(command: &ClusterCommand, out: Out) -> anyhow::Result<()> {
    let ClusterTask::Status(args) = &command.task;
    let (_, config) = args.read()?;
    let state = cluster_state(&config).await?;
    out.show(human(&state), &serde_json::to_value(&state)?)?;
    match state.problems.len() {
        0 => Ok(()),
        count => bail!("the cluster has {count} problems, told above"),
    }
}

fn human(state: &ClusterState) -> String {
    let mut lines = Vec::new();
    for (service, members) in [("conflict-resolver", &state.resolvers), ("merkle-prover", &state.provers)] {
        for member in members {
            let has = match member.partitions.as_slice() {
                [] => "stands by".to_owned(),
                _ if service == "merkle-prover" => "at work".to_owned(),
                shards => {
                    format!("shards {}", shards.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
                }
            };
            lines.push(format!("{service:<18} {:<22} {has}", member.name));
        }
    }
    lines.push(String::new());
    lines.push(format!(
        "{:>5}  {:<22} {:>12} {:>12} {:>8} {:>8}",
        "shard", "owner", "consumed", "end", "lag", "behind"
    ));
    for shard in &state.shards {
        let owner = shard.owner.as_deref().unwrap_or("nobody");
        let (lag, behind) = (shard.end.saturating_sub(shard.consumed), format!("{} s", shard.behind_s));
        lines.push(format!(
            "{:>5}  {owner:<22} {:>12} {:>12} {lag:>8} {behind:>8}",
            shard.shard, shard.consumed, shard.end
        ));
    }
    lines.push(String::new());
    lines.push(match state.checkpoint {
        Some((number, size)) => format!("checkpoint {number} over {size} transactions"),
        None => "no checkpoint yet".to_owned(),
    });
    lines.extend(state.problems.iter().map(|problem| format!("problem: {problem}")));
    if state.problems.is_empty() {
        lines.push("all is well".to_owned());
    }
    lines.join("\n")
}
