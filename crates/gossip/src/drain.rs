use std::time::Duration;

/// The shortest hint to a client that was refused.
pub const RETRY_MIN_MS: u64 = 10;
/// The longest hint, also while nothing drains.
pub const RETRY_MAX_MS: u64 = 5_000;
/// A release this old counts 1/e of a fresh one.
const MEMORY_MS: f64 = 1_000.0;

/// How fast room came free lately: releases, each weighted by e^(-age / 1 s). A steady rate of r per
/// second settles at the weight r.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    weight: f64,
    at_ms: u64,
}

impl Drain {
    pub(crate) fn record(&mut self, count: usize, now_ms: u64) {
        self.weight = self.per_second(now_ms) + float(count);
        self.at_ms = self.at_ms.max(now_ms); // a clock that steps back ages nothing
    }

    fn per_second(&self, now_ms: u64) -> f64 {
        let age = Duration::from_millis(now_ms.saturating_sub(self.at_ms));
        self.weight * (-age.as_secs_f64() * 1_000.0 / MEMORY_MS).exp()
    }

    /// When `count` places should have come free.
    pub(crate) fn retry_after_ms(&self, count: usize, now_ms: u64) -> u64 {
        let seconds = float(count) / self.per_second(now_ms);
        // Not representable: nothing drains.
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).clamp(RETRY_MIN_MS, RETRY_MAX_MS)
    }
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found_and_foretells_the_wait() {
        let mut drain = Drain::default();
        for step in 0..1_000 {
            drain.record(10, step * 10); // 1,000 per second
        }
        let rate = drain.per_second(9_990);
        assert!((990.0..1_010.0).contains(&rate), "{rate}");
        let wait = drain.retry_after_ms(500, 9_990);
        assert!((490..=510).contains(&wait), "{wait}");
    }

    #[test]
    fn hints_are_bounded() {
        let mut drain = Drain::default();
        assert_eq!(drain.retry_after_ms(1, 0), RETRY_MAX_MS, "nothing drained yet");
        drain.record(1_000_000, 0);
        assert_eq!(drain.retry_after_ms(1, 0), RETRY_MIN_MS);
        assert_eq!(drain.retry_after_ms(0, 0), RETRY_MIN_MS);
        assert_eq!(drain.retry_after_ms(1, 60_000), RETRY_MAX_MS, "it drained a minute ago and stopped");
        assert_eq!(drain.retry_after_ms(1, u64::MAX), RETRY_MAX_MS);
    }

    #[test]
    fn a_clock_that_steps_back_neither_ages_nor_breaks() {
        let mut drain = Drain::default();
        drain.record(100, 10_000);
        drain.record(100, 9_000);
        let rate = drain.per_second(10_000);
        assert!((199.0..=200.0).contains(&rate), "{rate}");
    }
}
