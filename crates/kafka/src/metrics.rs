//! Names, labels and meanings of what this crate measures.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use rdkafka::Statistics;

/// Says what each metric means, to whatever recorder is installed.
pub(crate) fn describe() {
    describe_counter!(
        "eschaton_kafka_transactions_total",
        "Transactions by outcome: committed, aborted, fenced, unknown (no answer in time)"
    );
    describe_histogram!(
        "eschaton_kafka_commit_seconds",
        Unit::Seconds,
        "From the beginning of a claim's commit to the broker's answer"
    );
    describe_gauge!(
        "eschaton_kafka_claim_lag_records",
        Unit::Count,
        "Offsets between a claim's position and the end of its partition, where the end is followed"
    );
    describe_counter!(
        "eschaton_kafka_rebalances_total",
        "Rebalances that this member saw, by kind: assigned, revoked, lost"
    );
    describe_gauge!(
        "eschaton_kafka_broker_round_trip_seconds",
        Unit::Seconds,
        "99th percentile of requests to a broker in the last interval, by kind of client"
    );
    describe_gauge!(
        "eschaton_kafka_queued_records",
        Unit::Count,
        "Records in a producer's queue or on their way"
    );
    describe_counter!(
        "eschaton_kafka_reads_total",
        "Reads by where they were served: tail (memory), broker, end (nothing there)"
    );
    describe_counter!("eschaton_kafka_client_errors_total", "Errors that the client library reported");
}

pub(crate) fn transaction(outcome: &'static str) {
    counter!("eschaton_kafka_transactions_total", "outcome" => outcome).increment(1);
}

pub(crate) fn committed_in(took: Duration) {
    histogram!("eschaton_kafka_commit_seconds").record(took);
}

pub(crate) fn lag(group: &str, at: eschaton_ports::TopicPartition, records: u64) {
    let records = u32::try_from(records).unwrap_or(u32::MAX);
    gauge!("eschaton_kafka_claim_lag_records", "group" => group.to_owned(), "partition" => at.to_string())
        .set(records);
}

pub(crate) fn rebalance(kind: &'static str) {
    counter!("eschaton_kafka_rebalances_total", "kind" => kind).increment(1);
}

pub(crate) fn read(from: &'static str) {
    counter!("eschaton_kafka_reads_total", "from" => from).increment(1);
}

pub(crate) fn client_error(client: &'static str) {
    counter!("eschaton_kafka_client_errors_total", "client" => client).increment(1);
}

/// A client's statistics. `client` is its kind; several of a kind overwrite each other.
pub(crate) fn statistics(client: &'static str, statistics: &Statistics) {
    for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
        if let Some(window) = broker.rtt.as_ref().filter(|window| window.cnt > 0) {
            let micros = u64::try_from(window.p99).unwrap_or(0);
            gauge!(
                "eschaton_kafka_broker_round_trip_seconds",
                "client" => client, "broker" => broker.nodeid.to_string()
            )
            .set(Duration::from_micros(micros));
        }
    }
    if statistics.client_type == "producer" {
        let queued = u32::try_from(statistics.msg_cnt).unwrap_or(u32::MAX);
        gauge!("eschaton_kafka_queued_records", "client" => client).set(queued);
    }
}
