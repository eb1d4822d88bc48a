//! Shows a process to whoever looks at the cluster: services that own no partition are members of a group all the same.

use std::sync::Arc;

use eschaton_ports::{Clock, Log, LogError, Membership, Topic};
use tokio_util::sync::CancellationToken;

/// Pause before a group is joined again.
const REJOIN_MS: u64 = 5_000;

/// Keeps this process a member of the group of this name until `stop`, and then leaves it: one that dies is forgotten when
/// its session ends. What the group gives it is of no meaning and nobody claims it. Payments do not hang on it, so trouble
/// is only told to the log.
pub(crate) async fn show(
    group: &'static str,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        let error = tokio::select! {
            // Any topic would do; this one has one partition in every cluster.
            joined = log.join(group, Topic::Checkpoints, 1) => match joined {
                Ok(membership) => match stay(membership, &stop).await {
                    Some(error) => error,
                    None => return,
                },
                Err(error) => error,
            },
            () = stop.cancelled() => return,
        };
        tracing::warn!(group, %error, "this process is not shown in `eschaton cluster status`");
        tokio::select! {
            () = clock.sleep_ms(REJOIN_MS) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// `None`: it was told to stop, and the group knows.
async fn stay(mut membership: Box<dyn Membership>, stop: &CancellationToken) -> Option<LogError> {
    loop {
        tokio::select! {
            // A revoked partition is free as soon as the change is dropped.
            change = membership.next() => if let Err(error) = change {
                return Some(error);
            },
            () = stop.cancelled() => {
                membership.leave().await;
                return None;
            }
        }
    }
}
