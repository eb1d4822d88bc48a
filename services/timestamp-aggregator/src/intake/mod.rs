//! Digests from outside: gathered in rounds, a record for each round and shard, answered when their interval is
//! closed. Whichever process owns the shard, the tail of topic `stamped` tells where the digests are.

mod answering;
mod backlog;
mod rounds;
mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eschaton_core::{Topic, TopicPartition};
use eschaton_kit::{Health, Ports};
use eschaton_ots::tree::Hash;
use eschaton_ots::{CalendarUri, OtsError};
use eschaton_timestamp::LEAVES_MAX;
use eschaton_timestamp::proof::promise;
use eschaton_timestamp::rows::{DIGEST_MAX, digest_key, shard_of};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::metrics::{REFUSED, STAMP_SECONDS, STAMPED, WAITING};
use rounds::{Entry, Rounds};

/// Anchors are a matter of blocks.
const UNANCHORED_RETRY_MS: u64 = 60_000;

/// Bounds of an intake.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    /// Most digests that wait for their interval in this process.
    pub waiting_max: usize,
    /// Most digests of one record.
    pub round_digests: usize,
    /// Longest wait for an answer, ms.
    pub wait_ms: u64,
    /// What callers are told to wait who find no room, ms.
    pub retry_ms: u64,
    /// Most intervals that wait for an anchor; beyond it no digest is taken.
    pub unanchored_max: u32,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            waiting_max: 1 << 18,
            round_digests: 1 << 13,
            wait_ms: 10_000,
            retry_ms: 200,
            unanchored_max: LEAVES_MAX / 4 * 3,
        }
    }
}

/// A digest's answer: its interval is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Serialized timestamp of the digest, with a pending attestation of this node at the interval's root.
    pub timestamp: Bytes,
    /// The interval's root: what the attestation is of.
    pub commitment: Hash,
}

/// Why there is no stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// Not a digest.
    #[error("a digest has {found} bytes, allowed are 1 to {DIGEST_MAX}; send the hash, not the data")]
    Digest {
        /// Its bytes.
        found: usize,
    },
    /// Too many wait already.
    #[error("too many digests wait for their interval; come again in {retry_ms} ms")]
    Busy {
        /// When to come again.
        retry_ms: u64,
    },
    /// Anchors could not be made for long.
    #[error(
        "no anchor could be made for long, and no more digests are taken until one is; come again in {retry_ms} ms"
    )]
    Unanchored {
        /// When to come again.
        retry_ms: u64,
    },
    /// It may be stamped or not; submitting it again gives the place that it has.
    #[error("the digest was not confirmed in time; submit it again in {retry_ms} ms, it keeps its place")]
    Late {
        /// When to come again.
        retry_ms: u64,
    },
}

/// Takes digests.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

struct Shared {
    ports: Ports,
    limits: IntakeLimits,
    rounds: Vec<Arc<Rounds>>,
    waiting: AtomicUsize,
    /// Too many intervals wait for an anchor.
    full: AtomicBool,
    /// The serialized timestamp of an interval's root.
    end: Vec<u8>,
}

/// Digests that came together, and what is known of them.
struct Batch {
    shared: Arc<Shared>,
    digests: usize,
    state: Mutex<BatchState>,
}

struct BatchState {
    stamps: Vec<Option<Stamp>>,
    missing: usize,
    done: Option<oneshot::Sender<Vec<Stamp>>>,
}

impl Batch {
    fn answer(&self, slot: usize, stamp: Stamp) {
        let mut state = self.state.lock();
        let Some(place) = state.stamps.get_mut(slot) else { return };
        if place.replace(stamp).is_some() {
            return;
        }
        state.missing -= 1;
        if state.missing == 0
            && let Some(done) = state.done.take()
        {
            let stamps = std::mem::take(&mut state.stamps).into_iter().flatten().collect();
            // The caller may have gone.
            let _ = done.send(stamps);
        }
    }
}

/// Answered or given up, it makes room.
impl Drop for Batch {
    fn drop(&mut self) {
        let left = self.shared.waiting.fetch_sub(self.digests, Ordering::Relaxed) - self.digests;
        metrics::gauge!(WAITING).set(u32::try_from(left).unwrap_or(u32::MAX));
    }
}

impl Intake {
    /// Starts following what stampers publish, then takes digests, until `stop`.
    ///
    /// # Errors
    /// A log that does not tell its ends; a URI that no attestation may hold.
    pub async fn start(
        shards: u32,
        uri: &CalendarUri,
        limits: IntakeLimits,
        ports: &Ports,
        health: &Health,
        stop: &CancellationToken,
    ) -> Result<Self, IntakeError> {
        let rounds: Vec<Arc<Rounds>> = (0..shards).map(|shard| Arc::new(Rounds::new(shard))).collect();
        let shared = Arc::new(Shared {
            ports: ports.clone(),
            limits,
            rounds,
            waiting: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            end: promise(uri).to_bytes()?,
        });
        for rounds in &shared.rounds {
            let at = TopicPartition { topic: Topic::Stamped, partition: rounds.shard() };
            // From the present end: whoever waits here submits later than now.
            let from = ports.log.end(at).await?;
            let tail = tail::run(at, from, shared.clone(), rounds.clone(), health.clone(), stop.clone());
            tokio::spawn(tail);
            tokio::spawn(rounds::run(shared.clone(), rounds.clone(), stop.clone()));
        }
        tokio::spawn(backlog::run(shared.clone(), health.clone(), stop.clone()));
        Ok(Self(shared))
    }

    /// Digests that wait for their interval in this process.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Stamps one digest; returns when its interval is durable.
    ///
    /// # Errors
    /// See [`StampError`].
    pub async fn stamp(&self, digest: Bytes) -> Result<Stamp, StampError> {
        let retry_ms = self.0.limits.retry_ms;
        self.stamp_all(vec![digest]).await?.pop().ok_or(StampError::Late { retry_ms })
    }

    /// Stamps digests, all or none is answered; the stamps come in the same order.
    ///
    /// # Errors
    /// See [`StampError`]; of the digests that were taken some may be stamped.
    pub async fn stamp_all(&self, digests: Vec<Bytes>) -> Result<Vec<Stamp>, StampError> {
        let shared = &self.0;
        let mut keys = Vec::with_capacity(digests.len());
        for digest in &digests {
            keys.push(digest_key(digest).map_err(|_| StampError::Digest { found: digest.len() })?);
        }
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        let (limits, count) = (shared.limits, digests.len());
        if shared.full.load(Ordering::Relaxed) {
            metrics::counter!(REFUSED).increment(1);
            return Err(StampError::Unanchored { retry_ms: UNANCHORED_RETRY_MS });
        }
        let busy = || {
            metrics::counter!(REFUSED).increment(1);
            StampError::Busy { retry_ms: limits.retry_ms }
        };
        let before = shared.waiting.fetch_add(count, Ordering::Relaxed);
        let (done, answered) = oneshot::channel();
        let state = BatchState { stamps: vec![None; count], missing: count, done: Some(done) };
        let batch = Arc::new(Batch { shared: shared.clone(), digests: count, state: Mutex::new(state) });
        // One that is alone may be larger than the bound.
        if before > 0 && before + count > limits.waiting_max {
            return Err(busy());
        }
        metrics::gauge!(WAITING).set(u32::try_from(before + count).unwrap_or(u32::MAX));
        let began = shared.ports.clock.now_ms();
        let shards = u32::try_from(shared.rounds.len()).unwrap_or(u32::MAX);
        let mut by_shard: Vec<Vec<Entry>> = shared.rounds.iter().map(|_| Vec::new()).collect();
        for ((slot, digest), key) in digests.into_iter().enumerate().zip(keys) {
            let shard = usize::try_from(shard_of(&key, shards)).unwrap_or(0);
            if let Some(entries) = by_shard.get_mut(shard) {
                entries.push(Entry { digest, slot, batch: batch.clone() });
            }
        }
        for (rounds, entries) in shared.rounds.iter().zip(by_shard) {
            rounds.add(entries);
        }
        drop(batch);
        let late = StampError::Late { retry_ms: limits.retry_ms };
        let stamps = match tokio::time::timeout(Duration::from_millis(limits.wait_ms), answered).await {
            Ok(Ok(stamps)) => stamps,
            _ => return Err(late),
        };
        let took = shared.ports.clock.now_ms().saturating_sub(began);
        metrics::histogram!(STAMP_SECONDS).record(Duration::from_millis(took));
        metrics::counter!(STAMPED).increment(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(stamps)
    }
}

/// Why an intake did not start.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The log.
    #[error(transparent)]
    Log(#[from] eschaton_ports::LogError),
    /// The URI.
    #[error(transparent)]
    Uri(#[from] OtsError),
}
