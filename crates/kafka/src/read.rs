//! Reading: what is followed comes from memory, the rest from the brokers.

mod follower;
mod page;
mod positioned;
mod tail;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eschaton_ports::{LogError, LogRecord, Owner, TopicPartition};
use futures::future::select_all;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;

use crate::blocking::Blocking;
use crate::context::{Consumer, consumer};
use crate::error::{invalid, unavailable, words_on};
use crate::layout::{Layout, number};
use crate::{KafkaConfig, metrics, owners};

use follower::Follower;
use positioned::Pool;
use tail::Partition;

/// Who is at most so many offsets behind is served by the follower, who reads them all from there.
const FOLLOW_FROM: u64 = 10_000;
/// A look at a partition whose transaction's end is awaited, at the latest.
const LOOK: Duration = Duration::from_millis(2);
/// Offsets of the first look for a partition's last record, backwards; each further look is eight times as long.
const LOOK_BACK: u64 = 16;

/// Reads of all partitions.
pub(crate) struct Reader {
    layout: Arc<Layout>,
    partitions: Arc<[Partition]>,
    /// Asks for offsets.
    asker: Arc<Consumer>,
    sequential: Arc<Pool>,
    seeking: Arc<Pool>,
    follower: Follower,
    blocking: Blocking,
    timeout: Duration,
}

impl Reader {
    pub(crate) fn start(config: &KafkaConfig, layout: Arc<Layout>) -> Result<Self, KafkaError> {
        let thread = |error: std::io::Error| KafkaError::ClientCreation(error.to_string());
        let partitions: Arc<[Partition]> =
            layout.all().map(|at| Partition::new(at, config.tail_cache_bytes)).collect();
        let asker = Arc::new(consumer("offsets", &config.asker("readers"))?);
        let sequential = Arc::new(Pool::sequential(config, Arc::clone(&layout)));
        let seeking = Arc::new(Pool::seeking(config, Arc::clone(&layout)));
        let follower = Follower::start(
            consumer("follower", &config.follower())?,
            Arc::clone(&layout),
            Arc::clone(&partitions),
            vec![Arc::clone(&asker)],
            [Arc::clone(&sequential), Arc::clone(&seeking)],
        )
        .map_err(thread)?;
        let blocking = Blocking::start(config.read_threads).map_err(thread)?;
        let timeout = config.request_timeout();
        Ok(Self { layout, partitions, asker, sequential, seeking, follower, blocking, timeout })
    }

    /// Has this consumer's events served: nobody else polls it.
    pub(crate) fn serve(&self, consumer: Arc<Consumer>) {
        self.follower.serve(consumer);
    }

    fn partition(&self, at: TopicPartition) -> Result<&Partition, LogError> {
        let index = self.layout.index(at)?;
        self.partitions.get(index).ok_or_else(|| invalid(format!("there is no partition {at}")))
    }

    /// Everything below `end` was acknowledged to this process; a read must not miss it.
    pub(crate) fn promise(&self, at: TopicPartition, end: u64) {
        if let Ok(partition) = self.partition(at) {
            partition.promise(end);
        }
    }

    /// The end of a partition as far as it was followed.
    pub(crate) fn followed_end(&self, at: TopicPartition) -> Option<u64> {
        self.partition(at).ok()?.followed_end()
    }

    pub(crate) async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let partition = self.partition(at)?;
        if max_records == 0 {
            return Ok(Vec::new());
        }
        if let Some(records) = partition.read(from, max_records, max_bytes) {
            metrics::read("tail");
            return Ok(records);
        }
        let stable = self.stable_end(partition).await?;
        // Who asks for one record looks something up, and who asks for many goes on from there.
        if max_records > 1 {
            self.follow(partition, from, stable)?;
        }
        if from >= stable {
            metrics::read("end");
            return Ok(Vec::new());
        }
        if partition.follows(from) {
            self.caught_up(partition, from, stable).await?;
            if let Some(records) = partition.read(from, max_records, max_bytes) {
                metrics::read("tail");
                return Ok(records);
            }
            if partition.follows(from) {
                metrics::read("end");
                return Ok(Vec::new());
            }
            // It was dropped from memory meanwhile.
        }
        metrics::read("broker");
        self.read_positioned(at, from, stable, max_records, max_bytes).await
    }

    pub(crate) async fn wait(&self, from: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        let waited: Vec<(&Partition, u64)> = from
            .iter()
            .map(|(at, from)| Ok((self.partition(*at)?, *from)))
            .collect::<Result<_, LogError>>()?;
        if waited.is_empty() {
            return Err(invalid("waiting for no partition would never end".to_owned()));
        }
        let _waiting: Vec<_> = waited.iter().map(|(partition, _)| partition.waiting()).collect();
        loop {
            // Listen first, then look: what is published in between is heard.
            let mut heard: Vec<_> = waited.iter().map(|(partition, _)| Box::pin(partition.grows())).collect();
            for growing in &mut heard {
                growing.as_mut().enable();
            }
            for (partition, from) in &waited {
                partition.check()?;
                if !partition.follows(*from) && partition.followed_end().is_none_or(|end| end <= *from) {
                    let stable = self.stable_end(partition).await?;
                    self.follow(partition, *from, stable)?;
                    if !partition.follows(*from)
                        && *from < stable
                        && !self.read_positioned(partition.at, *from, stable, 1, 1).await?.is_empty()
                    {
                        return Ok(());
                    }
                }
                if partition.followed_end().is_some_and(|end| end > *from) {
                    return Ok(());
                }
            }
            select_all(heard).await;
        }
    }

    /// The members of a group in the cluster.
    pub(crate) async fn owners(&self, group: String) -> Result<Vec<Owner>, LogError> {
        let (asker, layout, timeout) = (Arc::clone(&self.asker), Arc::clone(&self.layout), self.timeout);
        self.blocking.run(move || owners::owners(&asker, &layout, &group, timeout)).await?
    }

    /// The offset after the last committed record.
    pub(crate) async fn end(&self, at: TopicPartition) -> Result<u64, LogError> {
        let partition = self.partition(at)?;
        let stable = self.stable_end(partition).await?;
        if partition.follows(stable) {
            self.caught_up(partition, stable, stable).await?;
            if let Some(end) = partition.followed_end() {
                return Ok(end);
            }
        }
        // Behind the last record there are at most the ends of transactions, and what was aborted.
        let (known_stable, known_end) = partition.known_end();
        let (mut until, mut back) = (stable, LOOK_BACK);
        while until > known_stable {
            let from = until.saturating_sub(back).max(known_stable);
            let mut next = from;
            let mut last = None;
            while next < until {
                let records = self.read_positioned(at, next, until, 4_096, 4 << 20).await?;
                let Some(record) = records.last() else { break };
                next = record.offset + 1;
                last = Some(next);
            }
            if let Some(end) = last {
                partition.learn_end(stable, end);
                return Ok(end);
            }
            until = from;
            back = back.saturating_mul(8);
        }
        partition.learn_end(stable, known_end);
        Ok(known_end)
    }

    /// The last stable offset: everything below it is committed or aborted. Not below what was promised.
    async fn stable_end(&self, partition: &Partition) -> Result<u64, LogError> {
        let promised = partition.promised();
        let deadline = deadline(self.timeout);
        loop {
            let (asker, layout, at, timeout) =
                (Arc::clone(&self.asker), Arc::clone(&self.layout), partition.at, self.timeout);
            let asked = self.blocking.run(move || {
                let ends = asker.fetch_watermarks(layout.name(at.topic), number(at), timeout);
                ends.map_err(|error| {
                    unavailable(
                        &format!("asking for the end of {at}"),
                        words_on(&error, "Describe", layout.name(at.topic)),
                    )
                })
            });
            let (_, stable) = asked.await??;
            let stable = u64::try_from(stable).unwrap_or(0);
            if stable >= promised {
                return Ok(stable);
            }
            // A commit is acknowledged a moment before its partitions show it.
            if is_over(deadline) {
                let detail = format!("{} ends at {stable}, and {promised} was acknowledged", partition.at);
                return Err(unavailable("waiting for the end of a transaction", detail));
            }
            let _ = tokio::time::timeout(LOOK, partition.grows()).await;
        }
    }

    /// Has the partition followed from now on, if it is not yet.
    fn follow(&self, partition: &Partition, from: u64, stable: u64) -> Result<(), LogError> {
        partition.check()?;
        let near = from <= stable && stable - from <= FOLLOW_FROM;
        if partition.begin(if near { from } else { stable }) {
            self.follower.follow(self.layout.index(partition.at)?);
        }
        Ok(())
    }

    /// Returns when there is a record at or after `from`, or the follower has passed `stable`.
    async fn caught_up(&self, partition: &Partition, from: u64, stable: u64) -> Result<(), LogError> {
        let deadline = deadline(self.timeout);
        loop {
            let mut grown = Box::pin(partition.grows());
            grown.as_mut().enable();
            partition.check()?;
            if partition.settled(from, stable) {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline.into(), grown).await.is_err() {
                return Err(unavailable("reading", format!("no broker gave {} in time", partition.at)));
            }
        }
    }

    async fn read_positioned(
        &self,
        at: TopicPartition,
        from: u64,
        until: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        // Who asks for one record, or for a few below the end, will not go on from there.
        let seeks = max_records == 1 || until - from.min(until) <= LOOK_BACK;
        let pool = Arc::clone(if seeks { &self.seeking } else { &self.sequential });
        let deadline = deadline(self.timeout);
        self.blocking.run(move || pool.read(at, from, until, max_records, max_bytes, deadline)).await?
    }
}

#[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout
}

#[allow(clippy::disallowed_methods, reason = "engine calls have deadlines")]
fn is_over(deadline: Instant) -> bool {
    Instant::now() >= deadline
}
