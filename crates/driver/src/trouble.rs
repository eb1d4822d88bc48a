use eschaton_ports::{Claim, Clock, Log, LogError, NewRecord, StoreError};

use crate::WorkerError;

/// One that was taken over reads rows of its successor, which may contradict what it knows. Before it
/// cries damage, it asks the log whether it is still the owner.
pub async fn unless_fenced(claim: &mut dyn Claim, error: WorkerError) -> WorkerError {
    if error.is_passing() {
        return error;
    }
    match claim.commit(Vec::new(), &[]).await {
        Ok(_) => error,
        Err(fenced) => fenced.into(),
    }
}

/// Repeats a store operation, `pause_ms` apart, while the store is away; it is idempotent.
pub async fn retrying<T, F>(
    clock: &dyn Clock,
    pause_ms: u64,
    group: &str,
    operation: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut attempts = 0_u32;
    loop {
        match operation().await {
            Err(StoreError::Unavailable { detail }) => {
                attempts += 1;
                metrics::counter!("eschaton_worker_store_retries_total", "group" => group.to_owned())
                    .increment(1);
                if attempts.is_power_of_two() {
                    tracing::warn!(group, attempts, detail, "store is away; trying again");
                }
                clock.sleep_ms(pause_ms).await;
            }
            other => return other,
        }
    }
}

/// So often in a row, then the worker is opened anew: its trouble is seen, it can be stopped, and opening sends again.
const SEND_ATTEMPTS: u32 = 8;

/// Appends records, all of them again after each failure, while the log is away. Consumers drop what they have.
pub(crate) async fn appending(
    log: &dyn Log,
    clock: &dyn Clock,
    pause_ms: u64,
    group: &str,
    records: &[NewRecord],
) -> Result<(), LogError> {
    let mut attempts = 0_u32;
    loop {
        match log.append(records.to_vec()).await {
            Err(LogError::Unavailable { detail }) if attempts < SEND_ATTEMPTS => {
                attempts += 1;
                metrics::counter!("eschaton_worker_send_retries_total", "group" => group.to_owned())
                    .increment(1);
                if attempts.is_power_of_two() {
                    tracing::warn!(group, attempts, detail, "messages were not sent; trying again");
                }
                clock.sleep_ms(pause_ms).await;
            }
            other => return other.map(drop),
        }
    }
}
