//! `eschaton migrate` and `eschaton cluster`: an operator's view of the engines.

use anyhow::bail;
use clap::{Args, Subcommand};
use eschaton_node::{CheckpointState, ClusterState, cluster_state};
use serde_json::json;

use crate::out::Out;
use crate::settings::SettingsArgs;
use crate::when;

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
    for (service, names) in [("gossip-ingress", &state.ingresses), ("query", &state.queries)] {
        lines.extend(names.iter().map(|name| format!("{service:<18} {name:<22} at work")));
    }
    lines.push(String::new());
    lines.push(format!(
        "{:>5}  {:<22} {:>10} {:>10} {:>7} {:>7} {:>10} {:>10}  last commit",
        "shard", "owner", "consumed", "end", "lag", "behind", "rows", "committed"
    ));
    for shard in &state.shards {
        let owner = shard.owner.as_deref().unwrap_or("nobody");
        let behind = shard.behind_s.map_or("?".to_owned(), |seconds| format!("{seconds} s"));
        lines.push(format!(
            "{:>5}  {owner:<22} {:>10} {:>10} {:>7} {behind:>7} {:>10} {:>10}  {}",
            shard.shard,
            number(shard.consumed),
            number(shard.end),
            number(shard.lag),
            number(shard.rows_up_to),
            number(shard.committed_up_to),
            shard.last_commit_ms.map_or("none".to_owned(), when::show),
        ));
    }
    lines.push(String::new());
    lines.push(match &state.checkpoint {
        Some(CheckpointState { number: n, size, time_ms, decisions_after }) => format!(
            "checkpoint {n} over {size} transactions, of {}; {} decisions after it",
            when::show(*time_ms),
            number(*decisions_after)
        ),
        None => "no checkpoint is known".to_owned(),
    });
    lines.extend(state.problems.iter().map(|problem| format!("problem: {problem}")));
    if state.problems.is_empty() {
        lines.push("all is well".to_owned());
    }
    lines.join("\n")
}

/// What no engine told is shown as such.
fn number(known: Option<u64>) -> String {
    known.map_or("?".to_owned(), |number| number.to_string())
}
