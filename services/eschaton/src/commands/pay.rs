//! `eschaton pay`.

mod follow;

use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use eschaton_client::build::{Signing, plan};
use eschaton_client::text::parse_amount;
use eschaton_client::{Coin, Entry, Node, Order, Outbox, Payment, Submitted, Verdict, Wallet};
use eschaton_types::{Address, Amount, Fee, METADATA_MAX, Network, Output, Product, TxId};
use serde_json::json;

use crate::session::{Session, WalletArgs};
use crate::when::{self, When};

pub(super) use follow::Follow;

/// The most live outputs that are chosen from; the first ones of each address.
const COINS_MAX: usize = 100_000;

/// Options of `eschaton pay`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  eschaton pay desc1... 1.5coins\n  eschaton pay desc1... 1500000000 --fee 1000 --memo \"invoice 7\" --watch\n  eschaton pay --resume\n\nThe signed bytes are stored beside the wallet before a node sees them. After a crash or a lost answer, the same command or --resume hands in the same bytes again: nothing is paid twice.\n\nJSON: {\"txid\",\"state\",\"at_ms\",\"reason\",\"message\",\"spent_by\",\"resumed\"}, the last ones where they apply; one line at the end, or one for each state with --watch"
)]
pub(crate) struct PayArgs {
    /// Receiver
    #[arg(required_unless_present_any = ["resume", "forget"])]
    address: Option<String>,
    /// Units as 1500000000, or coins with their suffix as 1.5coins
    #[arg(value_parser = parse_amount, required_unless_present_any = ["resume", "forget"])]
    amount: Option<Amount>,
    /// What to pay in: `native`, or an issued product's 64 hexadecimal digits
    #[arg(long, default_value = "native", value_parser = Product::parse)]
    product: Product,
    /// Left to the node, in the native coin; units or coins as above
    #[arg(long, default_value = "0", value_parser = parse_amount)]
    fee: Amount,
    /// Not valid before: milliseconds since 1970, 2030-01-01T00:00:00Z, or +10m
    #[arg(long, value_parser = when::parse, value_name = "TIME")]
    not_before: Option<When>,
    /// Not valid at or after; as --not-before
    #[arg(long, value_parser = when::parse, value_name = "TIME")]
    not_after: Option<When>,
    /// The new outputs, change too, rest this long before they may be spent
    #[arg(long, default_value_t = 0, value_name = "MS")]
    spend_delay_ms: u64,
    /// Free text in the transaction, at most 1,024 bytes; everyone can read it
    #[arg(long, value_name = "TEXT")]
    memo: Option<String>,
    /// One MuSig2 signature for all inputs: a smaller transaction
    #[arg(long)]
    aggregate: bool,
    /// Spend the oldest outputs first, not the largest
    #[arg(long)]
    oldest_first: bool,
    /// Show each change of state with its time
    #[arg(long)]
    watch: bool,
    /// Only hand in again what is signed and not known to be decided
    #[arg(long, conflicts_with_all = ["address", "amount", "forget"])]
    resume: bool,
    /// Drop a payment from the outbox whatever became of it; it may still be accepted
    #[arg(long, conflicts_with_all = ["address", "amount"], value_parser = TxId::from_hex, value_name = "TXID")]
    forget: Option<TxId>,
    #[command(flatten)]
    wallet: WalletArgs,
}

pub(super) async fn perform(args: PayArgs, session: &Session) -> anyhow::Result<()> {
    let wallet = args.wallet.open()?;
    let outbox = wallet.outbox();
    if let Some(txid) = args.forget {
        return forget(&outbox, &txid, session);
    }
    let (Some(address), Some(amount)) = (&args.address, args.amount) else {
        return resume(&args, &wallet, session).await;
    };
    let to = Address::from_text(address, wallet.network())?;
    let wanted = Wanted { network: wallet.network(), to, amount, args: &args };
    let payment = wanted.payment()?;
    let keys = wallet.unlock(args.wallet.passphrase()?.as_ref())?;
    let node = session.node_for(&wallet).await?;
    let follow = Follow { session, node: &node, watch: args.watch };
    for entry in outbox.entries()? {
        let same = entry.request == wanted.line();
        let state = follow.deliver(&entry, &outbox, true, same).await?;
        if same && Verdict::of(&state) != Verdict::Never {
            session.out.tell("note       this payment was signed before and is resumed; to pay once more, give the command again")?;
            return conclude(&entry.transaction.txid, &state);
        }
    }
    let entry = {
        // From choice to storing, no other command may choose.
        let _lock = wallet.lock()?;
        let reserved = Outbox::reserved(&outbox.entries()?);
        let coins = coins(&wallet, &node).await?;
        let now_ms = when::now_ms()?;
        let plan = plan(&payment, &coins, &reserved, now_ms)?;
        let transaction = if args.aggregate {
            let seeds = seeds(plan.body().consumed().count())?;
            plan.sign(&keys, &Signing::Aggregate { seeds: &seeds })?
        } else {
            plan.sign(&keys, &Signing::PerInput)?
        };
        let entry = Entry { transaction, request: wanted.line(), created_at_ms: now_ms };
        outbox.put(&entry)?;
        entry
    };
    let state = follow.deliver(&entry, &outbox, false, true).await?;
    conclude(&entry.transaction.txid, &state)
}

/// What one command asks for.
struct Wanted<'a> {
    network: Network,
    to: Address,
    amount: Amount,
    args: &'a PayArgs,
}

impl Wanted<'_> {
    fn payment(&self) -> anyhow::Result<Payment> {
        let now_ms = when::now_ms()?;
        let resolve = |when: Option<When>| when.map_or(Ok(0), |when| when.resolve(now_ms));
        let memo = self.args.memo.clone().unwrap_or_default();
        if memo.len() > METADATA_MAX {
            bail!("the memo has {} bytes, the most is {METADATA_MAX}; shorten it", memo.len());
        }
        Ok(Payment {
            network: self.network,
            outputs: vec![Output::pay(self.to, self.args.product, self.amount)],
            fee: Some(Fee { product: Product::Native, amount: self.args.fee }),
            not_before_ms: resolve(self.args.not_before)?,
            not_after_ms: resolve(self.args.not_after)?,
            min_spend_delay_ms: self.args.spend_delay_ms,
            metadata: Bytes::from(memo),
            order: if self.args.oldest_first { Order::OldestFirst } else { Order::LargestFirst },
        })
    }

    /// Tells a repeated command from another payment. Without the time locks: `+10m` differs when the
    /// command is repeated.
    fn line(&self) -> String {
        let memo = hex::encode(self.args.memo.as_deref().unwrap_or_default());
        let to = self.to.to_text(self.network);
        format!("pay {to} {} {} fee {} memo {memo}", self.amount, self.args.product, self.args.fee)
    }
}

async fn coins(wallet: &Wallet, node: &Node) -> anyhow::Result<Vec<Coin>> {
    let mut coins = Vec::new();
    for address in wallet.addresses() {
        let left = COINS_MAX.saturating_sub(coins.len());
        if left == 0 {
            break;
        }
        let (rows, _) = node.outputs(address, false, left).await?;
        coins.extend(rows.iter().filter(|row| row.spent.is_none()).map(|row| row.coin));
    }
    Ok(coins)
}

fn seeds(count: usize) -> anyhow::Result<Vec<[u8; 32]>> {
    let mut seeds = vec![[0; 32]; count];
    for seed in &mut seeds {
        getrandom::fill(seed).context("the system gave no randomness, without which MuSig2 leaks keys; try again, or without --aggregate")?;
    }
    Ok(seeds)
}

async fn resume(args: &PayArgs, wallet: &Wallet, session: &Session) -> anyhow::Result<()> {
    let outbox = wallet.outbox();
    let entries = outbox.entries()?;
    if entries.is_empty() {
        return session.out.tell("nothing to resume: every payment of this wallet is decided");
    }
    let node = session.node_for(wallet).await?;
    let follow = Follow { session, node: &node, watch: args.watch };
    let mut failed = Vec::new();
    for entry in &entries {
        let state = follow.deliver(entry, &outbox, true, true).await?;
        failed.extend(conclude(&entry.transaction.txid, &state).err());
    }
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.swap_remove(0)),
        count => bail!("{count} of {} payments were not accepted, the first: {:#}", entries.len(), failed[0]),
    }
}

fn forget(outbox: &Outbox, txid: &TxId, session: &Session) -> anyhow::Result<()> {
    if !outbox.entries()?.iter().any(|entry| entry.transaction.txid == *txid) {
        bail!(
            "payment {txid} is not in {}; `eschaton tx show` says what became of it",
            Path::display(outbox.folder())
        );
    }
    outbox.forget(txid)?;
    session.out.show(
        format!("forgotten  {txid}\nnote       a node that has its bytes may still accept it"),
        &json!({ "txid": txid.to_string(), "forgotten": true }),
    )
}

/// Accepted is success; anything else is a failure that says what to do.
fn conclude(txid: &TxId, state: &Submitted) -> anyhow::Result<()> {
    let kept = "the payment is kept: hand in the same bytes again with `eschaton pay --resume`";
    match (state, Verdict::of(state)) {
        (Submitted::Accepted { .. }, _) => Ok(()),
        (Submitted::Pending, _) => bail!("payment {txid} is not decided yet; {kept}"),
        (Submitted::Rejected { message, reason, .. }, Verdict::Open) => {
            bail!("payment {txid} was rejected for now ({reason}): {message}; {kept}")
        }
        (Submitted::Rejected { message, reason, .. }, _) => {
            bail!("payment {txid} was rejected ({reason}): {message}")
        }
        (Submitted::Invalid { message }, _) => bail!("payment {txid} is not valid: {message}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rejected(reason: &str) -> Submitted {
        Submitted::Rejected { reason: reason.into(), message: "m".into(), spent_by: None, at_ms: 0 }
    }

    #[test]
    fn only_accepted_is_success_and_the_rest_says_what_to_do() {
        let txid = TxId([1; 32]);
        assert!(conclude(&txid, &Submitted::Accepted { at_ms: 1 }).is_ok());
        for open in [Submitted::Pending, rejected("REASON_OVERLOADED")] {
            let error = conclude(&txid, &open).unwrap_err().to_string();
            assert!(error.contains("--resume") && error.contains(&txid.to_string()), "{error}");
        }
        for closed in [rejected("REASON_SPENT"), Submitted::Invalid { message: "m".into() }] {
            let error = conclude(&txid, &closed).unwrap_err().to_string();
            assert!(!error.contains("--resume"), "{error}");
        }
    }

    #[test]
    fn seeds_are_never_alike() {
        let seeds = seeds(64).unwrap();
        let distinct: std::collections::HashSet<_> = seeds.iter().collect();
        assert_eq!(distinct.len(), 64);
    }
}
