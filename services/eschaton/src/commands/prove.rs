//! `eschaton prove`: fetch a proof and check it at once.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use eschaton_types::{OutPoint, TxId};
use serde_json::json;

use super::facts;
use crate::session::{LightArgs, Session};

/// `eschaton prove …`
#[derive(Args, Debug)]
pub(crate) struct ProveCommand {
    #[command(flatten)]
    light: LightArgs,
    /// Write the proof there, for `eschaton verify` or anyone else
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(subcommand)]
    task: ProveTask,
}

#[derive(Subcommand, Debug)]
enum ProveTask {
    /// That a transaction is in the log
    #[command(
        after_help = "Example:\n  eschaton prove inclusion 5f0c... --out proof.bin\n\nJSON: {\"verified\":true,\"fact\":\"included\",\"txid\",\"sequence\",\"checkpoint\":{\"origin\",\"number\",\"size\",\"time_ms\",\"log_root\",\"map_root\",\"previous\",\"hash\"},\"verifier_key\",\"key_source\":\"operator\"|\"node\",\"proof_file\"}"
    )]
    Inclusion {
        /// 64 hexadecimal digits
        #[arg(value_parser = TxId::from_hex)]
        txid: TxId,
    },
    /// That an output is unspent, spent and by whom, or never existed
    #[command(
        after_help = "Example:\n  eschaton prove output 5f0c...:0 --key 'node+1a2b3c4d+AR...'\n\nJSON: as inclusion, with \"fact\":\"unspent\"|\"spent\"|\"never_existed\"|\"not_yet_created\",\"outpoint\",\"created_sequence\",\"spent_by\",\"spent_sequence\",\"network\",\"owner\",\"product\",\"amount\" where they apply"
    )]
    Output {
        /// Transaction id, a colon, a position
        #[arg(value_parser = OutPoint::parse)]
        outpoint: OutPoint,
    },
    /// That the latest checkpoint extends an earlier one
    #[command(
        after_help = "Example:\n  eschaton prove consistency 7\n\nJSON: as inclusion, with \"fact\":\"consistent\",\"old_checkpoint\":{..}"
    )]
    Consistency {
        /// Number of the earlier checkpoint
        number: u64,
    },
}

pub(super) async fn perform(command: ProveCommand, session: &Session) -> anyhow::Result<()> {
    let node = session.node()?;
    let mut trust = command.light.trust(&node).await?;
    let (bytes, fact) = match command.task {
        ProveTask::Inclusion { txid } => {
            let bytes = node.prove_inclusion(&txid).await?;
            let fact = facts::inclusion(&bytes, &trust.key, txid)?;
            (bytes, fact)
        }
        ProveTask::Output { outpoint } => {
            let bytes = node.prove_output(&outpoint).await?;
            let fact = facts::output(&bytes, &trust.key, outpoint)?;
            (bytes, fact)
        }
        ProveTask::Consistency { number } => {
            let bytes = node.prove_consistency(number).await?;
            let fact = facts::consistency(&bytes, &trust.key)?;
            let old = &fact.json()["old_checkpoint"]["number"];
            if *old != json!(number) {
                bail!("the node proved checkpoint {old} and not {number} as was asked; ask again");
            }
            (bytes, fact)
        }
    };
    if let Some(light) = &mut trust.light {
        light.extend_to(&node, &fact.checkpoint).await?;
    }
    let mut object = fact.json();
    object["verifier_key"] = json!(trust.key.to_string());
    object["key_source"] = json!(trust.source);
    let mut text = fact.human();
    if let Some(path) = &command.out {
        std::fs::write(path, &bytes).with_context(|| {
            format!("the proof holds but cannot be written to {}; give another file", path.display())
        })?;
        object["proof_file"] = json!(path.display().to_string());
        text.push_str(&format!("\nproof      {} ({} bytes)", path.display(), bytes.len()));
    }
    if let Some(warning) = trust.warning() {
        text.push_str(&format!("\n{warning}"));
    }
    session.out.show(text, &object)
}
