use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use eschaton_ports::Clock;

/// The machine's clock; sleeps on tokio's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[allow(clippy::disallowed_methods, reason = "this is the adapter that reaches out")]
#[async_trait]
impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 or after the year 584 million is a clock that is not set.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_ms(&self, ms: u64) {
        let asked = Duration::from_millis(ms);
        let start = Instant::now();
        // Tokio rounds to its own ticks: look again rather than wake early.
        while let Some(left) = asked.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left).await;
        }
    }
}
