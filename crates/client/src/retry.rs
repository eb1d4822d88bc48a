//! When to ask again. Pure: elapsed time and randomness are given.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubling pauses with jitter, within a total budget.
#[derive(Debug)]
pub(crate) struct Backoff {
    budget: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(budget: Duration) -> Self {
        Self { budget, next: FIRST }
    }

    /// How long to pause, or none when the budget does not allow it. `pushback` is the node's own
    /// wish and is the least; `random` spreads clients: a pause grows by up to half.
    pub(crate) fn pause(
        &mut self,
        elapsed: Duration,
        pushback: Option<Duration>,
        random: u32,
    ) -> Option<Duration> {
        let base = pushback.unwrap_or(Duration::ZERO).max(self.next);
        self.next = self.next.saturating_mul(2).min(LONGEST);
        let jitter = base.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0);
        let pause = base.saturating_add(jitter);
        (elapsed.saturating_add(pause) <= self.budget).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_with_the_budget() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let mut elapsed = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Some(pause) = backoff.pause(elapsed, None, 0) {
            elapsed += pause;
            pauses.push(pause);
        }
        assert_eq!(pauses[0], FIRST);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(elapsed <= Duration::from_secs(60) && elapsed > Duration::from_secs(50));
    }

    #[test]
    fn the_nodes_wish_is_the_least_and_jitter_at_most_half() {
        let wish = Duration::from_secs(7);
        let mut backoff = Backoff::new(Duration::from_secs(20));
        assert_eq!(backoff.pause(Duration::ZERO, Some(wish), 0), Some(wish));
        let most = backoff.pause(Duration::ZERO, Some(wish), u32::MAX).unwrap();
        assert_eq!(most, wish.mul_f64(1.5));
        assert_eq!(backoff.pause(Duration::from_secs(19), Some(wish), 0), None);
        assert_eq!(backoff.pause(Duration::ZERO, Some(Duration::MAX), u32::MAX), None, "no overflow");
    }
}
