use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use eschaton_gossip::{Admission, Recent, Sight};
use eschaton_types::TxId;
use eschaton_types::pb::log::{Decision, Rejection, State};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use crate::{Answer, metrics};

/// Decisions kept for a watcher that is slow.
const WATCH_BACKLOG: usize = 8_192;

/// A batch that waits for its answers.
pub(crate) struct Batch {
    ids: Vec<TxId>,
    answers: Mutex<Vec<Option<Answer>>>,
    missing: AtomicUsize,
    done: Notify,
    /// An item waits for another round's append: only its decision says that it is durable.
    joined: AtomicBool,
}

impl Batch {
    /// `ids` are the items' transactions, `answers` what is known at once.
    pub(crate) fn new(answers: Vec<Option<Answer>>, ids: Vec<TxId>) -> Arc<Self> {
        let missing = answers.iter().filter(|answer| answer.is_none()).count();
        Arc::new(Self {
            ids,
            answers: Mutex::new(answers),
            missing: AtomicUsize::new(missing),
            done: Notify::new(),
            joined: AtomicBool::new(false),
        })
    }

    pub(crate) fn answer(&self, index: usize, answer: Answer) {
        let mut answers = self.answers.lock();
        if let Some(slot @ None) = answers.get_mut(index) {
            *slot = Some(answer);
            drop(answers);
            if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done.notify_one();
            }
        }
    }

    pub(crate) fn join(&self) {
        self.joined.store(true, Ordering::Release);
    }

    pub(crate) fn joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }

    /// Returns when every item has its answer.
    pub(crate) async fn wait(&self) {
        while self.missing.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }

    /// The answers; PENDING where there is none yet.
    pub(crate) fn take(&self) -> Vec<Answer> {
        let answers = std::mem::take(&mut *self.answers.lock());
        let pending =
            |(answer, txid): (Option<Answer>, &TxId)| answer.unwrap_or(Answer::Pending { txid: *txid });
        answers.into_iter().zip(&self.ids).map(pending).collect()
    }
}

/// One item's place in line. It holds room in the house until the decision, whether or not somebody
/// still listens.
pub(crate) struct Place {
    pub(crate) client: IpAddr,
    pub(crate) bytes: usize,
    pub(crate) batch: Arc<Batch>,
    pub(crate) index: usize,
}

/// Room for a batch. Dropped, it is given back: a call that is cancelled on its way leaks nothing.
pub(crate) struct Room {
    waiting: Arc<Waiting>,
    client: IpAddr,
    held: eschaton_gossip::Held,
    now_ms: u64,
}

impl Room {
    /// For how many items.
    pub(crate) fn count(&self) -> usize {
        self.held.count
    }

    /// From here on the batch's places give the room back, one by one.
    pub(crate) fn hand_over(mut self) {
        self.held = eschaton_gossip::Held::default();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.release(self.client, self.held.count, self.held.bytes, self.now_ms);
    }
}

struct Inner {
    recent: Recent<u64>,
    admission: Admission<IpAddr>,
    places: HashMap<TxId, Vec<Place>>,
}

/// Who waits for what; what was decided lately; how much room there is.
pub(crate) struct Waiting {
    inner: Mutex<Inner>,
    watchers: broadcast::Sender<Arc<Decision>>,
}

/// What to do with an item.
pub(crate) enum Entered {
    /// Write it to the log.
    First,
    /// Somebody else's write will be decided.
    Joined,
    /// Accepted at this log time already.
    Accepted(u64),
}

impl Waiting {
    pub(crate) fn new(remembered_max: usize, admission: Admission<IpAddr>) -> Self {
        let inner = Inner { recent: Recent::new(remembered_max), admission, places: HashMap::new() };
        Self { inner: Mutex::new(inner), watchers: broadcast::channel(WATCH_BACKLOG).0 }
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Decision>> {
        self.watchers.subscribe()
    }

    pub(crate) fn watcher(&self) -> broadcast::Sender<Arc<Decision>> {
        self.watchers.clone()
    }

    /// Asks for room: how much there is, and why no more.
    pub(crate) fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        sizes: &[usize],
        now_ms: u64,
    ) -> (Room, Option<eschaton_gossip::Shed>) {
        let (held, shed) = match self.inner.lock().admission.admit(&client, sizes, now_ms) {
            Ok(admitted) => (admitted.held, admitted.rest),
            Err(shed) => (eschaton_gossip::Held::default(), Some(shed)),
        };
        (Room { waiting: self.clone(), client, held, now_ms }, shed)
    }

    pub(crate) fn release(&self, client: IpAddr, count: usize, bytes: usize, now_ms: u64) {
        if count > 0 {
            self.inner.lock().release(client, count, bytes, now_ms);
        }
    }

    pub(crate) fn known(&self, txid: &TxId) -> bool {
        self.inner.lock().recent.knows(txid)
    }

    /// Takes places in line, all under one lock.
    pub(crate) fn enter(&self, items: impl Iterator<Item = (TxId, Place)>) -> Vec<Entered> {
        let mut inner = self.inner.lock();
        let entered = items
            .map(|(txid, place)| match inner.recent.see(txid) {
                Sight::Decided(at_ms) => Entered::Accepted(at_ms),
                sight => {
                    inner.places.entry(txid).or_default().push(place);
                    if sight == Sight::First { Entered::First } else { Entered::Joined }
                }
            })
            .collect();
        metrics::undecided(inner.places.len());
        entered
    }

    /// The log did not take these: everybody in line learns it, and their room is free.
    pub(crate) fn fail(&self, txids: &[TxId], now_ms: u64) -> Vec<Place> {
        let mut inner = self.inner.lock();
        let mut failed = Vec::new();
        for txid in txids {
            inner.recent.forget(txid);
            for place in inner.places.remove(txid).unwrap_or_default() {
                inner.release(place.client, 1, place.bytes, now_ms);
                failed.push(place);
            }
        }
        metrics::undecided(inner.places.len());
        failed
    }

    /// Hands committed decisions to those who wait.
    pub(crate) fn decided(&self, decisions: Vec<(TxId, Decision)>, now_ms: u64) {
        let mut answered: Vec<(Place, Answer)> = Vec::with_capacity(decisions.len());
        let (mut accepted, mut rejected) = (0, 0);
        {
            let mut inner = self.inner.lock();
            let mut released: HashMap<IpAddr, (usize, usize)> = HashMap::new();
            for (txid, decision) in &decisions {
                let answer = match decision.state() {
                    State::Accepted => {
                        inner.recent.decide(*txid, decision.at_ms);
                        accepted += usize::from(!decision.repeated_answer);
                        Answer::Accepted { txid: *txid, at_ms: decision.at_ms }
                    }
                    State::Rejected => {
                        // Not remembered: most rejections may turn out otherwise later.
                        inner.recent.forget(txid);
                        rejected += 1;
                        let rejection = decision.rejection.clone().unwrap_or_else(Rejection::default);
                        Answer::Rejected { txid: *txid, rejection, at_ms: decision.at_ms }
                    }
                    State::Pending | State::Unspecified => continue,
                };
                for place in inner.places.remove(txid).unwrap_or_default() {
                    let (count, bytes) = released.entry(place.client).or_default();
                    *count += 1;
                    *bytes += place.bytes;
                    answered.push((place, answer.clone()));
                }
            }
            for (client, (count, bytes)) in released {
                inner.release(client, count, bytes, now_ms);
            }
            metrics::undecided(inner.places.len());
        }
        for (place, answer) in answered {
            place.batch.answer(place.index, answer);
        }
        metrics::outcome("accepted", accepted);
        metrics::outcome("rejected", rejected);
        if self.watchers.receiver_count() > 0 {
            for (_, decision) in decisions {
                // Fails only when the last watcher left just now.
                let _ = self.watchers.send(Arc::new(decision));
            }
        }
    }

    /// Transactions taken and not decided.
    pub(crate) fn undecided(&self) -> usize {
        self.inner.lock().places.len()
    }
}

impl Inner {
    fn release(&mut self, client: IpAddr, count: usize, bytes: usize, now_ms: u64) {
        if let Err(error) = self.admission.release(&client, count, bytes, now_ms) {
            debug_assert!(false, "admission is released as it was taken: {error}");
            tracing::error!(%error, "admission miscounted");
        }
    }
}
