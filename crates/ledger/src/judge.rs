//! Verdicts that need the inputs' facts and nothing else.

use bytes::Bytes;
use eschaton_types::pb::log::{InputFact, Reason, Rejection};
use eschaton_types::pb::state::OutputRow;
use eschaton_types::{Amount, Body, Input, OutPoint, Product, TxId, sum_by_product};

/// Builds a rejection.
pub(crate) fn reject(reason: Reason, message: impl Into<String>) -> Rejection {
    Rejection { reason: reason.into(), message: message.into(), spent_by: Bytes::new() }
}

pub(crate) fn spent(position: usize, by: &[u8]) -> Rejection {
    let by = Bytes::copy_from_slice(by);
    let text = TxId::from_slice(&by, "spent_by").map(|txid| txid.to_string()).unwrap_or_default();
    Rejection {
        reason: Reason::Spent.into(),
        message: format!("input {position} is already spent by transaction {text}; choose another output"),
        spent_by: by,
    }
}

/// For those that saw an output live and come too late.
pub(crate) fn lost(outpoint: &OutPoint, by: &TxId) -> Rejection {
    Rejection {
        reason: Reason::ConflictLost.into(),
        message: format!("transaction {by} spent {outpoint} first; choose another output"),
        spent_by: by.to_bytes(),
    }
}

/// Log time against the transaction's own limits.
pub(crate) fn time_lock(body: &Body, now: u64) -> Result<(), Rejection> {
    if now < body.not_before_ms {
        return Err(reject(
            Reason::NotYetValid,
            format!(
                "not valid before {} ms and log time is {now} ms; submit it again then",
                body.not_before_ms
            ),
        ));
    }
    if body.not_after_ms != 0 && now >= body.not_after_ms {
        return Err(reject(
            Reason::Expired,
            format!("expired at {} ms and log time is {now} ms; sign a new one", body.not_after_ms),
        ));
    }
    Ok(())
}

/// One known input against its row.
pub(crate) fn input(position: usize, input: &Input, row: &OutputRow, now: u64) -> Result<(), Rejection> {
    if !row.spent_by.is_empty() {
        return Err(spent(position, &row.spent_by));
    }
    if input.product.to_bytes() != row.product {
        return Err(reject(
            Reason::WrongProduct,
            format!("input {position} names another product than its output holds"),
        ));
    }
    if !input.read_only && now < row.spendable_at_ms {
        return Err(reject(
            Reason::NotYetSpendable,
            format!(
                "input {position} rests until {} ms and log time is {now} ms; submit again then",
                row.spendable_at_ms
            ),
        ));
    }
    Ok(())
}

/// Conservation: per product, consumed = created + fees (spec ledger.md). `facts` are of all inputs.
pub(crate) fn balance(body: &Body, facts: &[InputFact]) -> Result<(), Rejection> {
    let overflow =
        || reject(Reason::Overflow, "the inputs sum to more than 10^18 units; spend fewer at once");
    let mut parts = Vec::with_capacity(facts.len());
    for fact in facts {
        let consumed = usize::try_from(fact.input).ok().and_then(|at| body.inputs.get(at));
        if consumed.is_some_and(|input| !input.read_only) {
            let product = Product::from_slice(&fact.product).map_err(|_| overflow())?;
            parts.push((product, Amount::new(fact.amount).map_err(|_| overflow())?));
        }
    }
    let consumed = sum_by_product(parts).map_err(|_| overflow())?;
    let created = body.created().map_err(|_| overflow())?;
    if consumed == created {
        return Ok(());
    }
    let of = |sums: &[(Product, Amount)], product: Product| {
        sums.iter().find(|sum| sum.0 == product).map_or(0, |sum| sum.1.units())
    };
    let uneven = consumed
        .iter()
        .chain(&created)
        .map(|sum| sum.0)
        .find(|product| of(&consumed, *product) != of(&created, *product))
        .unwrap_or_default();
    Err(reject(
        Reason::Unbalanced,
        format!(
            "inputs hold {} units of product {uneven}, outputs and fees take {}; they must be equal",
            of(&consumed, uneven),
            of(&created, uneven)
        ),
    ))
}
