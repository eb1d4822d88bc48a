//! What the tests share. Every wait has a deadline; none is a mere sleep.

pub(crate) mod cli;
pub(crate) mod cluster;
pub(crate) mod engines;
pub(crate) mod money;
pub(crate) mod node;
pub(crate) mod rpc;

use std::time::{Duration, Instant};

/// Longest wait for anything that a healthy node does, on a machine that has other work too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something to see.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// As [`until`], for what takes a database's start besides.
pub(crate) async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not seen within {patience:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
