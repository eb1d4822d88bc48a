//! Compares the store of a stopped node, or of a stopped cluster, with one that is decided anew from its log.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use conflict_resolver::{GROUP, LedgerHost, ResolverConfig, ShardGauges};
use eschaton_driver::{Limits, Worker, WorkerSpec, replay};
use eschaton_embedded::{EmbeddedStore, OsRng, StoreOptions};
use eschaton_kit::Ports;
use eschaton_ports::{Row, SCAN_ROWS_MAX, Store, Table, Topic, TopicPartition};
use merkle_prover::ProverConfig;
use merkle_prover::worker::{ProverSpec, ProverWorker};

use crate::config::NodeConfig;
use crate::{identity, wiring};

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Records of topic `ledger` that were decided anew.
    pub records: u64,
    /// Rows compared.
    pub rows: u64,
    /// BLAKE3 over all rows of the store, in hexadecimal.
    pub store_hash: String,
    /// The same of the store that was made anew.
    pub replay_hash: String,
    /// Where they first differ, in words.
    pub first_difference: Option<String>,
}

/// Brings the store of `data_dir` up to its log, decides the whole log anew on an empty store in
/// `scratch`, and compares every row. The node must be stopped.
pub async fn check(
    data_dir: &Path,
    scratch: &Path,
    window_ms: u64,
    progress: impl FnMut(u64, u64),
) -> anyhow::Result<CheckReport> {
    let (shards, origin) = identity::recorded(data_dir)?;
    let config = NodeConfig { shards, origin, window_ms, ..NodeConfig::new(data_dir.to_owned()) };
    check_engines(&config, scratch, progress).await
}

/// As [`check`], on whatever engines the configuration names. Every process that uses them must be stopped:
/// one that still runs loses its shards to the check.
pub async fn check_engines(
    config: &NodeConfig,
    scratch: &Path,
    progress: impl FnMut(u64, u64),
) -> anyhow::Result<CheckReport> {
    ensure!(!scratch.exists(), "{} exists; name a directory that does not", scratch.display());
    let ports = wiring::open(config, OsRng::new()?, "check").await?;
    let (fresh, _) = EmbeddedStore::open(scratch, &StoreOptions::default())?;
    let report = decide_anew(config, &ports, Arc::new(fresh), progress).await?;
    std::fs::remove_dir_all(scratch).context("the scratch directory cannot be removed")?;
    Ok(report)
}

/// Any log, its store, and an empty one.
async fn decide_anew(
    node: &NodeConfig,
    ports: &Ports,
    fresh: Arc<dyn Store>,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<CheckReport> {
    let shards = node.shards;
    let config = ResolverConfig { shards, window_ms: node.window_ms, tick_ms: 20 };
    let mut consumed = Vec::new();
    for shard in 0..shards {
        // Opening applies what the store lacks; nothing is consumed.
        let spec = spec(&config, shard, ports);
        let position = Worker::open(spec).await?.next_input();
        consumed.push(position);
    }
    let all: u64 = consumed.iter().sum();
    let mut done = 0;
    for (shard, end) in (0u32..).zip(&consumed) {
        let host = LedgerHost::new(config.ledger(shard), gauges(shards));
        let input = TopicPartition { topic: Topic::Ledger, partition: shard };
        replay(GROUP, input, *end, &host, ports.log.as_ref(), fresh.as_ref(), |count| {
            done += count;
            progress(done, all);
        })
        .await?;
    }
    for store in [ports.store.clone(), fresh.clone()] {
        // Opening rebuilds every checkpoint that the store lacks: on the fresh one, all of them.
        ProverWorker::open(prover_spec(node, ports, store)).await?;
    }
    let mut report = compare(ports.store.as_ref(), fresh.as_ref()).await?;
    report.records = all;
    Ok(report)
}

/// A prover that shows its checkpoints to nobody.
pub(crate) fn prover_spec(node: &NodeConfig, ports: &Ports, store: Arc<dyn Store>) -> ProverSpec {
    ProverSpec {
        config: ProverConfig::new(node.shards, node.origin.clone()),
        log: ports.log.clone(),
        store,
        clock: ports.clock.clone(),
        signer: ports.signer.clone(),
        publish: Box::new(|_| {}),
    }
}

/// A shard's worker.
pub(crate) fn spec(config: &ResolverConfig, shard: u32, ports: &Ports) -> WorkerSpec<LedgerHost> {
    WorkerSpec {
        group: GROUP.to_owned(),
        input: TopicPartition { topic: Topic::Ledger, partition: shard },
        changes: Topic::Changes,
        host: LedgerHost::new(config.ledger(shard), gauges(config.shards)),
        log: ports.log.clone(),
        store: ports.store.clone(),
        clock: ports.clock.clone(),
        limits: Limits::default(),
        observer: None,
    }
}

fn gauges(shards: u32) -> Arc<[ShardGauges]> {
    (0..shards).map(|_| ShardGauges::default()).collect()
}

async fn compare(store: &dyn Store, fresh: &dyn Store) -> anyhow::Result<CheckReport> {
    let (mut hashes, mut rows, mut first_difference) =
        ([blake3::Hasher::new(), blake3::Hasher::new()], 0, None);
    for table in Table::ALL {
        let (mut left, mut right) = (Rows::new(store, table), Rows::new(fresh, table));
        loop {
            let pair = (left.next().await?, right.next().await?);
            for (hash, row) in hashes.iter_mut().zip([&pair.0, &pair.1]) {
                if let Some(row) = row {
                    add_row(hash, table, row);
                }
            }
            if pair.0 != pair.1 && first_difference.is_none() {
                first_difference = Some(difference(table, &pair));
            }
            match pair {
                (None, None) => break,
                _ => rows += 1,
            }
        }
    }
    let [left, right] = hashes.map(|hash| hash.finalize().to_hex().to_string());
    Ok(CheckReport { records: 0, rows, store_hash: left, replay_hash: right, first_difference })
}

/// Adds a row to a hash over rows.
pub(crate) fn add_row(hash: &mut blake3::Hasher, table: Table, (key, value): &Row) {
    hash.update(&[table as u8]);
    for part in [key, value] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
}

fn difference(table: Table, (left, right): &(Option<Row>, Option<Row>)) -> String {
    let show = |row: &Option<Row>| match row {
        Some((key, value)) => format!("{} = {}", hex::encode(key), hex::encode(value)),
        None => "no row".to_owned(),
    };
    format!("table {}: the store has {}, the replay has {}", table.name(), show(left), show(right))
}

/// All rows of a table, a page at a time.
pub(crate) struct Rows<'a> {
    store: &'a dyn Store,
    table: Table,
    page: std::vec::IntoIter<Row>,
    next: Option<Option<Bytes>>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(store: &'a dyn Store, table: Table) -> Self {
        Self { store, table, page: Vec::new().into_iter(), next: Some(None) }
    }

    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Row>> {
        loop {
            if let Some(row) = self.page.next() {
                return Ok(Some(row));
            }
            let Some(after) = self.next.take() else { return Ok(None) };
            let page = self.store.scan(self.table, b"", after.as_deref(), SCAN_ROWS_MAX).await?;
            self.page = page.rows.into_iter();
            self.next = page.next.map(Some);
        }
    }
}
