//! Requests are idempotent, so another attempt does no harm. The request's time limit spans all attempts.

use scylla::errors::{DbError, RequestAttemptError};
use scylla::policies::retry::{RequestInfo, RetryDecision, RetryPolicy, RetrySession};

use crate::metrics;

/// Attempts after the first.
const RETRIES_MAX: u32 = 2;

/// Tries passing trouble again on the next node; the caller, who knows how to wait, does the rest.
#[derive(Debug)]
pub(crate) struct Again;

#[derive(Debug, Default)]
struct Attempts(u32);

impl RetryPolicy for Again {
    fn new_session(&self) -> Box<dyn RetrySession> {
        Box::<Attempts>::default()
    }
}

impl RetrySession for Attempts {
    fn decide_should_retry(&mut self, request: RequestInfo<'_>) -> RetryDecision {
        if !request.is_idempotent || self.0 >= RETRIES_MAX || !is_passing(request.error) {
            return RetryDecision::DontRetry;
        }
        self.0 += 1;
        metrics::retry();
        RetryDecision::RetryNextTarget(None)
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Whether another node, or the same one a moment later, may do better.
fn is_passing(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::UnableToAllocStreamId | RequestAttemptError::BrokenConnectionError(_) => true,
        RequestAttemptError::DbError(error, _) => matches!(
            error,
            DbError::Unavailable { .. }
                | DbError::Overloaded
                | DbError::IsBootstrapping
                | DbError::ReadTimeout { .. }
                | DbError::WriteTimeout { .. }
                | DbError::ReadFailure { .. }
                | DbError::WriteFailure { .. }
                | DbError::ServerError
                | DbError::RateLimitReached { .. }
        ),
        _ => false,
    }
}
