//! Names and labels of this service's metrics.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) fn describe() {
    describe_counter!("eschaton_ingress_transactions_total", "transactions by outcome");
    describe_gauge!("eschaton_ingress_undecided_transactions", "transactions taken and not decided");
    describe_histogram!("eschaton_ingress_decision_seconds", "from arrival of a batch to its last decision");
    describe_histogram!("eschaton_ingress_screen_seconds", "decode and signature checks of a batch");
}

pub(crate) fn outcome(outcome: &'static str, count: usize) {
    if count > 0 {
        counter!("eschaton_ingress_transactions_total", "outcome" => outcome)
            .increment(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

pub(crate) fn undecided(count: usize) {
    gauge!("eschaton_ingress_undecided_transactions").set(u32::try_from(count).unwrap_or(u32::MAX));
}

pub(crate) fn decided_after(elapsed: std::time::Duration) {
    histogram!("eschaton_ingress_decision_seconds").record(elapsed);
}

pub(crate) fn screened_in(elapsed: std::time::Duration) {
    histogram!("eschaton_ingress_screen_seconds").record(elapsed);
}
