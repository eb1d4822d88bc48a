//! What the engines take by themselves: the records and rows of real payments, published and written again through
//! the same adapters, on topics and a keyspace of their own, with nothing else of ours at work.
//!
//! A round publishes everything that the payments put on topics `ledger`, `decisions` and `changes`, one transaction at
//! a time for each shard, and writes all their rows, one batch at a time for each shard. Both go on at once, and the
//! round ends when both are done. Transactions and batches have the sizes that they had in the run, on average: the same
//! statements. How much larger ones would carry is measured beside it. Along with them the prover's rows are written,
//! checkpoint after checkpoint as in the run. Not in it: reads, and records of checkpoints; and what is appended
//! outside of transactions goes along in them. So the ratio is on the strict side.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use eschaton_node::{NodeConfig, open_engines, tree_batches};
use eschaton_ports::{
    Claim, Family, Log, LogRecord, NewRecord, RowChange, Store, StoreBatch, Table, Topic, TopicPartition,
    Watermark,
};
use eschaton_types::pb::log::Changes;
use indicatif::ProgressBar;
use prost::Message;

use crate::open::count;
use crate::scenario::{real, whole};

/// Records of a large transaction, and payments whose rows make a large batch.
const LARGE: usize = 1_024;
/// A transaction stays below the log's bound with these bytes.
const BATCH_BYTES: usize = 16 << 20;
const TOPICS: [Topic; 3] = [Topic::Ledger, Topic::Decisions, Topic::Changes];
const CHECKPOINTS: TopicPartition = TopicPartition { topic: Topic::Checkpoints, partition: 0 };

/// Payments per second.
pub(crate) struct Bound {
    pub(crate) both: f64,
    /// The log alone, the store alone.
    pub(crate) kafka: f64,
    pub(crate) cql: f64,
    pub(crate) records_per_payment: f64,
    pub(crate) record_bytes_per_payment: f64,
    pub(crate) rows_per_payment: f64,
    pub(crate) tree_rows_per_payment: f64,
}

/// Of what is asked of the engines at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) records_of_transaction: usize,
    pub(crate) rows_of_write: usize,
}

/// The ends of all partitions.
pub(crate) struct Ends {
    shards: Vec<(TopicPartition, u64)>,
    checkpoints: u64,
}

pub(crate) async fn ends(log: &dyn Log, shards: u32) -> anyhow::Result<Ends> {
    let mut ends = Vec::new();
    for topic in TOPICS {
        for partition in 0..shards {
            let at = TopicPartition { topic, partition };
            ends.push((at, log.end(at).await?));
        }
    }
    Ok(Ends { shards: ends, checkpoints: log.end(CHECKPOINTS).await? })
}

/// One shard's share.
#[derive(Default, Clone)]
struct Share {
    records: Vec<NewRecord>,
    rows: Vec<RowChange>,
    commits: usize,
}

/// What payments left between two moments.
pub(crate) struct Material {
    shares: Vec<Share>,
    trees: Arc<Vec<StoreBatch>>,
    payments: usize,
}

impl Material {
    /// Reads it back, with the prover's batches made anew in directory `scratch`. Every transaction in between must have
    /// been accepted at once: then there are as many payments as decisions.
    pub(crate) async fn read(
        config: &NodeConfig,
        log: Arc<dyn Log>,
        scratch: &Path,
        from: &Ends,
        to: &Ends,
    ) -> anyhow::Result<Self> {
        let mut payments = 0;
        let mut shares = Vec::new();
        for ((at, from), (_, to)) in from.shards.iter().zip(&to.shards) {
            let shard = usize::try_from(at.partition)?;
            if shares.len() <= shard {
                shares.resize_with(shard + 1, Share::default);
            }
            let share = &mut shares[shard];
            let mut next = *from;
            while next < *to {
                let records = log.read(*at, next, 4_096, 4 << 20).await?;
                let Some(last) = records.last() else { break };
                next = last.offset + 1;
                for record in records.into_iter().filter(|record| record.offset < *to) {
                    payments += usize::from(at.topic == Topic::Decisions);
                    share.take(*at, record)?;
                }
            }
        }
        for share in &mut shares {
            // The topics' records mixed as they were, so that transactions are alike.
            share.records.sort_by_key(|record| record.at_ms);
        }
        ensure!(payments > 0, "nothing was accepted, so there is nothing to compare with");
        let trees = tree_batches(config, log, scratch, (from.checkpoints, to.checkpoints)).await?;
        Ok(Self { shares, trees: Arc::new(trees), payments })
    }

    fn per_payment(&self, of: impl Fn(&Share) -> usize) -> f64 {
        count(self.shares.iter().map(of).sum()) / count(self.payments)
    }

    /// As they were in the run, whose writes had so many rows.
    pub(crate) fn sizes(&self, rows_of_write: f64) -> Sizes {
        let sum = |of: fn(&Share) -> usize| self.shares.iter().map(of).sum::<usize>();
        // Each transaction has a record of topic `changes`, a very large one several.
        let transactions = sum(|share| share.commits).max(1);
        Sizes {
            records_of_transaction: (sum(|share| share.records.len()) / transactions).max(1),
            rows_of_write: usize::try_from(whole(rows_of_write)).unwrap_or(1).max(1),
        }
    }

    /// Sizes at which nothing is gained by larger ones.
    pub(crate) fn large(&self) -> Sizes {
        let rows: usize = self.shares.iter().map(|share| share.rows.len()).sum();
        Sizes { records_of_transaction: LARGE, rows_of_write: (rows * LARGE / self.payments).max(1) }
    }
}

impl Share {
    fn take(&mut self, to: TopicPartition, record: LogRecord) -> anyhow::Result<()> {
        if to.topic == Topic::Changes {
            self.commits += 1;
            for row in Changes::decode(record.payload.clone())?.rows {
                let table = Table::from_number(row.table).context("a row of an unknown table")?;
                self.rows.push(RowChange { table, key: row.key, value: row.value });
            }
        }
        let LogRecord { at_ms, id, trace, payload, .. } = record;
        self.records.push(NewRecord { to, at_ms, id, trace, payload });
        Ok(())
    }
}

/// Repeats rounds for about `seconds`, then one of each engine alone. `config` names topics and a keyspace that are
/// used for nothing else; `name` is new to them.
pub(crate) async fn measure(
    config: &NodeConfig,
    name: &str,
    material: &Material,
    sizes: Sizes,
    seconds: f64,
    shown: &ProgressBar,
) -> anyhow::Result<Bound> {
    let (log, store) = open_engines(config, name).await?;
    let mut publishers = Vec::new();
    let mut writers = Vec::new();
    for (shard, share) in (0u32..).zip(&material.shares) {
        let at = TopicPartition { topic: Topic::Ledger, partition: shard };
        let claim = log.claim(name, &[at]).await?;
        publishers.push(Publisher {
            at,
            claim,
            records: Arc::new(share.records.clone()),
            size: sizes.records_of_transaction,
            next: 0,
        });
        let rows = Arc::new(share.rows.clone());
        let worker = format!("{name}/{shard}");
        writers.push(Writer { worker, store: store.clone(), rows, size: sizes.rows_of_write, sequence: 0 });
    }
    let batches = material.trees.clone();
    let mut provers = vec![Trees { worker: format!("{name}/trees"), store, batches, sequence: 0 }];
    let payments = count(material.payments);
    // The first round warms the engines up.
    let (mut rounds, mut began) = (0, Instant::now());
    loop {
        (publishers, writers, provers) = tokio::try_join!(all(publishers), all(writers), all(provers))?;
        if rounds == 0 {
            began = Instant::now();
        }
        rounds += 1;
        shown.inc(u64::try_from(material.payments)?);
        if rounds > 1 && began.elapsed().as_secs_f64() >= seconds {
            break;
        }
    }
    let both = payments * real(rounds - 1) / began.elapsed().as_secs_f64();
    let began = Instant::now();
    all(publishers).await?;
    let kafka = payments / began.elapsed().as_secs_f64();
    let began = Instant::now();
    tokio::try_join!(all(writers), all(provers))?;
    let cql = payments / began.elapsed().as_secs_f64();
    Ok(Bound {
        both,
        kafka,
        cql,
        records_per_payment: material.per_payment(|share| share.records.len()),
        record_bytes_per_payment: material
            .per_payment(|share| share.records.iter().map(|record| record.payload.len()).sum()),
        rows_per_payment: material.per_payment(|share| share.rows.len()),
        tree_rows_per_payment: count(material.trees.iter().map(|batch| batch.rows.len()).sum()) / payments,
    })
}

/// One shard's part of a round, by itself.
trait Part: Sized + Send + 'static {
    fn round(self) -> impl Future<Output = anyhow::Result<Self>> + Send;
}

/// All shards at once.
async fn all<P: Part>(parts: Vec<P>) -> anyhow::Result<Vec<P>> {
    let tasks: Vec<_> = parts.into_iter().map(|part| tokio::spawn(part.round())).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await??);
    }
    Ok(done)
}

struct Publisher {
    at: TopicPartition,
    claim: Box<dyn Claim>,
    records: Arc<Vec<NewRecord>>,
    size: usize,
    next: u64,
}

impl Part for Publisher {
    async fn round(mut self) -> anyhow::Result<Self> {
        let mut rest = &self.records[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take(self.size).take_while(|record| {
                bytes += record.payload.len();
                bytes <= BATCH_BYTES
            });
            let (batch, after) = rest.split_at(fitting.count().max(1));
            self.next += u64::try_from(batch.len())?;
            self.claim.commit(batch.to_vec(), &[(self.at, self.next)]).await?;
            rest = after;
        }
        Ok(self)
    }
}

struct Writer {
    worker: String,
    store: Arc<dyn Store>,
    rows: Arc<Vec<RowChange>>,
    size: usize,
    sequence: u64,
}

impl Part for Writer {
    async fn round(mut self) -> anyhow::Result<Self> {
        for rows in self.rows.chunks(self.size) {
            self.sequence += 1;
            let watermark = Watermark { sequence: self.sequence, input_next: self.sequence };
            let (worker, rows) = (self.worker.clone(), rows.to_vec());
            self.store.apply(StoreBatch { worker, family: Family::Ledger, watermark, rows }).await?;
        }
        Ok(self)
    }
}

/// The prover's writes, one after the other.
struct Trees {
    worker: String,
    store: Arc<dyn Store>,
    batches: Arc<Vec<StoreBatch>>,
    sequence: u64,
}

impl Part for Trees {
    async fn round(mut self) -> anyhow::Result<Self> {
        for batch in self.batches.iter() {
            self.sequence += 1;
            let watermark = Watermark { sequence: self.sequence, input_next: self.sequence };
            let batch = StoreBatch { worker: self.worker.clone(), watermark, ..batch.clone() };
            self.store.apply(batch).await?;
        }
        Ok(self)
    }
}
