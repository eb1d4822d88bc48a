//! The comparison itself, over any log and any two stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{bail, ensure};
use conflict_resolver::{GROUP as RESOLVERS, LedgerHost, ResolverConfig};
use eschaton_driver::{Worker, WorkerError, replay};
use eschaton_kit::Ports;
use eschaton_ports::{Signer, Store, Table, Topic, TopicPartition, Watermark};
use futures::future::{Either, select};
use merkle_prover::worker::{GROUP as PROVERS, ProverWorker};
use serde::Serialize;
use timestamp_aggregator::{ANCHORERS, STAMPERS};

use super::published::Published;
use super::rows::Compared;
use super::view::LogView;
use super::{Difference, beside, gauges, open_stamping, prover_spec, spec, stamping};
use crate::config::NodeConfig;
use crate::transfer::{Step, Watch};

pub(super) const DECIDING: &str = "deciding anew";
const APPLYING: &str = "applying changes";
const CHECKPOINTS: TopicPartition = TopicPartition { topic: Topic::Checkpoints, partition: 0 };

/// Between two looks at the watermarks, or at how far a phase is.
const LOOK_EVERY_MS: u64 = 500;
/// Some seconds more than a killed process's session.
const LOOKS_MAX: u64 = 40;

/// How rows are made from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Every record of `ledger` is decided anew. Needs the conflict window that was in force all the time.
    Decide,
    /// The changes that were committed are applied, as for a store that was lost.
    Apply,
}

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct StateReport {
    /// Records of topic `ledger` that the rows rest on.
    pub records: u64,
    /// Checkpoints whose roots were computed anew.
    pub checkpoints: u64,
    /// Published decisions that were compared with those made anew; 0 when changes were applied, for then none is made.
    pub decisions: u64,
    /// Rows compared.
    pub rows: u64,
    /// BLAKE3 over all rows of the store, in hexadecimal.
    pub store_hash: String,
    /// The same of the rows that the log gives.
    pub log_hash: String,
    /// Where they first differ: a decision, else by table, then by key.
    pub difference: Option<Difference>,
}

/// What the store says it has of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Marks {
    shards: Vec<Watermark>,
    prover: Watermark,
    /// As [`stamping`] has them.
    stamping: Vec<Watermark>,
}

/// Compares `ports.store` with what `ports.log` gives on the empty store `fresh`. What `signer` signs is thrown away.
pub(super) async fn verify(
    node: &NodeConfig,
    ports: &Ports,
    signer: &Arc<dyn Signer>,
    fresh: Arc<dyn Store>,
    how: How,
    watch: Watch<'_>,
) -> anyhow::Result<StateReport> {
    let marks = settled(node, ports, signer, watch).await?;
    let mut compared = Compared::default();
    let decisions;
    (decisions, compared.first) = make_rows(node, ports, &fresh, how, &marks, watch).await?;
    // In the order of all tables, so that the hash is the one that an export has.
    let is_ledgers = |table: &Table| *table != Table::Trees;
    for table in Table::ALL.into_iter().take_while(is_ledgers) {
        compared.table(table, ports.store.as_ref(), fresh.as_ref(), watch).await?;
    }
    let broken = make_trees(node, ports, signer, &fresh, &marks, watch).await?;
    if compared.first.is_none() {
        compared.first = broken;
    }
    for table in Table::ALL.into_iter().skip_while(is_ledgers) {
        compared.table(table, ports.store.as_ref(), fresh.as_ref(), watch).await?;
    }
    ensure!(
        look(node, ports).await? == marks,
        "rows were written meanwhile, so the comparison means nothing; let payments rest and repeat it"
    );
    let hex = |hash: &blake3::Hasher| hash.finalize().to_hex().to_string();
    Ok(StateReport {
        records: marks.shards.iter().map(|mark| mark.input_next).sum(),
        checkpoints: marks.prover.input_next,
        decisions,
        rows: compared.rows,
        store_hash: hex(&compared.store),
        log_hash: hex(&compared.fresh),
        difference: compared.first,
    })
}

async fn look(node: &NodeConfig, ports: &Ports) -> anyhow::Result<Marks> {
    let mut shards = Vec::new();
    for shard in 0..node.shards {
        let worker = format!("{RESOLVERS}/{shard}");
        shards.push(ports.store.watermark(&worker).await?.unwrap_or_default());
    }
    let prover = ports.store.watermark(PROVERS).await?.unwrap_or_default();
    let mut marks = Vec::new();
    for (worker, _) in stamping(node.shards) {
        marks.push(ports.store.watermark(&worker).await?.unwrap_or_default());
    }
    Ok(Marks { shards, prover, stamping: marks })
}

/// The watermarks of a store that has everything that was committed. What it lacks is written here if nobody is at
/// work; else it is waited for.
async fn settled(
    node: &NodeConfig,
    ports: &Ports,
    signer: &Arc<dyn Signer>,
    watch: Watch<'_>,
) -> anyhow::Result<Marks> {
    let mut looks = 0;
    loop {
        let marks = look(node, ports).await?;
        let mut behind = Vec::new();
        for (shard, mark) in (0..node.shards).zip(&marks.shards) {
            let end = ports.log.end(changes(shard)).await?;
            compare_mark(&format!("shard {shard}"), *mark, end, &mut behind)?;
        }
        let end = ports.log.end(CHECKPOINTS).await?;
        compare_mark("the prover", marks.prover, end, &mut behind)?;
        for ((worker, changes), mark) in stamping(node.shards).iter().zip(&marks.stamping) {
            compare_mark(worker, *mark, ports.log.end(*changes).await?, &mut behind)?;
        }
        if behind.is_empty() {
            return Ok(marks);
        }
        looks += 1;
        ensure!(
            looks <= LOOKS_MAX,
            "the store does not catch up with the log: {}; let payments rest, or stop every process, and repeat it",
            behind.join("; ")
        );
        watch(Step { what: "waiting for rows", done: looks, all: LOOKS_MAX })?;
        if nobody_works(ports).await? {
            catch_up(node, ports, signer, &behind, watch).await?;
        } else {
            ports.clock.sleep_ms(LOOK_EVERY_MS).await;
        }
    }
}

fn compare_mark(who: &str, mark: Watermark, end: u64, behind: &mut Vec<String>) -> anyhow::Result<()> {
    if mark.sequence > end {
        bail!(
            "the store is ahead of the log: rows of {who} go up to offset {}, the log ends at {end}; put the newest log \
             back, or delete the store to have it rebuilt from this log",
            mark.sequence
        );
    }
    if mark.sequence < end {
        behind.push(format!("rows of {who} go up to offset {}, the log to {end}", mark.sequence));
    }
    Ok(())
}

async fn nobody_works(ports: &Ports) -> anyhow::Result<bool> {
    for group in [RESOLVERS, PROVERS, STAMPERS, ANCHORERS] {
        if !ports.log.owners(group).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the next start would do: opening a worker writes the committed rows that the store lacks.
async fn catch_up(
    node: &NodeConfig,
    ports: &Ports,
    signer: &Arc<dyn Signer>,
    behind: &[String],
    watch: Watch<'_>,
) -> anyhow::Result<()> {
    tracing::warn!(?behind, "nobody is at work; writing what the store lacks");
    let resolver = resolver(node);
    for (shard, done) in (0..node.shards).zip(0..) {
        watch(Step { what: "writing what is missing", done, all: u64::from(node.shards) + 1 })?;
        Worker::open(spec(&resolver, shard, ports)).await?;
    }
    open_stamping(node.shards, ports).await?;
    ProverWorker::open(prover_spec(node, ports, signer.clone())).await?;
    Ok(())
}

fn resolver(node: &NodeConfig) -> ResolverConfig {
    ResolverConfig::new(node.shards, node.window_ms)
}

fn changes(shard: u32) -> TopicPartition {
    TopicPartition { topic: Topic::Changes, partition: shard }
}

/// The tables of ledger and timestamps, from the log alone. Those of timestamps always from the changes that were
/// committed. Gives how many published decisions were compared on the way, and the first that is not what the inputs
/// give.
async fn make_rows(
    node: &NodeConfig,
    ports: &Ports,
    fresh: &Arc<dyn Store>,
    how: How,
    marks: &Marks,
    watch: Watch<'_>,
) -> anyhow::Result<(u64, Option<Difference>)> {
    let (mut compared, mut first) = (0, None);
    let workers = stamping(node.shards);
    let marked = || workers.iter().zip(&marks.stamping);
    let inputs = workers.iter().map(|(_, changes)| match changes.topic {
        Topic::AnchorChanges => TopicPartition { topic: Topic::Anchors, ..*changes },
        _ => TopicPartition { topic: Topic::Stamps, ..*changes },
    });
    let positions = inputs.zip(&marks.stamping).map(|(input, mark)| (input, mark.input_next)).collect();
    let ends = marked().map(|((_, changes), mark)| (*changes, mark.sequence)).collect();
    let view = LogView::new(ports.log.clone(), positions, ends, Topic::StampChanges);
    watch(Step { what: "making timestamps", done: 0, all: 0 })?;
    open_stamping(node.shards, &beside(ports, Arc::new(view), fresh.clone())).await?;
    let resolver = resolver(node);
    let input = |shard| TopicPartition { topic: Topic::Ledger, partition: shard };
    let shards = || (0..node.shards).zip(&marks.shards);
    match how {
        How::Decide => {
            let all = shards().map(|(_, mark)| mark.input_next).sum();
            let mut done = 0;
            for (shard, mark) in shards() {
                let host = LedgerHost::new(resolver.ledger(shard), gauges(node.shards));
                let (log, store) = (ports.log.as_ref(), fresh.as_ref());
                let mut stopped = Ok(());
                let mut published = Published::new(ports.log.clone(), shard);
                let said = async |made| published.compare(made).await;
                replay(RESOLVERS, input(shard), mark.input_next, &host, log, store, said, |count| {
                    done += count;
                    let shown = watch(Step { what: DECIDING, done, all });
                    stopped = std::mem::replace(&mut stopped, Ok(())).and(shown);
                })
                .await?;
                stopped?;
                published.finish(mark.input_next).await?;
                compared += published.compared;
                first = first.or(published.first);
            }
        }
        How::Apply => {
            let positions = shards().map(|(shard, mark)| (input(shard), mark.input_next)).collect();
            let ends = shards().map(|(shard, mark)| (changes(shard), mark.sequence)).collect();
            let view = Arc::new(LogView::new(ports.log.clone(), positions, ends, Topic::Changes));
            let ports = beside(ports, view, fresh.clone());
            for (shard, done) in (0..node.shards).zip(0..) {
                watch(Step { what: APPLYING, done, all: u64::from(node.shards) })?;
                Worker::open(spec(&resolver, shard, &ports)).await?;
            }
        }
    }
    Ok((compared, first))
}

/// The trees as the log has them now.
pub(super) async fn rebuild(node: &NodeConfig, ports: &Ports, signer: Arc<dyn Signer>) -> anyhow::Result<()> {
    let ends = BTreeMap::from([(CHECKPOINTS, ports.log.end(CHECKPOINTS).await?)]);
    let view = LogView::new(ports.log.clone(), BTreeMap::new(), ends, Topic::Decisions);
    let ports = beside(ports, Arc::new(view), ports.store.clone());
    ProverWorker::open(prover_spec(node, &ports, signer)).await?;
    Ok(())
}

/// The trees, from `decisions` alone; every checkpoint's roots must be those that were committed. A difference is a
/// checkpoint of which they are not.
async fn make_trees(
    node: &NodeConfig,
    ports: &Ports,
    signer: &Arc<dyn Signer>,
    fresh: &Arc<dyn Store>,
    marks: &Marks,
    watch: Watch<'_>,
) -> anyhow::Result<Option<Difference>> {
    let ends = BTreeMap::from([(CHECKPOINTS, marks.prover.sequence)]);
    let view = LogView::new(ports.log.clone(), BTreeMap::new(), ends, Topic::Decisions);
    let counter = view.counter();
    let mut all = 0;
    for partition in 0..node.shards {
        all += ports.log.end(TopicPartition { topic: Topic::Decisions, partition }).await?;
    }
    let ports = beside(ports, Arc::new(view), fresh.clone());
    let mut opening = Box::pin(ProverWorker::open(prover_spec(node, &ports, signer.clone())));
    let opened = loop {
        let pause = Box::pin(ports.clock.sleep_ms(LOOK_EVERY_MS));
        match select(opening, pause).await {
            Either::Left((opened, _)) => break opened,
            Either::Right(((), still)) => opening = still,
        }
        watch(Step { what: "making trees", done: counter.load(Ordering::Relaxed), all })?;
    };
    match opened {
        Ok(_) => Ok(None),
        Err(WorkerError::Core(error)) => {
            let made = merkle_prover::newest_checkpoint(fresh.as_ref()).await?;
            let next = made.map_or(0, |checkpoint| checkpoint.number + 1);
            Ok(Some(Difference {
                table: "checkpoints".to_owned(),
                key: next.to_string(),
                meaning: format!("checkpoint {next}, a record of topic checkpoints"),
                log_says: format!("by its decisions: {error}"),
                store_has: "what rests on the record".to_owned(),
            }))
        }
        Err(error) => Err(error.into()),
    }
}
