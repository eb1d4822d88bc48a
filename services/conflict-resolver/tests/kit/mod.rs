//! A shard's worker over embedded engines, and records for it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use conflict_resolver::{GROUP, LedgerHost, ResolverConfig, ShardGauges};
use eschaton_driver::{Limits, WorkerSpec};
use eschaton_embedded::{EmbeddedStore, StoreOptions};
use eschaton_ports::{Clock, Family, Log, NewRecord, Store, Topic, TopicPartition};
use eschaton_types::pb::log::{LedgerInput, ledger_input::Kind};
use eschaton_types::{Amount, Body, Key, Network, Output, Product};
use prost::Message;

/// Records of a batch.
pub(crate) const BATCH: usize = 100;
const LEDGER: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 0 };

pub(crate) fn store(dir: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(dir, &StoreOptions::default()).unwrap().0)
}

pub(crate) fn spec(
    log: &Arc<dyn Log>,
    store: &Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    limits: Limits,
) -> WorkerSpec<LedgerHost> {
    WorkerSpec {
        group: GROUP.to_owned(),
        input: LEDGER,
        family: Family::Ledger,
        changes: Topic::Changes,
        host: LedgerHost::new(ResolverConfig::new(1, 0).ledger(0), Arc::new([ShardGauges::default()])),
        log: log.clone(),
        store: store.clone(),
        clock,
        limits: Limits { batch_records: BATCH, ..limits },
        observer: None,
    }
}

pub(crate) fn issuance(issuer: &Key, nonce: u32) -> NewRecord {
    let output = Output::pay(issuer.address(), Product::Native, Amount::new(1).unwrap());
    let metadata = Bytes::copy_from_slice(&nonce.to_be_bytes());
    let body = Body { metadata, ..Body::plain(Network::Dev, Vec::new(), vec![output]) };
    let submit = Kind::Submit(body.issued(issuer).unwrap().bytes);
    let payload = Bytes::from(LedgerInput { kind: Some(submit) }.encode_to_vec());
    NewRecord { to: LEDGER, at_ms: 1_000 + u64::from(nonce), id: None, trace: None, payload }
}
