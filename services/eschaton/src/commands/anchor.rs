//! `eschaton anchor`.

use clap::{Args, Subcommand};
use eschaton_api::anchor::{Anchor, AnchorState};
use serde_json::{Value, json};

use super::chain::backwards;
use crate::session::Session;
use crate::when;

/// `eschaton anchor …`
#[derive(Args, Debug)]
pub(crate) struct AnchorCommand {
    #[command(subcommand)]
    task: AnchorTask,
}

#[derive(Subcommand, Debug)]
enum AnchorTask {
    /// Where to send coins that pay for anchors
    #[command(after_help = "Example:\n  eschaton anchor address\n\nJSON: {\"address\",\"chain\"}")]
    Address {
        /// One that was never given; else the same until somebody pays it
        #[arg(long)]
        new: bool,
    },
    /// What the anchors' wallet has, and what an anchor costs at present
    #[command(
        after_help = "Example:\n  eschaton anchor balance\n\nJSON: {\"chain\",\"free_sat\",\"reserved_sat\",\"immature_sat\",\"height\",\"fee_sat_per_kvb\",\"problem\"}; reserved is spent by anchors that are under way, and what is left of it comes back"
    )]
    Balance,
    /// Anchors that are not deep in the chain yet, the newest first
    #[command(
        after_help = "Example:\n  eschaton anchor list\n\nJSON, one line for each: {\"anchor\",\"state\",\"intervals\",\"root\",\"planned_ms\",\"txid\",\"fee_sat\",\"vbytes\",\"attempts\",\"height\",\"confirmations\"}; state is planned, signed, broadcast, confirmed or final"
    )]
    List,
    /// Raise an anchor's fee, up to the node's cap
    #[command(
        after_help = "Example:\n  eschaton anchor bump 3 --fee 25\n\nJSON: {\"anchor\",\"sat_per_kvb\"}"
    )]
    Bump {
        /// Its number, from `eschaton anchor list`
        anchor: u64,
        /// At least this, satoshi for a virtual byte
        #[arg(long, value_name = "SAT", value_parser = sat_per_kvb)]
        fee: u64,
    },
}

/// Satoshi for a virtual byte, with up to three decimals, as satoshi for 1,000 of them.
fn sat_per_kvb(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is no fee; give satoshi for a virtual byte, for example 12 or 12.5");
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let thousandths: u64 = format!("{decimals:0<3}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000).and_then(|whole| whole.checked_add(thousandths)).ok_or_else(wrong)
}

pub(super) async fn perform(command: AnchorCommand, session: &Session) -> anyhow::Result<()> {
    let node = session.node()?;
    match command.task {
        AnchorTask::Address { new } => {
            let found = node.anchor_address(new).await?;
            session.out.show(&found.address, &json!({ "address": found.address, "chain": found.chain }))
        }
        AnchorTask::Balance => {
            let found = node.anchor_balance().await?;
            let mut lines = vec![
                format!("chain      {} at height {}", found.chain, found.height),
                format!("free       {} sat", found.free_sat),
                format!("reserved   {} sat", found.reserved_sat),
                format!("immature   {} sat", found.immature_sat),
                format!("fee now    {} sat for 1000 vbytes", found.fee_sat_per_kvb),
            ];
            if !found.problem.is_empty() {
                lines.push(format!("problem    {}", found.problem));
            }
            let problem = (!found.problem.is_empty()).then_some(&found.problem);
            session.out.show(
                lines.join("\n"),
                &json!({
                    "chain": found.chain,
                    "free_sat": found.free_sat,
                    "reserved_sat": found.reserved_sat,
                    "immature_sat": found.immature_sat,
                    "height": found.height,
                    "fee_sat_per_kvb": found.fee_sat_per_kvb,
                    "problem": problem,
                }),
            )
        }
        AnchorTask::List => {
            let found = node.anchors().await?;
            for anchor in &found.anchors {
                session.out.show(line(anchor), &shown(anchor))?;
            }
            session.out.tell(format!("{} intervals wait for the next anchor", found.waiting_intervals))
        }
        AnchorTask::Bump { anchor, fee } => {
            node.bump_anchor(anchor, fee).await?;
            session.out.show(
                format!("anchor {anchor} will pay at least {fee} sat for 1000 vbytes"),
                &json!({ "anchor": anchor, "sat_per_kvb": fee }),
            )
        }
    }
}

fn state(anchor: &Anchor) -> &'static str {
    match anchor.state() {
        AnchorState::Unspecified => "unknown",
        AnchorState::Planned => "planned",
        AnchorState::Signed => "signed",
        AnchorState::Broadcast => "broadcast",
        AnchorState::Confirmed => "confirmed",
        AnchorState::Final => "final",
    }
}

fn line(anchor: &Anchor) -> String {
    let mut line = format!(
        "anchor {:>6}  {:<9}  {:>5} intervals, planned {}",
        anchor.number,
        state(anchor),
        anchor.intervals,
        when::show(anchor.planned_ms)
    );
    if !anchor.txid.is_empty() {
        line.push_str(&format!("\n  {}  {} sat", backwards(&anchor.txid), anchor.fee_sat));
    }
    if anchor.height > 0 {
        line.push_str(&format!(", block {} under {}", anchor.height, anchor.confirmations));
    }
    line
}

fn shown(anchor: &Anchor) -> Value {
    json!({
        "anchor": anchor.number,
        "state": state(anchor),
        "intervals": anchor.intervals,
        "root": hex::encode(&anchor.root),
        "planned_ms": anchor.planned_ms,
        "txid": (!anchor.txid.is_empty()).then(|| backwards(&anchor.txid)),
        "fee_sat": anchor.fee_sat,
        "vbytes": anchor.vbytes,
        "attempts": anchor.attempts,
        "height": (anchor.height > 0).then_some(anchor.height),
        "confirmations": anchor.confirmations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_have_three_decimals() {
        assert_eq!(sat_per_kvb("12"), Ok(12_000));
        assert_eq!(sat_per_kvb("12.5"), Ok(12_500));
        assert_eq!(sat_per_kvb("0.001"), Ok(1));
        for wrong in ["", "x", "-1", "1.0001", "1.x", "99999999999999999999"] {
            assert!(sat_per_kvb(wrong).is_err(), "{wrong}");
        }
    }
}
