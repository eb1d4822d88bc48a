//! While no anchor can be made, digests are taken up to a bound: a promise that grows old with millions of others is worth
//! little, and what waits must fit one transaction's tree.
//!
//! Every process looks at the anchorer's row, whoever has the anchorer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use eschaton_driver::WorkerError;
use eschaton_kit::Health;
use eschaton_timestamp::Anchorer;
use eschaton_timestamp::rows::anchorer_key;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::stampers::{core_error, get};

/// Intervals close ten times a second and shard at most, so few more than the bound are taken between two looks.
const LOOK_EVERY_MS: u64 = 500;
const PART: &str = "stamps-intake";

pub(super) async fn run(shared: Arc<Shared>, health: Health, stop: CancellationToken) {
    let most = shared.limits.unanchored_max;
    loop {
        // A store that does not answer is told of by who works on it; the door stays as it was.
        if let Ok(waiting) = waiting(&shared).await {
            let full = waiting >= most;
            if shared.full.swap(full, Ordering::Relaxed) != full {
                tracing::warn!(waiting, most, full, "intervals without anchor");
            }
            if full {
                health.degraded(
                    PART,
                    format!(
                        "{waiting} intervals wait for an anchor, at most {most} may: no more digests are taken; see to the chain \
                         node, the anchors' wallet and the fee cap (`eschaton anchor list`)"
                    ),
                );
            } else {
                health.well(PART);
            }
        }
        tokio::select! {
            () = shared.ports.clock.sleep_ms(LOOK_EVERY_MS) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn waiting(shared: &Shared) -> Result<u32, WorkerError> {
    let (mut rows, key) = (HashMap::new(), anchorer_key());
    get(shared.ports.store.as_ref(), vec![key.clone()], &mut rows).await?;
    Ok(Anchorer::head_of(rows.get(&key)).map_err(core_error)?.count)
}
