//! Names and labels of this service's metrics.

use metrics::{describe_counter, describe_gauge, describe_histogram};

pub(crate) const PENDING: &str = "eschaton_ledger_pending_transactions";

pub(crate) fn describe() {
    describe_gauge!(PENDING, "undecided transactions, by shard");
    describe_histogram!("eschaton_worker_commit_seconds", "time of one atomic log commit, by group");
    describe_histogram!(
        "eschaton_worker_open_seconds",
        "from the beginning of a worker's claim until it takes records, by group"
    );
    describe_counter!(
        "eschaton_worker_reapplied_changes_total",
        "changes records above the store's watermark, written to it when a worker was opened, by group"
    );
    describe_histogram!("eschaton_worker_batch_records", "records of one batch, by group");
    describe_counter!(
        "eschaton_worker_repeated_records_total",
        "records dropped because their id was passed, by group"
    );
    describe_counter!("eschaton_worker_store_retries_total", "store operations tried again, by group");
}
