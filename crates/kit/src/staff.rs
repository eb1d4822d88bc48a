use std::collections::BTreeMap;
use std::sync::Arc;

use eschaton_ports::{Change, Clock, Log, LogError, Topic};
use tokio_util::sync::CancellationToken;

use crate::{Health, WorkerThread};

/// Pause before a group is joined again.
const REJOIN_MS: u64 = 1_000;

/// Work that a group of processes shares out by the partitions of a topic.
pub struct Duty {
    /// The group.
    pub group: &'static str,
    /// Whose partitions are shared out.
    pub topic: Topic,
    /// How many there are.
    pub partitions: u32,
}

/// Keeps one worker on each partition that this process owns, until `stop`. `start` opens a worker that ends
/// by itself when its token is cancelled; a partition is released only after its worker's end.
pub async fn staff(
    duty: Duty,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    health: Health,
    stop: CancellationToken,
    start: impl Fn(u32, CancellationToken) -> std::io::Result<WorkerThread>,
) {
    let mut at_work = AtWork { workers: BTreeMap::new() };
    while !stop.is_cancelled() {
        let followed = follow(&duty, log.as_ref(), &health, &stop, &start, &mut at_work).await;
        at_work.dismiss_all().await;
        let Err(error) = followed else { break };
        tracing::warn!(group = duty.group, %error, "membership ended; joining again");
        health.degraded(duty.group, error.to_string());
        tokio::select! {
            () = clock.sleep_ms(REJOIN_MS) => {}
            () = stop.cancelled() => break,
        }
    }
}

async fn follow(
    duty: &Duty,
    log: &dyn Log,
    health: &Health,
    stop: &CancellationToken,
    start: &impl Fn(u32, CancellationToken) -> std::io::Result<WorkerThread>,
    at_work: &mut AtWork,
) -> Result<(), LogError> {
    let mut membership = log.join(duty.group, duty.topic, duty.partitions).await?;
    // Joining asks nobody, and one that stands by is told of no change: so it is asked whether the group is there.
    log.owners(duty.group).await?;
    health.well(duty.group);
    loop {
        let change = tokio::select! {
            change = membership.next() => change?,
            () = stop.cancelled() => {
                // Before the membership is dropped: nobody gets a partition whose worker still commits.
                at_work.dismiss_all().await;
                // The others wait for nobody then.
                membership.leave().await;
                return Ok(());
            }
        };
        health.well(duty.group);
        match change {
            Change::Assigned(partitions) => {
                tracing::info!(group = duty.group, ?partitions, "partitions assigned");
                for partition in partitions {
                    let token = CancellationToken::new();
                    let worker = start(partition, token.clone()).map_err(|error| LogError::Unavailable {
                        detail: format!("no thread for partition {partition}: {error}"),
                    })?;
                    at_work.workers.insert(partition, (token, worker));
                }
            }
            Change::Revoked(partitions, release) => {
                tracing::info!(group = duty.group, ?partitions, "partitions handed over");
                at_work.dismiss(&partitions).await;
                drop(release);
            }
            Change::Lost(partitions) => {
                tracing::warn!(group = duty.group, ?partitions, "partitions lost");
                at_work.dismiss(&partitions).await;
            }
        }
    }
}

struct AtWork {
    workers: BTreeMap<u32, (CancellationToken, WorkerThread)>,
}

impl AtWork {
    async fn dismiss(&mut self, partitions: &[u32]) {
        let leaving: Vec<_> =
            partitions.iter().filter_map(|partition| self.workers.remove(partition)).collect();
        // All are told before the first is waited for.
        leaving.iter().for_each(|(token, _)| token.cancel());
        for (_, worker) in leaving {
            worker.join().await;
        }
    }

    async fn dismiss_all(&mut self) {
        let all: Vec<u32> = self.workers.keys().copied().collect();
        self.dismiss(&all).await;
    }
}
