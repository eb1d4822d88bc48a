//! `eschaton status`.

use clap::Args;
use eschaton_api::query::Status;
use serde_json::{Value, json};

use crate::session::Session;
use crate::when;

/// Options of `eschaton status`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  eschaton status\n\nJSON: {\"version\",\"network\",\"shards\",\"uptime_ms\",\"undecided\",\"checkpoint\":{\"number\",\"size\"}|null,\"verifier_key\",\"partitions\":[{\"partition\",\"ledger_end\",\"ledger_consumed\",\"lag\",\"decisions_end\",\"pending\"}],\"problems\":[..]}"
)]
pub(crate) struct StatusArgs {}

pub(super) async fn perform(session: &Session) -> anyhow::Result<()> {
    let node = session.node()?;
    let status = node.status().await?;
    session.out.show(human(&status, node.endpoint()), &json(&status))
}

fn human(status: &Status, endpoint: &str) -> String {
    let checkpoint = match status.checkpoint_number {
        Some(number) => format!("{number} ({} transactions)", status.checkpoint_size),
        None => "none yet".to_owned(),
    };
    let mut lines = vec![
        format!("node         {endpoint}, version {}", status.version),
        format!("network      {}", status.network),
        format!("up for       {}", when::lasting(status.uptime_ms)),
        format!("undecided    {}", status.undecided),
        format!("checkpoint   {checkpoint}"),
        format!("key          {}", status.verifier_key),
        format!("shards       {}", status.shards),
        "shard     log end    behind   pending".to_owned(),
    ];
    for row in &status.partitions {
        let lag = row.ledger_end.saturating_sub(row.ledger_consumed);
        lines.push(format!("{:>5}  {:>10}  {lag:>8}  {:>8}", row.partition, row.ledger_end, row.pending));
    }
    if status.problems.is_empty() {
        lines.push("problems     none".to_owned());
    }
    lines.extend(status.problems.iter().map(|problem| format!("problem      {problem}")));
    lines.join("\n")
}

fn json(status: &Status) -> Value {
    let partitions: Vec<Value> = status
        .partitions
        .iter()
        .map(|row| {
            json!({
                "partition": row.partition,
                "ledger_end": row.ledger_end,
                "ledger_consumed": row.ledger_consumed,
                "lag": row.ledger_end.saturating_sub(row.ledger_consumed),
                "decisions_end": row.decisions_end,
                "pending": row.pending,
            })
        })
        .collect();
    json!({
        "version": status.version,
        "network": status.network,
        "shards": status.shards,
        "uptime_ms": status.uptime_ms,
        "undecided": status.undecided,
        "checkpoint": status.checkpoint_number.map(|number| json!({ "number": number, "size": status.checkpoint_size })),
        "verifier_key": status.verifier_key,
        "partitions": partitions,
        "problems": status.problems,
    })
}
