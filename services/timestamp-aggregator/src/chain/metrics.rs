//! Names and labels of this part's metrics.

use ::metrics::{counter, describe_counter, describe_gauge, gauge};
use eschaton_onchain::Balance;
use eschaton_ports::chain::BlockRef;
use eschaton_timestamp::anchorer::Alert;

const TIP: &str = "eschaton_anchor_chain_height";
const FEE: &str = "eschaton_anchor_chain_fee_sat_per_kvb";
const WALLET: &str = "eschaton_anchor_wallet_sat";
const CONFIRMED: &str = "eschaton_anchor_confirmed_total";
const REORGANISED: &str = "eschaton_anchor_chain_reorganisations_total";
const SIGNED: &str = "eschaton_anchor_signed_total";
const FEES: &str = "eschaton_anchor_fees_offered_sat_total";
const DAY_COST: &str = "eschaton_anchor_day_cost_sat";
const ALERT: &str = "eschaton_anchor_alert";

pub(super) fn describe() {
    describe_gauge!(TIP, "height of the newest block that the wallet has seen");
    describe_gauge!(
        FEE,
        "what the node says that a timely transaction pays, satoshi for 1,000 virtual bytes"
    );
    describe_gauge!(WALLET, "satoshi in the anchors' wallet, by part: free, reserved, immature");
    describe_counter!(CONFIRMED, "confirmations of anchors that were told; a reorganised one counts again");
    describe_counter!(REORGANISED, "reorganisations that concerned an anchor or lowered the chain");
    describe_counter!(SIGNED, "transactions that were signed for anchors, replacements included");
    describe_counter!(FEES, "satoshi that a new transaction pays, or a replacement more than the one before");
    describe_gauge!(DAY_COST, "satoshi that the followed anchors of the last day cost");
    describe_gauge!(ALERT, "1 while it holds, by kind; the words are in status and log");
}

pub(super) fn wallet(tip: &BlockRef, balance: &Balance) {
    // Heights and satoshis stay below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let sat = |value: u64| value as f64;
    gauge!(TIP).set(f64::from(tip.height));
    gauge!(WALLET, "part" => "free").set(sat(balance.free_sat));
    gauge!(WALLET, "part" => "reserved").set(sat(balance.reserved_sat));
    gauge!(WALLET, "part" => "immature").set(sat(balance.immature_sat));
}

pub(super) fn fee(sat_per_kvb: u64) {
    #[allow(clippy::cast_precision_loss)]
    gauge!(FEE).set(sat_per_kvb as f64);
}

pub(super) fn confirmed() {
    counter!(CONFIRMED).increment(1);
}

pub(super) fn reorganised() {
    counter!(REORGANISED).increment(1);
}

pub(super) fn signed(more_sat: u64) {
    counter!(SIGNED).increment(1);
    counter!(FEES).increment(more_sat);
}

pub(super) fn day_cost(sat: u64) {
    #[allow(clippy::cast_precision_loss)]
    gauge!(DAY_COST).set(sat as f64);
}

pub(super) fn alerts(alerts: &[Alert]) {
    let kind = |alert: &Alert| match alert {
        Alert::FeeAboveCap { .. } => "fee_above_cap",
        Alert::NoFee => "no_fee",
        Alert::Backlog { .. } => "backlog",
        Alert::Attempts { .. } => "attempts",
        Alert::Conflict { .. } => "conflict",
        Alert::DeepReorganisation { .. } => "deep_reorganisation",
    };
    let now: Vec<&str> = alerts.iter().map(kind).collect();
    for name in ["fee_above_cap", "no_fee", "backlog", "attempts", "conflict", "deep_reorganisation"] {
        gauge!(ALERT, "kind" => name).set(f64::from(u8::from(now.contains(&name))));
    }
}
