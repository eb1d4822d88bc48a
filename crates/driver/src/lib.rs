//! Runs a core over the ports, for any runtime: production, embedded and simulation drive the same code.
//!
//! One turn: read a batch → fetch the rows that its inputs declare (overlay first, then store) → step
//! the core over the inputs in order → commit outputs and position atomically → the rows go to the
//! store while the next batch is already being committed. Rows reach the store only after their commit,
//! so the store is never ahead of the log; opening a worker applies what the store lacks from topic
//! `changes`, and decides nothing again. On a log whose readers wait for commits, what workers tell one another follows
//! the commit that records it, and rows follow the messages.

mod batch;
mod cache;
mod changes;
mod error;
mod opening;
mod outbox;
mod planted;
mod replay;
mod seen;
mod trouble;
mod unwritten;
mod worker;

pub use error::WorkerError;
#[cfg(feature = "planted-bugs")]
pub use planted::PlantedBug;
pub use replay::replay;
pub use seen::Seen;
pub use trouble::{retrying, unless_fenced};
pub use worker::{Host, Limits, Observer, Worker, WorkerSpec};

/// Reads all rows under a prefix, page by page.
pub async fn scan_all(
    store: &dyn eschaton_ports::Store,
    table: eschaton_ports::Table,
    prefix: &[u8],
) -> Result<Vec<eschaton_ports::Row>, eschaton_ports::StoreError> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = store.scan(table, prefix, after.as_deref(), eschaton_ports::SCAN_ROWS_MAX).await?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(rows),
        }
    }
}
