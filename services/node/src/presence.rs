//! Shows a process to whoever looks at the cluster: services that own no partition are members of a group all the same.

use std::sync::Arc;

use eschaton_ports::{Clock, Log, LogError, Topic};
use tokio_util::sync::CancellationToken;

/// Pause before a group is joined again.
const REJOIN_MS: u64 = 5_000;

/// Keeps this process a member of the group of this name until `stop`: one that dies is forgotten when its session ends.
/// What the group gives it is of no meaning and nobody claims it. Payments do not hang on it, so trouble is only told to
/// the log.
pub(crate) async fn show(
    group: &'static str,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            left = stay(group, log.as_ref()) => {
                let Err(error) = left;
                tracing::warn!(group, %error, "this process is not shown in `eschaton cluster status`");
            }
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = clock.sleep_ms(REJOIN_MS) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn stay(group: &str, log: &dyn Log) -> Result<std::convert::Infallible, LogError> {
    // Any topic would do; this one has one partition in every cluster.
    let mut membership = log.join(group, Topic::Checkpoints, 1).await?;
    loop {
        // A revoked partition is free as soon as the change is dropped.
        membership.next().await?;
    }
}
