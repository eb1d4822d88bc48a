use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use eschaton_core::Table;
use eschaton_ports::{Clock, NewRecord, Store, StoreBatch, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::WorkerError;
use crate::cache::Cache;
use crate::outbox::Outbox;
use crate::planted::{Planted, PlantedBug};
use crate::trouble::retrying;
use crate::worker::Limits;

/// Rows of about this many fit one write; a single batch may hold more.
const WRITE_ROWS: usize = 8_192;

type At = (Table, Bytes);

/// Committed rows on their way to the store, and what they say meanwhile.
///
/// Batches go in commit order, one write at a time, each with all that came while the one before was under way, and
/// none before its messages are sent: whoever finds a batch in the store finds what it told others on the log. A store that stands still for a moment holds up nobody until `rows_max` rows wait. To drop this loses
/// nothing: the log has the rows, and whoever opens the worker next writes them again.
pub(crate) struct Unwritten {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    retry_ms: u64,
    group: String,
    rows_max: usize,
    outbox: Outbox,
    waiting: VecDeque<StoreBatch>,
    /// Of all batches that are not in the store.
    rows: usize,
    writing: Option<Writing>,
    write_ms: u64,
    write_small: usize,
    /// After a write, until the next may begin.
    rest: Option<BoxFuture<'static, ()>>,
    /// Somebody waits for all to be written.
    hurry: bool,
    /// The newest value of each such row, and the number of the batch that made it.
    overlay: HashMap<At, (u64, Option<Bytes>)>,
    /// Where rows go from the overlay, those that the core will read again.
    cache: Cache,
    reads_again: fn(Table, Option<&Bytes>) -> bool,
    /// Of the last batch that was put here.
    number: u64,
    failed: Option<WorkerError>,
    planted: Planted,
}

struct Writing {
    began_ms: u64,
    write: BoxFuture<'static, Result<(), StoreError>>,
    keys: Vec<At>,
    rows: usize,
    /// Of the last batch in it.
    number: u64,
}

impl Unwritten {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        group: String,
        outbox: Outbox,
        reads_again: fn(Table, Option<&Bytes>) -> bool,
        planted: Planted,
    ) -> Self {
        Self {
            store,
            clock,
            retry_ms: limits.retry_ms,
            group,
            rows_max: limits.unwritten_rows,
            outbox,
            waiting: VecDeque::new(),
            rows: 0,
            writing: None,
            write_ms: limits.write_ms,
            write_small: limits.write_small,
            rest: None,
            hurry: false,
            overlay: HashMap::new(),
            cache: Cache::new(limits.cache_bytes),
            reads_again,
            number: 0,
            failed: None,
            planted,
        }
    }

    /// The row as a committed batch left it, if the store may lack that or it is still remembered.
    pub(crate) fn get(&mut self, at: &At) -> Option<Option<Bytes>> {
        let known = self.overlay.get(at).map(|(_, value)| value.clone());
        known.filter(|_| !self.planted.has(PlantedBug::NoOverlay)).or_else(|| self.cache.get(at))
    }

    /// See [`Outbox::unsent_from`].
    pub(crate) fn unsent_from(&self) -> u64 {
        self.outbox.unsent_from()
    }

    /// Takes a committed batch and the messages to send for it. Its rows have different keys.
    pub(crate) fn put(&mut self, batch: StoreBatch, messages: Vec<NewRecord>) {
        self.number += 1;
        self.outbox.put(self.number, batch.watermark.sequence, messages);
        self.rows += batch.rows.len();
        for row in &batch.rows {
            let at = (row.table, row.key.clone());
            if !self.planted.has(PlantedBug::StaleCache) {
                self.cache.forget(&at);
            }
            self.overlay.insert(at, (self.number, row.value.clone()));
        }
        self.waiting.push_back(batch);
    }

    /// Does `work` to its end, and writes meanwhile. What went wrong with the writes is for [`Self::room`] to tell.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        poll_fn(|context| {
            let _ = self.poll(context);
            work.as_mut().poll(context)
        })
        .await
    }

    /// As [`Self::during`], but a write that fails ends it.
    pub(crate) async fn unless_failed<T>(&mut self, work: impl Future<Output = T>) -> Result<T, WorkerError> {
        let mut work = std::pin::pin!(work);
        poll_fn(|context| {
            let _ = self.poll(context);
            match self.failed.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => work.as_mut().poll(context).map(Ok),
            }
        })
        .await
    }

    /// Waits until another batch may come.
    pub(crate) async fn room(&mut self) -> Result<(), WorkerError> {
        self.until(|this| this.rows < this.rows_max && this.outbox.records() < this.rows_max).await
    }

    /// Waits until all is sent and in the store.
    pub(crate) async fn flush(&mut self) -> Result<(), WorkerError> {
        self.hurry = true;
        let flushed = self.until(|_| false).await;
        self.hurry = false;
        flushed
    }

    /// Sends and writes until it is enough, or all is done.
    async fn until(&mut self, enough: impl Fn(&Self) -> bool) -> Result<(), WorkerError> {
        poll_fn(|context| {
            let all = self.poll(context);
            match self.failed.take() {
                Some(error) => Poll::Ready(Err(error)),
                None if enough(self) || all.is_ready() => Poll::Ready(Ok(())),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Goes on with messages and rows. Ready: nothing is left, or something failed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sent = self.failed.is_some()
            || match self.outbox.poll(context) {
                Poll::Pending => false,
                Poll::Ready(sent) => {
                    self.failed = sent.err().map(WorkerError::from);
                    true
                }
            };
        while self.failed.is_none() {
            let Some(writing) = &mut self.writing else {
                if self.rests(context) {
                    return Poll::Pending;
                }
                match self.next_write() {
                    Some(writing) => self.writing = Some(writing),
                    None if sent => break,
                    None => return Poll::Pending,
                }
                continue;
            };
            let Poll::Ready(done) = writing.write.as_mut().poll(context) else { return Poll::Pending };
            if let (Some(writing), Ok(())) =
                (self.writing.take(), done.map_err(|error| self.failed = Some(error.into())))
            {
                self.rows -= writing.rows;
                self.rest_after(&writing);
                let forgets = self.planted.has(PlantedBug::ForgetsNewer);
                for at in writing.keys {
                    if self.overlay.get(&at).is_some_and(|(number, _)| *number <= writing.number || forgets)
                        && let Some((_, value)) = self.overlay.remove(&at)
                        && self.cache.is_on()
                        && (self.reads_again)(at.0, value.as_ref())
                        && (!self.planted.has(PlantedBug::StaleCache) || self.cache.get(&at).is_none())
                    {
                        self.cache.insert(at, value);
                    }
                }
            }
        }
        Poll::Ready(())
    }

    /// The next write waits yet.
    fn rests(&mut self, context: &mut Context<'_>) -> bool {
        // Polled in any case: it begins with its first poll.
        if self.rest.as_mut().is_some_and(|rest| rest.as_mut().poll(context).is_ready()) {
            self.rest = None;
        }
        self.rest.is_some() && !self.waiting.is_empty() && !self.hurry && self.rows < WRITE_ROWS
    }

    fn rest_after(&mut self, last: &Writing) {
        let took_ms = self.clock.now_ms().saturating_sub(last.began_ms);
        let rest_ms = self.write_ms.saturating_sub(took_ms);
        self.rest = (rest_ms > 0 && last.rows >= self.write_small).then(|| {
            let clock = self.clock.clone();
            async move { clock.sleep_ms(rest_ms).await }.boxed()
        });
    }

    /// The oldest batches whose messages are sent as one: of each row its last value, and the last watermark.
    fn next_write(&mut self) -> Option<Writing> {
        let written = self.number - self.waiting.len() as u64;
        let mut sent = self.outbox.sent().saturating_sub(written);
        let (mut batches, mut rows) = (Vec::new(), 0);
        while sent > 0
            && self
                .waiting
                .front()
                .is_some_and(|next| batches.is_empty() || rows + next.rows.len() <= WRITE_ROWS)
            && let Some(next) = self.waiting.pop_front()
        {
            sent -= 1;
            rows += next.rows.len();
            batches.push(next);
        }
        let number = self.number - self.waiting.len() as u64;
        let mut batch = batches.pop()?;
        let mut newer: HashSet<At> = batch.rows.iter().map(|row| (row.table, row.key.clone())).collect();
        while let Some(older) = batches.pop() {
            let own = older.rows.into_iter().filter(|row| newer.insert((row.table, row.key.clone())));
            batch.rows.extend(own);
        }
        // In the batch's order, which decides what the cache gives up first: the same in every run.
        let keys = batch.rows.iter().map(|row| (row.table, row.key.clone())).collect();
        let (store, clock, group) = (self.store.clone(), self.clock.clone(), self.group.clone());
        let retry_ms = self.retry_ms;
        let write =
            async move { retrying(clock.as_ref(), retry_ms, &group, || store.apply(batch.clone())).await };
        let began_ms = self.clock.now_ms();
        Some(Writing { began_ms, write: write.boxed(), keys, rows, number })
    }
}
