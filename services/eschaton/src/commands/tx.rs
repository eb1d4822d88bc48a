//! `eschaton tx`.

mod body;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use eschaton_client::node::Decided;
use eschaton_client::{Node, Submitted};
use eschaton_types::{TRANSACTION_BYTES_MAX, Transaction, TxId};
use serde_json::json;

use super::pay::Follow;
use super::show;
use crate::session::Session;
use crate::when;

/// The most transactions that one watch names; the node's own bound.
const WATCHED_MAX: usize = 1_000;
/// Before a stream that was cut off is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// `eschaton tx …`
#[derive(Args, Debug)]
pub(crate) struct TxCommand {
    #[command(subcommand)]
    task: TxTask,
}

#[derive(Subcommand, Debug)]
enum TxTask {
    /// Hand in a signed transaction and wait for the decision
    #[command(
        after_help = "Example:\n  eschaton tx submit payment.bin\n  eschaton tx submit - < payment.hex\n\nJSON: {\"txid\",\"state\",\"at_ms\",\"reason\",\"message\",\"spent_by\"}"
    )]
    Submit {
        /// Hexadecimal digits, a file (canonical bytes or hexadecimal; write ./abcd for a file of such a name), or - for standard input
        transaction: String,
        /// Be content once it is durable on the node's log
        #[arg(long)]
        no_wait: bool,
    },
    /// Show a transaction, decoded, with its state
    #[command(
        after_help = "Example:\n  eschaton tx show 5f0c...\n\nJSON: {\"txid\",\"state\",\"at_ms\",\"network\",\"kind\",\"bytes\",\"signatures\",\"inputs\":[{\"outpoint\",\"owner\",\"product\",\"read_only\"}],\"outputs\":[{\"outpoint\",\"owner\",\"product\",\"amount\",\"data\",\"confirmation_required\"}],\"fees\":[{\"product\",\"amount\"}],\"not_before_ms\",\"not_after_ms\",\"min_spend_delay_ms\",\"metadata\",\"memo\",\"transaction\"}; the last is hexadecimal, as `tx submit` takes it"
    )]
    Show {
        /// 64 hexadecimal digits
        #[arg(value_parser = TxId::from_hex)]
        txid: TxId,
    },
    /// Print decisions as they are made: of these until all are decided, or of all until stopped
    #[command(
        after_help = "Example:\n  eschaton tx watch 5f0c... a1b2...\n  eschaton tx watch --json | jq .txid\n\nJSON, one line for each: {\"txid\",\"state\",\"at_ms\",\"reason\",\"message\"}"
    )]
    Watch {
        /// 64 hexadecimal digits each; none for all
        #[arg(value_parser = TxId::from_hex)]
        txids: Vec<TxId>,
    },
}

pub(super) async fn perform(command: TxCommand, session: &Session) -> anyhow::Result<()> {
    match command.task {
        TxTask::Submit { transaction, no_wait } => submit(&transaction, no_wait, session).await,
        TxTask::Show { txid } => show_one(&txid, session).await,
        TxTask::Watch { txids } => watch(&txids, session).await,
    }
}

async fn submit(from: &str, no_wait: bool, session: &Session) -> anyhow::Result<()> {
    let bytes = transaction_bytes(from)?;
    let transaction = Transaction::decode(bytes).context("that is no transaction")?;
    let txid = transaction.txid;
    let node = session.node()?;
    let mut state = node.submit(&txid, &transaction.bytes, no_wait).await?;
    if state == Submitted::Pending && !no_wait {
        let deadline = tokio::time::Instant::now() + session.timeout();
        state = Follow { session, node: &node, watch: false }.decision(&txid, None, deadline).await?;
    }
    session.out.show(show::state_line(&txid, &state), &show::state_json(&txid, &state))?;
    match state {
        Submitted::Accepted { .. } => Ok(()),
        Submitted::Pending if no_wait => Ok(()),
        Submitted::Pending => {
            bail!("transaction {txid} is not decided yet; watch it with `eschaton tx watch {txid}`")
        }
        Submitted::Rejected { message, .. } => bail!("transaction {txid} was rejected: {message}"),
        Submitted::Invalid { message } => bail!("transaction {txid} is not valid: {message}"),
    }
}

/// Hexadecimal digits, a file, or standard input.
fn transaction_bytes(from: &str) -> anyhow::Result<Bytes> {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    let raw = if from == "-" {
        bounded(std::io::stdin().lock()).context("cannot read standard input")?
    } else if digits(from.as_bytes()) {
        from.as_bytes().to_vec()
    } else {
        let file = std::fs::File::open(Path::new(from));
        let file = file
            .with_context(|| format!("`{from}` is neither hexadecimal digits nor a file that can be read"))?;
        bounded(file).with_context(|| format!("cannot read {from}"))?
    };
    let trimmed = raw.trim_ascii();
    if digits(trimmed) {
        return Ok(hex::decode(trimmed)
            .context("the hexadecimal digits are of an odd number; one was lost")?
            .into());
    }
    Ok(raw.into())
}

fn bounded(from: impl Read) -> anyhow::Result<Vec<u8>> {
    // Hexadecimal takes two digits for a byte, and a line may end.
    let max = 2 * TRANSACTION_BYTES_MAX + 2;
    let mut raw = Vec::new();
    from.take(u64::try_from(max)? + 1).read_to_end(&mut raw)?;
    if raw.len() > max {
        bail!("it is longer than any transaction ({TRANSACTION_BYTES_MAX} bytes)");
    }
    Ok(raw)
}

async fn show_one(txid: &TxId, session: &Session) -> anyhow::Result<()> {
    let row = session.node()?.transaction(txid).await?;
    let row = row.with_context(|| {
        format!("this node never saw transaction {txid}; check the id, or ask another node")
    })?;
    let mut object = show::state_json(txid, &row.state);
    object["at_ms"] = json!(row.at_ms);
    body::add_json(&mut object, &row.transaction);
    let head = match row.state {
        Submitted::Pending => format!("{}  {}", show::state_line(txid, &row.state), when::show(row.at_ms)),
        ref state => show::state_line(txid, state),
    };
    session.out.show(format!("{head}\n{}", body::text(&row.transaction)), &object)
}

async fn watch(txids: &[TxId], session: &Session) -> anyhow::Result<()> {
    if txids.len() > WATCHED_MAX {
        bail!(
            "{} transactions are more than the {WATCHED_MAX} that can be watched at once; watch them in parts",
            txids.len()
        );
    }
    let node = session.node()?;
    let mut open: BTreeSet<TxId> = txids.iter().copied().collect();
    loop {
        let named: Vec<TxId> = open.iter().copied().collect();
        let mut decisions = node.watch(&named).await?;
        // What was decided before the stream began, or while it was broken.
        for txid in named {
            if let Some(decided) = look(&node, txid).await? {
                tell(&decided, &mut open, session)?;
            }
        }
        while txids.is_empty() || !open.is_empty() {
            match decisions.next().await? {
                Some(decided) if txids.is_empty() || open.contains(&decided.txid) => {
                    tell(&decided, &mut open, session)?;
                }
                Some(_) => {}
                None => break,
            }
        }
        if !txids.is_empty() && open.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(REOPEN_AFTER).await;
    }
}

async fn look(node: &Node, txid: TxId) -> anyhow::Result<Option<Decided>> {
    let row = node.transaction(&txid).await?;
    Ok(row.map(|row| Decided { txid, state: row.state, at_ms: row.at_ms }))
}

fn tell(decided: &Decided, open: &mut BTreeSet<TxId>, session: &Session) -> anyhow::Result<()> {
    if decided.state != Submitted::Pending {
        open.remove(&decided.txid);
    }
    let mut object = show::state_json(&decided.txid, &decided.state);
    object["at_ms"] = json!(decided.at_ms);
    let pending = (decided.state == Submitted::Pending).then(|| format!("  {}", when::show(decided.at_ms)));
    let line = show::state_line(&decided.txid, &decided.state);
    session.out.show(format!("{line}{}", pending.unwrap_or_default()), &object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn three_sources_of_bytes() {
        let folder = std::env::temp_dir().join(format!("eschaton-tx-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("t");
        let from_file = |content: &[u8]| {
            std::fs::write(&file, content).unwrap();
            transaction_bytes(file.to_str().unwrap())
        };
        assert_eq!(transaction_bytes("0aFF").unwrap(), vec![10, 255]);
        assert_eq!(from_file(b"0aff\n").unwrap(), vec![10, 255]);
        assert_eq!(from_file(&[10, 255]).unwrap(), vec![10, 255]);
        assert!(transaction_bytes("0af").is_err());
        assert!(transaction_bytes("/nowhere/at/all").is_err());
        assert!(from_file(&vec![b'a'; 2 * TRANSACTION_BYTES_MAX + 3]).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
