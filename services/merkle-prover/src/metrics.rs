//! Names and labels of this service's metrics.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) fn describe() {
    describe_gauge!("eschaton_prover_checkpoint_number", "number of the latest checkpoint");
    describe_gauge!("eschaton_prover_log_size", "accepted transactions in the log tree");
    describe_histogram!("eschaton_prover_checkpoint_seconds", "time to build and commit one checkpoint");
    describe_histogram!(
        "eschaton_prover_open_seconds",
        "from the beginning of a prover's claim until it takes decisions"
    );
    describe_counter!(
        "eschaton_prover_rebuilt_checkpoints_total",
        "checkpoints above the store's watermark, rebuilt when a prover was opened"
    );
    describe_counter!("eschaton_prover_proofs_total", "proofs by outcome");
}

#[allow(clippy::cast_precision_loss)] // gauges are floating point
pub(crate) fn checkpoint(number: u64, size: u64, elapsed_ms: u64) {
    gauge!("eschaton_prover_checkpoint_number").set(number as f64);
    gauge!("eschaton_prover_log_size").set(size as f64);
    histogram!("eschaton_prover_checkpoint_seconds").record(std::time::Duration::from_millis(elapsed_ms));
}

pub(crate) fn opened(elapsed_ms: u64, rebuilt: u64) {
    histogram!("eschaton_prover_open_seconds").record(std::time::Duration::from_millis(elapsed_ms));
    counter!("eschaton_prover_rebuilt_checkpoints_total").increment(rebuilt);
}

pub(crate) fn proof(outcome: &'static str) {
    counter!("eschaton_prover_proofs_total", "outcome" => outcome).increment(1);
}
