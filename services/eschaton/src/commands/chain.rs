//! `eschaton beacon` and `eschaton chain`.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::session::Session;

/// Options of `eschaton beacon`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  eschaton beacon\n  eschaton beacon --blocks 1 --json\n\nPut one of the hashes into what you write, then stamp it: the two blocks bound the time from both sides. Headers, their work and their links are checked; that this is the best chain is the node's word.\n\nJSON, one line for each block, the newest first: {\"chain\",\"height\",\"hash\",\"time_ms\",\"header\"}"
)]
pub(crate) struct BeaconArgs {
    /// How many, 1 to 144
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=144))]
    blocks: u32,
}

/// `eschaton chain …`
#[derive(Args, Debug)]
pub(crate) struct ChainCommand {
    #[command(subcommand)]
    task: ChainTask,
}

#[derive(Subcommand, Debug)]
enum ChainTask {
    /// Mine blocks on a private chain, which a development node has in its own process
    #[command(after_help = "Example:\n  eschaton chain mine 6\n\nJSON: {\"mined\",\"height\",\"hash\"}")]
    Mine {
        /// How many, 1 to 1000
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
        blocks: u32,
    },
}

/// A hash as people and explorers write it: backwards.
pub(super) fn backwards(bytes: &[u8]) -> String {
    hex::encode(bytes.iter().rev().copied().collect::<Vec<_>>())
}

pub(super) async fn beacon(args: &BeaconArgs, session: &Session) -> anyhow::Result<()> {
    for block in session.node()?.beacon(args.blocks).await? {
        let hash = block.hash().to_string();
        session.out.show(
            format!("{} {:>8}  {hash}", block.chain, block.height),
            &json!({
                "chain": block.chain,
                "height": block.height,
                "hash": hash,
                "time_ms": block.time_ms(),
                "header": hex::encode(block.bytes()),
            }),
        )?;
    }
    Ok(())
}

pub(super) async fn perform(command: &ChainCommand, session: &Session) -> anyhow::Result<()> {
    let ChainTask::Mine { blocks } = command.task;
    let mined = session.node()?.mine(blocks).await?;
    let hash = mined.hashes.last().map(|hash| backwards(hash)).unwrap_or_default();
    session.out.show(
        format!(
            "mined      {} blocks, the chain is {} high\nlast       {hash}",
            mined.hashes.len(),
            mined.height
        ),
        &json!({ "mined": mined.hashes.len(), "height": mined.height, "hash": hash }),
    )
}
