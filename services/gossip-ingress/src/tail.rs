use std::sync::Arc;

use eschaton_kit::{Health, Ports};
use eschaton_ports::{LogError, TopicPartition};
use eschaton_types::TxId;
use eschaton_types::pb::log::Decision;
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::waiting::Waiting;

/// Follows one partition of decisions and answers those who wait.
pub(crate) async fn run(
    at: TopicPartition,
    mut from: u64,
    ports: Ports,
    waiting: Arc<Waiting>,
    health: Health,
    stop: CancellationToken,
) {
    let part = format!("decisions-tail-{}", at.partition);
    loop {
        let turned = tokio::select! {
            turned = turn(at, from, &ports, &waiting) => turned,
            () = stop.cancelled() => return,
        };
        match turned {
            Ok(next) => {
                if next > from {
                    health.well(&part);
                }
                from = next;
            }
            Err(error @ (LogError::Fatal { .. } | LogError::Fenced { .. })) => {
                health.fatal(&part, error.to_string());
                return;
            }
            Err(error) => {
                health.degraded(&part, error.to_string());
                ports.clock.sleep_ms(200).await;
                // The next decision may be long in coming; that the log answers is enough to be well.
                if ports.log.end(at).await.is_ok() {
                    health.well(&part);
                }
            }
        }
    }
}

async fn turn(at: TopicPartition, from: u64, ports: &Ports, waiting: &Waiting) -> Result<u64, LogError> {
    let records = ports.log.read(at, from, 4_096, 4 << 20).await?;
    let Some(last) = records.last() else {
        ports.log.wait(&[(at, from)]).await?;
        return Ok(from);
    };
    let next = last.offset + 1;
    let decisions = records
        .into_iter()
        .filter_map(|record| {
            let parsed =
                Decision::decode(record.payload).map_err(|error| error.to_string()).and_then(|decision| {
                    let txid = TxId::from_slice(&decision.txid, "txid").map_err(|error| error.to_string())?;
                    Ok((txid, decision))
                });
            // Damage here harms an answer, not money: who waits learns PENDING and looks it up.
            parsed
                .inspect_err(|error| tracing::error!(%at, record.offset, error, "decision does not decode"))
                .ok()
        })
        .collect();
    waiting.decided(decisions, ports.clock.now_ms());
    Ok(next)
}
