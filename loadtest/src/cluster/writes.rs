//! How services write to the store, told by their metrics.

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::node::Running;

/// More is no answer of ours.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Writes since the processes' start.
pub(crate) struct Writes {
    rows: f64,
    writes: f64,
}

impl Writes {
    /// Of these processes together.
    pub(crate) async fn of(processes: &[&Running]) -> anyhow::Result<Self> {
        let mut all = Self { rows: 0.0, writes: 0.0 };
        for process in processes {
            let text = get(&process.metrics).await?;
            all.rows += sum(&text, "cql_write_rows_sum", "");
            // Each write ends with its watermark.
            all.writes += sum(&text, "cql_requests_total", "kind=\"watermark\"");
        }
        Ok(all)
    }

    /// Rows of a write on average.
    pub(crate) fn rows_per_write_since(&self, before: &Self) -> f64 {
        (self.rows - before.rows) / (self.writes - before.writes).max(1.0)
    }
}

async fn get(address: &str) -> anyhow::Result<String> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let answer = client.get(format!("http://{address}/metrics").parse()?).await?;
    ensure!(answer.status().is_success(), "metrics of {address} answer {}", answer.status());
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("metrics of {address}: {error}"))?;
    String::from_utf8(body.to_bytes().to_vec()).context("metrics are no text")
}

/// Of all our series of this name whose labels have this in them.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix("eschaton_")?.strip_prefix(name));
    let of_name = lines.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
    of_name.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
