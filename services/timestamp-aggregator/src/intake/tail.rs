//! Follows what a shard's stamper publishes: where digests are, and which intervals are closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use eschaton_core::TopicPartition;
use eschaton_kit::Health;
use eschaton_ports::LogError;
use eschaton_types::pb::log::{Placed, StampEvent, stamp_event::Kind};
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::answering::{self, Leaf};
use super::rounds::Rounds;

/// Intervals that are not closed yet, and this process's digests in them.
type Open = BTreeMap<u64, Vec<Leaf>>;

pub(super) async fn run(
    at: TopicPartition,
    mut from: u64,
    shared: Arc<Shared>,
    rounds: Arc<Rounds>,
    health: Health,
    stop: CancellationToken,
) {
    let part = format!("stamped-tail-{}", at.partition);
    let mut open = Open::new();
    loop {
        let turned = tokio::select! {
            turned = turn(at, from, &shared, &rounds, &mut open) => turned,
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
                shared.ports.clock.sleep_ms(200).await;
                // The next event may be long in coming; that the log answers is enough to be well.
                if shared.ports.log.end(at).await.is_ok() {
                    health.well(&part);
                }
            }
        }
    }
}

async fn turn(
    at: TopicPartition,
    from: u64,
    shared: &Arc<Shared>,
    rounds: &Rounds,
    open: &mut Open,
) -> Result<u64, LogError> {
    let records = shared.ports.log.read(at, from, 4_096, 4 << 20).await?;
    let Some(last) = records.last() else {
        shared.ports.log.wait(&[(at, from)]).await?;
        return Ok(from);
    };
    let next = last.offset + 1;
    for record in records {
        match StampEvent::decode(record.payload).map(|event| event.kind) {
            Ok(Some(Kind::Placed(placed))) => take(at.partition, placed, shared, rounds, open),
            Ok(Some(Kind::Closed(closed))) => {
                // Intervals of a shard are closed in order.
                let later = open.split_off(&closed.interval.saturating_add(1));
                for (interval, leaves) in std::mem::replace(open, later) {
                    answering::start(shared, at.partition, interval, leaves);
                }
            }
            // Damage here harms an answer, no digest: who waits is told to come again.
            Ok(None) => tracing::error!(%at, record.offset, "stamp event of an unknown kind"),
            Err(error) => tracing::error!(%at, record.offset, %error, "stamp event does not decode"),
        }
    }
    Ok(next)
}

fn take(shard: u32, placed: Placed, shared: &Arc<Shared>, rounds: &Rounds, open: &mut Open) {
    let Some(entries) = rounds.placed(&placed.ticket) else { return };
    let places = placed
        .runs
        .iter()
        .flat_map(|run| (0..run.count).map(|at| (run.interval, run.index.saturating_add(at), run.repeated)));
    let mut earlier: Open = BTreeMap::new();
    for (entry, (interval, index, repeated)) in entries.into_iter().zip(places) {
        // Whether an earlier interval is closed already, its row tells.
        let into = if repeated { &mut earlier } else { &mut *open };
        into.entry(interval).or_default().push(Leaf { index, entry });
    }
    for (interval, leaves) in earlier {
        answering::start(shared, shard, interval, leaves);
    }
}
