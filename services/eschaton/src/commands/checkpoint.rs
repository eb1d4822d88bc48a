//! `eschaton checkpoint`.

use clap::Args;
use serde_json::json;

use super::show;
use crate::session::{LightArgs, Session};

/// Options of `eschaton checkpoint`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  eschaton checkpoint\n  eschaton checkpoint --key 'node+1a2b3c4d+AR...'\n\nWith the operator's key, the latest checkpoint is proven to extend the latest one seen before, and is remembered.\n\nJSON: {\"verified\":true,\"checkpoint\":{\"origin\",\"number\",\"size\",\"time_ms\",\"log_root\",\"map_root\",\"previous\",\"hash\"},\"note\",\"verifier_key\",\"key_source\":\"operator\"|\"node\"}"
)]
pub(crate) struct CheckpointArgs {
    /// Which; the latest unless given
    number: Option<u64>,
    #[command(flatten)]
    light: LightArgs,
}

pub(super) async fn perform(args: CheckpointArgs, session: &Session) -> anyhow::Result<()> {
    let node = session.node()?;
    let mut trust = args.light.trust(&node).await?;
    let checkpoint = match (&mut trust.light, args.number) {
        (Some(light), None) => light.refresh(&node).await?,
        (_, number) => trust.key.open(&node.checkpoint(number).await?)?,
    };
    let body = checkpoint.body();
    if let Some(number) = args.number.filter(|number| *number != body.number) {
        anyhow::bail!("the node gave checkpoint {} and not {number} as was asked; ask again", body.number);
    }
    let note = String::from_utf8_lossy(checkpoint.note());
    let mut text = format!("verified   {}\n\n{}", show::checkpoint_line(body), note.trim_end());
    if let Some(warning) = trust.warning() {
        text.push_str(&format!("\n\n{warning}"));
    }
    session.out.show(
        text,
        &json!({
            "verified": true,
            "checkpoint": show::checkpoint_json(body),
            "note": note,
            "verifier_key": trust.key.to_string(),
            "key_source": trust.source,
        }),
    )
}
