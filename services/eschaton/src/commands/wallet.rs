//! `eschaton wallet`.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use eschaton_client::node::OutputRow;
use eschaton_client::text::parse_amount;
use eschaton_client::{Node, Outbox, Wallet};
use eschaton_types::{Amount, Network, OutPoint, Product};
use serde_json::json;

use super::show;
use crate::session::{Session, WalletArgs};
use crate::when;

/// The most outputs of one address that are added up or listed.
const ROWS_MAX: usize = 1_000_000;

/// `eschaton wallet …`
#[derive(Args, Debug)]
pub(crate) struct WalletCommand {
    #[command(flatten)]
    wallet: WalletArgs,
    #[command(subcommand)]
    task: WalletTask,
}

#[derive(Subcommand, Debug)]
enum WalletTask {
    /// Make a wallet with one fresh address; encrypted when a passphrase is given
    #[command(
        after_help = "Example:\n  eschaton wallet new --network dev\n  ESCHATON_WALLET_PASSPHRASE=... eschaton wallet new --wallet ./shop.json\n\nJSON: {\"wallet\",\"network\",\"address\",\"encrypted\"}"
    )]
    New {
        /// The ledger it is for: main, test or dev
        #[arg(long, default_value = "dev")]
        network: Network,
    },
    /// Show the latest address, make another, or show all
    #[command(
        after_help = "Example:\n  eschaton wallet address --new\n\nJSON, one line for each address: {\"address\"}, and {\"secret\"} with --show-secret"
    )]
    Address {
        /// Make a fresh one
        #[arg(long)]
        new: bool,
        /// Show all, oldest first
        #[arg(long, conflicts_with = "new")]
        all: bool,
        /// Show the secret keys too, for a backup on paper; whoever sees them owns the money
        #[arg(long)]
        show_secret: bool,
    },
    /// Add up what the wallet holds
    #[command(
        after_help = "Example:\n  eschaton wallet balance\n\nJSON: {\"balances\":[{\"product\",\"spendable\",\"resting\",\"reserved\",\"outputs\"}]}; resting may not be spent yet, reserved is in payments under way"
    )]
    Balance,
    /// List what was received and spent, oldest first
    #[command(
        after_help = "Example:\n  eschaton wallet history --json\n\nJSON, one line for each event: {\"event\":\"received\"|\"spent\",\"at_ms\",\"txid\",\"outpoint\",\"product\",\"amount\",\"address\"}; txid received it or spent it"
    )]
    History,
    /// Have a development node issue native coins to the latest address
    #[command(
        after_help = "Example:\n  eschaton wallet receive --amount 10coins\n\nJSON: {\"txid\",\"address\",\"amount\"}"
    )]
    Receive {
        /// Units, or coins with the suffix `coins`
        #[arg(long, value_parser = parse_amount)]
        amount: Amount,
    },
}

pub(super) async fn perform(command: WalletCommand, session: &Session) -> anyhow::Result<()> {
    let args = command.wallet;
    match command.task {
        WalletTask::New { network } => new(&args, network, session),
        WalletTask::Address { new, all, show_secret } => address(&args, new, all, show_secret, session),
        WalletTask::Balance => balance(&args.open()?, session).await,
        WalletTask::History => history(&args.open()?, session).await,
        WalletTask::Receive { amount } => receive(&args.open()?, amount, session).await,
    }
}

fn new(args: &WalletArgs, network: Network, session: &Session) -> anyhow::Result<()> {
    let wallet = Wallet::create(&args.path()?, network, args.passphrase()?.as_ref())?;
    let address = wallet.latest_address().to_text(network);
    let path = wallet.path().display();
    let protection = wallet.protection();
    let advice = if wallet.is_encrypted() {
        "keep the passphrase: without it the money is lost"
    } else {
        "set ESCHATON_WALLET_PASSPHRASE when making a wallet to encrypt it"
    };
    session.out.show(
        format!("wallet     {path}\nnetwork    {network}\naddress    {address}\nprotected  by {protection}\nnote       back it up; {advice}"),
        &json!({
            "wallet": path.to_string(),
            "network": network.name(),
            "address": address,
            "encrypted": wallet.is_encrypted(),
        }),
    )
}

fn address(args: &WalletArgs, new: bool, all: bool, secret: bool, session: &Session) -> anyhow::Result<()> {
    let mut wallet = args.open()?;
    let passphrase = if new || secret { args.passphrase()? } else { None };
    if new {
        wallet.add_address(passphrase.as_ref())?;
    }
    let keys = secret.then(|| wallet.unlock(passphrase.as_ref())).transpose()?;
    let latest = [wallet.latest_address()];
    for address in if all { wallet.addresses() } else { &latest } {
        let text = address.to_text(wallet.network());
        match keys.as_ref().and_then(|keys| keys.get(address)) {
            None => session.out.show(&text, &json!({ "address": text }))?,
            Some(key) => {
                let secret = hex::encode(key.secret_bytes());
                session
                    .out
                    .show(format!("{text}  {secret}"), &json!({ "address": text, "secret": secret }))?;
            }
        }
    }
    Ok(())
}

/// All outputs of all addresses; an error rather than a wrong sum when there are too many.
async fn rows(wallet: &Wallet, node: &Node, include_spent: bool) -> anyhow::Result<Vec<OutputRow>> {
    let mut rows = Vec::new();
    for address in wallet.addresses() {
        let left = ROWS_MAX.saturating_sub(rows.len());
        let (more, complete) = node.outputs(address, include_spent, left).await?;
        if !complete {
            bail!(
                "the wallet has more than {ROWS_MAX} outputs, too many to show; consolidate them, or split the wallet"
            );
        }
        rows.extend(more);
    }
    // Pages are read while rows move; an output counts once.
    let mut seen = HashSet::with_capacity(rows.len());
    rows.retain(|row| seen.insert(row.coin.outpoint));
    Ok(rows)
}

#[derive(Default)]
struct Balance {
    spendable: u128,
    resting: u128,
    reserved: u128,
    outputs: usize,
}

/// Adds live outputs up per product. Sums are wider than amounts: a lying node may name any.
fn add_up(rows: &[OutputRow], reserved: &HashSet<OutPoint>, now_ms: u64) -> BTreeMap<Product, Balance> {
    let mut balances: BTreeMap<Product, Balance> = BTreeMap::new();
    for coin in rows.iter().filter(|row| row.spent.is_none()).map(|row| &row.coin) {
        let balance = balances.entry(coin.product).or_default();
        balance.outputs += 1;
        let units = u128::from(coin.amount.units());
        if reserved.contains(&coin.outpoint) {
            balance.reserved += units;
        } else if coin.spendable_at_ms > now_ms {
            balance.resting += units;
        } else {
            balance.spendable += units;
        }
    }
    balances
}

async fn balance(wallet: &Wallet, session: &Session) -> anyhow::Result<()> {
    let node = session.node_for(wallet).await?;
    let reserved = Outbox::reserved(&wallet.outbox().entries()?);
    let rows = rows(wallet, &node, false).await?;
    let mut balances = add_up(&rows, &reserved, when::now_ms()?);
    balances.entry(Product::Native).or_default();
    let part = |units: u128, product: Product| {
        let known = u64::try_from(units).ok().and_then(|units| Amount::new(units).ok());
        known.map_or_else(|| units.to_string(), |amount| show::amount(amount, product))
    };
    let mut lines = Vec::new();
    let mut objects = Vec::new();
    for (product, balance) in &balances {
        lines.push(format!("{product}"));
        lines.push(format!("  spendable  {}", part(balance.spendable, *product)));
        lines.push(format!("  resting    {}", part(balance.resting, *product)));
        lines.push(format!("  reserved   {}", part(balance.reserved, *product)));
        objects.push(json!({
            "product": product.to_string(),
            "spendable": balance.spendable.to_string(),
            "resting": balance.resting.to_string(),
            "reserved": balance.reserved.to_string(),
            "outputs": balance.outputs,
        }));
    }
    session.out.show(lines.join("\n"), &json!({ "balances": objects }))
}

async fn history(wallet: &Wallet, session: &Session) -> anyhow::Result<()> {
    let node = session.node_for(wallet).await?;
    let rows = rows(wallet, &node, true).await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.push((row.coin.created_at_ms, row.coin.outpoint, "received", row.coin.outpoint.txid, row));
        if let Some((spender, at_ms)) = row.spent {
            events.push((at_ms, row.coin.outpoint, "spent", spender, row));
        }
    }
    events.sort_by_key(|event| (event.0, event.1, event.2));
    for (at_ms, outpoint, event, txid, row) in events {
        let (amount, product) = (row.coin.amount, row.coin.product);
        session.out.show(
            format!("{}  {event:<8}  {}  {txid}", when::show(at_ms), show::amount(amount, product)),
            &json!({
                "event": event,
                "at_ms": at_ms,
                "txid": txid.to_string(),
                "outpoint": outpoint.to_string(),
                "product": product.to_string(),
                "amount": amount.to_string(),
                "address": row.coin.owner.to_text(wallet.network()),
            }),
        )?;
    }
    if rows.is_empty() {
        session.out.tell("nothing received or spent yet")?;
    }
    Ok(())
}

async fn receive(wallet: &Wallet, amount: Amount, session: &Session) -> anyhow::Result<()> {
    if wallet.network() != Network::Dev {
        bail!(
            "coins are issued on request on network dev alone, and this wallet is for {}; have someone pay to its address instead",
            wallet.network()
        );
    }
    if amount.is_zero() {
        bail!("an issuance needs an amount above 0; say how much");
    }
    let node = session.node_for(wallet).await?;
    let address = wallet.latest_address();
    let txid = node
        .fund(&address, amount)
        .await
        .context("no coins were issued, as far as is known; look at the balance before trying again")?;
    let text = address.to_text(wallet.network());
    session.out.show(
        format!("received  {}\naddress   {text}\ntxid      {txid}", show::amount(amount, Product::Native)),
        &json!({ "txid": txid.to_string(), "address": text, "amount": amount.to_string() }),
    )
}
