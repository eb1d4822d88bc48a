//! States, checkpoints and amounts in both forms.

use eschaton_client::Submitted;
use eschaton_client::text::in_coins;
use eschaton_proof::CheckpointBody;
use eschaton_types::{Amount, Product, TxId};
use serde_json::{Value, json};

use crate::when;

/// `1500000000 (1.5 coins)`.
pub(super) fn amount(amount: Amount, product: Product) -> String {
    match product {
        Product::Native => format!("{amount} ({} coins)", in_coins(amount)),
        Product::Issued(_) => format!("{amount} of {product}"),
    }
}

/// The name of a state.
pub(super) fn name(state: &Submitted) -> &'static str {
    match state {
        Submitted::Accepted { .. } => "ACCEPTED",
        Submitted::Rejected { .. } => "REJECTED",
        Submitted::Pending => "PENDING",
        Submitted::Invalid { .. } => "INVALID",
    }
}

/// One line: state, id, time and why.
pub(super) fn state_line(txid: &TxId, state: &Submitted) -> String {
    let at = |at_ms: &u64| when::show(*at_ms);
    let rest = match state {
        Submitted::Accepted { at_ms } => format!("  {}", at(at_ms)),
        Submitted::Rejected { message, reason, at_ms, .. } => format!("  {}  {reason}: {message}", at(at_ms)),
        Submitted::Pending => String::new(),
        Submitted::Invalid { message } => format!("  {message}"),
    };
    format!("{:<9}  {txid}{rest}", name(state))
}

/// `{"txid","state"}`, and `at_ms`, `reason`, `message`, `spent_by` where they apply.
pub(super) fn state_json(txid: &TxId, state: &Submitted) -> Value {
    let mut object = json!({ "txid": txid.to_string(), "state": name(state) });
    match state {
        Submitted::Accepted { at_ms } => object["at_ms"] = json!(at_ms),
        Submitted::Rejected { reason, message, spent_by, at_ms } => {
            object["at_ms"] = json!(at_ms);
            object["reason"] = json!(reason);
            object["message"] = json!(message);
            if let Some(spender) = spent_by {
                object["spent_by"] = json!(spender.to_string());
            }
        }
        Submitted::Pending => {}
        Submitted::Invalid { message } => object["message"] = json!(message),
    }
    object
}

/// A checkpoint's fields; hashes in hexadecimal.
pub(super) fn checkpoint_json(body: &CheckpointBody) -> Value {
    json!({
        "origin": body.origin,
        "number": body.number,
        "size": body.size,
        "time_ms": body.time_ms,
        "log_root": hex::encode(body.log_root),
        "map_root": hex::encode(body.map_root),
        "previous": hex::encode(body.previous),
        "hash": hex::encode(body.hash()),
    })
}

/// One line.
pub(super) fn checkpoint_line(body: &CheckpointBody) -> String {
    format!(
        "checkpoint {} of {}: {} transactions, {}",
        body.number,
        body.origin,
        body.size,
        when::show(body.time_ms)
    )
}
