//! The status page: one small page for an operator.

use std::fmt::Write;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::Parts;
use super::routes::with;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// Anchors that the page shows.
const SHOWN: usize = 20;

/// What the part that talks to a chain knows. What is not known is not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainReport {
    /// How the chain's node fares, in words.
    pub node: Option<String>,
    /// What the anchors' wallet has, satoshi.
    pub balance_sat: Option<u64>,
    /// Upstream calendars and how each fares, in words.
    pub upstream: Vec<(String, String)>,
}

/// Tells the status page of the chain.
pub trait ChainStatus: Send + Sync + 'static {
    /// Now; must not wait.
    fn report(&self) -> ChainReport;
}

pub(super) fn answer(parts: &Arc<Parts>) -> http::Response<http_body_util::Full<bytes::Bytes>> {
    with(StatusCode::OK, HTML, page(parts))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(parts: &Parts) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        // Writing into a text cannot fail.
        let _ = writeln!(rows, "<tr><th>{}<td>{}", escaped(name), escaped(&value));
    };
    row("digests that wait for their interval", parts.intake.waiting().to_string());
    let report = parts.chain.as_ref().map(|chain| chain.report()).unwrap_or_default();
    match parts.anchors.borrow().clone() {
        None => row("anchors", "another process has them, or they are being loaded".to_owned()),
        Some(anchorer) => {
            row("intervals that wait for an anchor", anchorer.waiting().0.to_string());
            row("height of the chain", anchorer.tip().to_string());
            let cost = anchorer.day_cost_sat(parts.ports.clock.now_ms());
            row("cost of the last day's anchors", format!("{cost} sat"));
            for anchor in anchorer.anchors().collect::<Vec<_>>().into_iter().rev().take(SHOWN) {
                let fee = anchor.counting().map_or_else(
                    || "no transaction yet".to_owned(),
                    |attempt| format!("fee {} sat ({} sat/kvB)", attempt.fee_sat, attempt.sat_per_kvb()),
                );
                let depth = anchor.block.as_ref().map_or_else(
                    || "in no block".to_owned(),
                    |block| {
                        let blocks = (anchorer.tip() + 1).saturating_sub(block.height);
                        format!("block {}, {blocks} confirmations", block.height)
                    },
                );
                let intervals = anchor.count;
                row(&format!("anchor {}", anchor.number), format!("{intervals} intervals; {fee}; {depth}"));
            }
            for alert in anchorer.alerts() {
                row("look at this", alert.to_string());
            }
        }
    }
    row("chain", report.node.unwrap_or_else(|| "no node is set".to_owned()));
    if let Some(balance) = report.balance_sat {
        row("wallet", format!("{balance} sat"));
    }
    for (calendar, state) in report.upstream {
        row(&format!("upstream {calendar}"), state);
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Eschaton calendar</title>\
         <h1>Eschaton calendar</h1><p>Submit with <code>ots stamp -c URL</code>; URL is this page's address.\
         <table>\n{rows}</table></html>\n"
    )
}
