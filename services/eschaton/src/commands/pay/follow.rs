//! Handing in a payment and following it until it is decided.

use std::time::Duration;

use eschaton_client::node::Decisions;
use eschaton_client::{Entry, Node, NodeError, Outbox, Submitted, Verdict};
use eschaton_types::TxId;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::commands::show;
use crate::session::Session;

/// How often to look, beside what the node pushes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where payments are handed in and how much is shown.
pub(in crate::commands) struct Follow<'a> {
    pub(in crate::commands) session: &'a Session,
    pub(in crate::commands) node: &'a Node,
    pub(in crate::commands) watch: bool,
}

impl Follow<'_> {
    /// Hands in an entry's bytes and shows its states. With `wait` until it is decided or time is up.
    /// Settles the outbox after the last state was shown.
    pub(super) async fn deliver(
        &self,
        entry: &Entry,
        outbox: &Outbox,
        resumed: bool,
        wait: bool,
    ) -> anyhow::Result<Submitted> {
        let txid = entry.transaction.txid;
        let deadline = Instant::now() + self.session.timeout();
        let steps = self.watch || !self.session.out.is_json();
        if steps {
            self.state(&txid, &Submitted::Pending, resumed)?;
        }
        // Opened first, so that no decision is missed.
        let decisions = if self.watch && wait { Some(self.node.watch(&[txid]).await?) } else { None };
        let mut state = match self.node.submit(&txid, &entry.transaction.bytes, self.watch && wait).await {
            // Handed in perhaps: the node may have it, so look for it.
            Err(NodeError::Timeout { .. }) if wait => Submitted::Pending,
            answer => answer?,
        };
        if wait && state == Submitted::Pending {
            state = self.decision(&txid, decisions, deadline).await?;
        }
        if !steps || state != Submitted::Pending {
            self.state(&txid, &state, resumed)?;
        }
        outbox.settle(&txid, Verdict::of(&state))?;
        Ok(state)
    }

    /// The decision, or PENDING when time is up.
    pub(in crate::commands) async fn decision(
        &self,
        txid: &TxId,
        mut decisions: Option<Decisions>,
        deadline: Instant,
    ) -> anyhow::Result<Submitted> {
        loop {
            let look = (Instant::now() + LOOK_EVERY).min(deadline);
            match &mut decisions {
                None => sleep_until(look).await,
                Some(stream) => match timeout_at(look, stream.next()).await {
                    Ok(Ok(Some(event))) if event.txid == *txid && event.state != Submitted::Pending => {
                        return Ok(event.state);
                    }
                    Ok(Ok(Some(_))) | Err(_) => {}
                    // It ended: looking is enough.
                    Ok(Ok(None) | Err(_)) => decisions = None,
                },
            }
            let row = self.node.transaction(txid).await?;
            let state = row.map_or(Submitted::Pending, |row| row.state);
            if state != Submitted::Pending || Instant::now() >= deadline {
                return Ok(state);
            }
        }
    }

    fn state(&self, txid: &TxId, state: &Submitted, resumed: bool) -> anyhow::Result<()> {
        let mut object = show::state_json(txid, state);
        if resumed {
            object["resumed"] = json!(true);
        }
        self.session.out.show(show::state_line(txid, state), &object)
    }
}
