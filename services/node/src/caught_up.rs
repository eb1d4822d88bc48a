//! Read your own writes: rows follow the log by a few milliseconds, and who was answered from the log
//! must find what the answer spoke of.

use eschaton_kit::Ports;
use eschaton_ports::{Log, LogError, Topic, TopicPartition};
use tonic::Status;

/// From the first look at a watermark to the second, ms; twice as long each time.
const FIRST_LOOK_MS: u64 = 2;
/// Between two looks at the most, ms.
const LOOK_EVERY_MS: u64 = 32;
/// Waits for one shard, ms, before the caller is told to come again. Longer than rows may rest (`shard_write_ms`).
const LOOK_MAX_MS: u64 = 3_000;

/// Waits until the rows show all that the ledger's log held at the call, and what it told other shards: a
/// message may follow the commit that decided it, but is on the log before the rows of that commit are in the store.
pub(crate) async fn caught_up(ports: &Ports, shards: u32) -> Result<(), Status> {
    rows_follow(ports, shards).await?;
    if ports.log.commits_hold_readers() { rows_follow(ports, shards).await } else { Ok(()) }
}

async fn rows_follow(ports: &Ports, shards: u32) -> Result<(), Status> {
    let away = |error: String| Status::unavailable(error);
    for partition in 0..shards {
        let at = TopicPartition { topic: Topic::Ledger, partition };
        let end = ports.log.end(at).await.map_err(|error| away(error.to_string()))?;
        let worker = format!("{}/{partition}", conflict_resolver::GROUP);
        let (mut pause, mut waited, mut seen) = (FIRST_LOOK_MS, 0, None);
        loop {
            let mark = ports.store.watermark(&worker).await.map_err(|error| away(error.to_string()))?;
            let next = mark.map_or(0, |mark| mark.input_next);
            // What is between two places of a log does not change.
            if seen.replace(next) != Some(next)
                && consumed(ports.log.as_ref(), at, next, end)
                    .await
                    .map_err(|error| away(error.to_string()))?
            {
                break;
            }
            if waited > LOOK_MAX_MS {
                let behind = format!("shard {partition} is behind its log; ask again in a second");
                return Err(Status::unavailable(behind));
            }
            ports.clock.sleep_ms(pause).await;
            waited += pause;
            pause = LOOK_EVERY_MS.min(pause * 2);
        }
    }
    Ok(())
}

/// True when nothing between `next` and `end` is left to consume. An engine may leave gaps in its offsets, at
/// the end of a partition too.
pub(crate) async fn consumed(
    log: &dyn Log,
    at: TopicPartition,
    next: u64,
    end: u64,
) -> Result<bool, LogError> {
    if next >= end {
        return Ok(true);
    }
    Ok(log.read(at, next, 1, 1).await?.first().is_none_or(|record| record.offset >= end))
}
