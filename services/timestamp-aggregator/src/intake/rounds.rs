//! Rounds: what waits for a shard goes on the log as one record, and its digests wait for the stamper's word.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use eschaton_core::{Topic, TopicPartition};
use eschaton_ots::Nonce;
use eschaton_ports::NewRecord;
use eschaton_timestamp::{Item, StampInput};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Batch, Shared};

/// One digest and who waits for it.
pub(super) struct Entry {
    pub(super) digest: Bytes,
    pub(super) slot: usize,
    pub(super) batch: Arc<Batch>,
}

/// A record's digests, until the stamper says where they are.
struct Round {
    began_ms: u64,
    entries: Vec<Entry>,
}

/// One shard's.
pub(super) struct Rounds {
    shard: u32,
    /// Not on the log yet.
    new: Mutex<Vec<Entry>>,
    wake: Notify,
    /// By the first digest's nonce.
    written: Mutex<HashMap<Nonce, Round>>,
}

impl Rounds {
    pub(super) fn new(shard: u32) -> Self {
        Self { shard, new: Mutex::default(), wake: Notify::new(), written: Mutex::default() }
    }

    pub(super) fn shard(&self) -> u32 {
        self.shard
    }

    pub(super) fn add(&self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.new.lock().extend(entries);
            self.wake.notify_one();
        }
    }

    /// The entries of the record with this ticket, if this process wrote it. Once.
    pub(super) fn placed(&self, ticket: &[u8]) -> Option<Vec<Entry>> {
        let ticket: Nonce = ticket.try_into().ok()?;
        self.written.lock().remove(&ticket).map(|round| round.entries)
    }

    /// Forgets records that nobody told of: their callers were told to come again.
    fn forget(&self, before_ms: u64) {
        self.written.lock().retain(|_, round| round.began_ms >= before_ms);
    }
}

/// Writes rounds until `stop`.
pub(super) async fn run(shared: Arc<Shared>, rounds: Arc<Rounds>, stop: CancellationToken) {
    let to = TopicPartition { topic: Topic::Stamps, partition: rounds.shard };
    let mut nonces = Vec::new();
    loop {
        let mut entries: Vec<Entry> = {
            let mut new = rounds.new.lock();
            let count = new.len().min(shared.limits.round_digests);
            new.drain(..count).collect()
        };
        let now = shared.ports.clock.now_ms();
        rounds.forget(now.saturating_sub(2 * shared.limits.wait_ms));
        // Nobody waits for these any more.
        entries.retain(|entry| entry.batch.state.lock().done.as_ref().is_some_and(|done| !done.is_closed()));
        if entries.is_empty() {
            if rounds.new.lock().is_empty() {
                tokio::select! {
                    () = rounds.wake.notified() => {}
                    () = stop.cancelled() => return,
                }
            }
            continue;
        }
        nonces.resize(entries.len() * size_of::<Nonce>(), 0);
        shared.ports.rng.fill(&mut nonces);
        let items: Vec<Item> = nonces
            .chunks_exact(size_of::<Nonce>())
            .zip(&entries)
            .filter_map(|(nonce, entry)| {
                Some(Item { nonce: nonce.try_into().ok()?, digest: entry.digest.clone() })
            })
            .collect();
        let Some(ticket) = items.first().map(|item| item.nonce) else { continue };
        let payload = StampInput::Digests(items).encode();
        // Before the append: the stamper may be faster than its answer.
        rounds.written.lock().insert(ticket, Round { began_ms: now, entries });
        let record = NewRecord { to, at_ms: now, id: None, trace: None, payload };
        if let Err(error) = shared.ports.log.append(vec![record]).await {
            // It may be on the log all the same; who comes again is told the place that it got.
            tracing::warn!(%to, %error, "a round of digests was not written");
            rounds.written.lock().remove(&ticket);
            shared.ports.clock.sleep_ms(shared.limits.retry_ms).await;
        }
    }
}
