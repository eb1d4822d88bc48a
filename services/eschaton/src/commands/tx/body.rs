//! A transaction's content in both forms.

use eschaton_types::{OutPoint, Transaction};
use serde_json::{Value, json};

use crate::commands::show;
use crate::when;

fn signatures(transaction: &Transaction) -> &'static str {
    let witness = &transaction.witness;
    if witness.issuer.is_some() {
        "issuer"
    } else if witness.aggregate.is_some() {
        "aggregate"
    } else {
        "per_input"
    }
}

fn kind(transaction: &Transaction) -> &'static str {
    if transaction.is_issuance() { "issuance" } else { "payment" }
}

/// The metadata as text when it is readable: what `pay --memo` wrote.
fn memo(transaction: &Transaction) -> Option<&str> {
    let text = std::str::from_utf8(&transaction.body.metadata).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

fn outpoints(transaction: &Transaction) -> impl Iterator<Item = OutPoint> + '_ {
    (0u16..).take(transaction.body.outputs.len()).map(|index| OutPoint { txid: transaction.txid, index })
}

/// Adds the fields of `tx show` to a state's object.
pub(super) fn add_json(object: &mut Value, transaction: &Transaction) {
    let body = &transaction.body;
    let inputs = body.inputs.iter().map(|input| {
        json!({
            "outpoint": input.outpoint.to_string(),
            "owner": input.owner.to_text(body.network),
            "product": input.product.to_string(),
            "read_only": input.read_only,
        })
    });
    let outputs = body.outputs.iter().zip(outpoints(transaction)).map(|(output, outpoint)| {
        json!({
            "outpoint": outpoint.to_string(),
            "owner": output.owner.to_text(body.network),
            "product": output.product.to_string(),
            "amount": output.amount.to_string(),
            "data": hex::encode(&output.data),
            "confirmation_required": output.confirmation_required,
        })
    });
    let fees = body
        .fees
        .iter()
        .map(|fee| json!({ "product": fee.product.to_string(), "amount": fee.amount.to_string() }));
    object["network"] = json!(body.network.name());
    object["kind"] = json!(kind(transaction));
    object["bytes"] = json!(transaction.bytes.len());
    object["signatures"] = json!(signatures(transaction));
    object["inputs"] = inputs.collect();
    object["outputs"] = outputs.collect();
    object["fees"] = fees.collect();
    object["not_before_ms"] = json!(body.not_before_ms);
    object["not_after_ms"] = json!(body.not_after_ms);
    object["min_spend_delay_ms"] = json!(body.min_spend_delay_ms);
    object["metadata"] = json!(hex::encode(&body.metadata));
    object["memo"] = json!(memo(transaction));
    object["transaction"] = json!(hex::encode(&transaction.bytes));
}

/// Lines for people.
pub(super) fn text(transaction: &Transaction) -> String {
    let body = &transaction.body;
    let (kind, signed) = (kind(transaction), signatures(transaction));
    let mut lines =
        vec![format!("{kind} on {}, {} bytes, signatures: {signed}", body.network, transaction.bytes.len())];
    for input in &body.inputs {
        let verb = if input.read_only { "looks at" } else { "spends" };
        lines.push(format!("{verb:<9}  {}  of {}", input.outpoint, input.owner.to_text(body.network)));
    }
    for (output, outpoint) in body.outputs.iter().zip(outpoints(transaction)) {
        let amount = show::amount(output.amount, output.product);
        lines.push(format!(
            "pays       #{} {amount}  to {}",
            outpoint.index,
            output.owner.to_text(body.network)
        ));
    }
    for fee in &body.fees {
        lines.push(format!("fee        {}", show::amount(fee.amount, fee.product)));
    }
    if body.not_before_ms != 0 {
        lines.push(format!("not before {}", when::show(body.not_before_ms)));
    }
    if body.not_after_ms != 0 {
        lines.push(format!("not after  {}", when::show(body.not_after_ms)));
    }
    if body.min_spend_delay_ms != 0 {
        lines.push(format!("rests      {} ms", body.min_spend_delay_ms));
    }
    match memo(transaction) {
        Some(memo) => lines.push(format!("memo       {memo}")),
        None if body.metadata.is_empty() => {}
        None => lines.push(format!("metadata   {}", hex::encode(&body.metadata))),
    }
    lines.join("\n")
}
