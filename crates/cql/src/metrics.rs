//! Names and labels in one place.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use scylla::errors::ExecutionError;
use tokio::time::Instant;

use crate::error::Failure;

/// What a request is for: its label.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Get,
    Scan,
    Partitions,
    Write,
    Watermark,
    Redo,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Scan => "scan",
            Kind::Partitions => "partitions",
            Kind::Write => "write",
            Kind::Watermark => "watermark",
            Kind::Redo => "redo",
        }
    }
}

pub(crate) fn describe() {
    describe_counter!("eschaton_cql_requests_total", "requests to the store's cluster, by kind and outcome");
    describe_histogram!(
        "eschaton_cql_request_seconds",
        "time of a request with its retries, by kind; without the wait for its turn"
    );
    describe_counter!("eschaton_cql_retries_total", "attempts after a request's first");
    describe_histogram!("eschaton_cql_write_rows", "rows of one write request");
    describe_gauge!("eschaton_cql_in_flight", "requests that are not answered yet");
}

pub(crate) fn retry() {
    counter!("eschaton_cql_retries_total").increment(1);
}

pub(crate) fn write_rows(rows: usize) {
    histogram!("eschaton_cql_write_rows").record(u32::try_from(rows).unwrap_or(u32::MAX));
}

/// Now, for measuring and for the age of what is remembered, never for decisions about rows.
#[allow(clippy::disallowed_methods, reason = "the adapter measures a real engine")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// One request, counted when it ends; given up when it is dropped before.
pub(crate) struct Request {
    kind: Kind,
    began: Instant,
    outcome: &'static str,
}

impl Request {
    pub(crate) fn begin(kind: Kind) -> Self {
        gauge!("eschaton_cql_in_flight").increment(1);
        Self { kind, began: now(), outcome: "given_up" }
    }

    pub(crate) fn end<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.outcome = match &result {
            Ok(_) => "ok",
            Err(Failure::Execution(error)) if matches!(**error, ExecutionError::RequestTimeout(_)) => {
                "timeout"
            }
            Err(_) => "failed",
        };
        result
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let (kind, outcome) = (self.kind.label(), self.outcome);
        gauge!("eschaton_cql_in_flight").decrement(1);
        counter!("eschaton_cql_requests_total", "kind" => kind, "outcome" => outcome).increment(1);
        histogram!("eschaton_cql_request_seconds", "kind" => kind).record(self.began.elapsed());
    }
}
