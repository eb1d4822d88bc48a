//! The prover's worker: runtime-agnostic, so that the simulator runs it too.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use eschaton_core::{CoreError, Family, RowChange, Table, Topic, TopicPartition};
use eschaton_driver::{Limits, Seen, WorkerError, retrying, unless_fenced};
use eschaton_merkle::{Entry, Loader, MAP_PREFIX, META_KEY, MerkleError, Prover, Query, Step};
use eschaton_ports::{
    Claim, Clock, Log, LogError, LogRecord, NewRecord, SCAN_ROWS_MAX, Signer, Store, StoreBatch, StoreError,
    Watermark,
};
use eschaton_proof::{SignedCheckpoint, VerifierKey};
use eschaton_types::pb::log::Checkpoint;
use eschaton_types::pb::state::WorkerRow;
use futures::StreamExt;
use futures::future::{Either, FutureExt, select};
use prost::Message;

use crate::config::ProverConfig;
use crate::requests::{Asked, ProofError, Request, Requests};
use crate::{metrics, record};

/// Consumer group of provers.
pub const GROUP: &str = "merkle-prover";
const CHECKPOINTS: TopicPartition = TopicPartition { topic: Topic::Checkpoints, partition: 0 };

/// What a prover is made of.
pub struct ProverSpec {
    /// Settings.
    pub config: ProverConfig,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// For pauses; never for decisions.
    pub clock: Arc<dyn Clock>,
    /// The node's identity.
    pub signer: Arc<dyn Signer>,
    /// Is shown every checkpoint once it is durable and signed.
    pub publish: Box<dyn Fn(SignedCheckpoint) + Send + Sync>,
}

/// The trees at work.
pub struct ProverWorker {
    spec: ProverSpec,
    verifier: VerifierKey,
    claim: Box<dyn Claim>,
    trees: Prover,
    seen: Seen,
    /// Next offset to read of each decisions partition.
    positions: Vec<u64>,
    time_ms: u64,
    latest: Option<SignedCheckpoint>,
    /// Place of the last checkpoint whose rows these trees follow.
    written: u64,
}

/// Decisions of one span, ready for the trees.
struct Span {
    entries: Vec<Entry>,
    positions: Vec<u64>,
    seen: Seen,
    time_ms: u64,
}

impl ProverWorker {
    /// Claims all decisions, loads the trees from their rows, and rebuilds the checkpoints that the
    /// rows lack from the log, comparing every root (P1).
    pub async fn open(spec: ProverSpec) -> Result<Self, WorkerError> {
        let verifier = VerifierKey::from_public(&spec.config.origin, &spec.signer.public_key())
            .map_err(|error| broken("P1", error.to_string()))?;
        let began = spec.clock.now_ms();
        let claimed: Vec<_> = (0..spec.config.shards).map(decisions).collect();
        let mut claim = spec.log.claim(GROUP, &claimed).await?;
        let (mark, trees) = match load(spec.store.as_ref()).await {
            Ok(loaded) => loaded,
            Err(error) => return Err(unless_fenced(claim.as_mut(), error).await),
        };
        let mut worker = Self {
            positions: claimed.iter().map(|_| 0).collect(),
            spec,
            verifier,
            claim,
            trees,
            seen: Seen::default(),
            time_ms: 0,
            latest: None,
            written: mark.sequence,
        };
        if let Err(error) = worker.start(mark).await {
            let error = unless_fenced(worker.claim.as_mut(), error).await;
            return Err(match !error.is_passing() && worker.is_overtaken().await? {
                true => {
                    StoreError::Unavailable { detail: "another prover's last rows arrived".to_owned() }.into()
                }
                false => error,
            });
        }
        if let Some(latest) = &worker.latest {
            (worker.spec.publish)(latest.clone());
        }
        let took_ms = worker.spec.clock.now_ms().saturating_sub(began);
        metrics::opened(took_ms, worker.number().saturating_sub(mark.input_next));
        tracing::info!(size = worker.trees.size(), checkpoint = worker.number(), took_ms, "prover opened");
        Ok(worker)
    }

    async fn start(&mut self, mark: Watermark) -> Result<(), WorkerError> {
        self.resume(mark).await?;
        self.catch_up(mark).await
    }

    /// True when another prover has written rows that these trees do not follow: one that this one
    /// fenced, whose last batch was still on its way. Rows that fit nothing are then no damage.
    async fn is_overtaken(&self) -> Result<bool, WorkerError> {
        let mark = self.spec.store.watermark(GROUP).await?.unwrap_or_default();
        Ok(mark.sequence > self.written)
    }

    /// Number of the next checkpoint.
    fn number(&self) -> u64 {
        self.latest.as_ref().map_or(0, |latest| latest.body().number + 1)
    }

    /// The state at the last checkpoint whose rows the store has.
    async fn resume(&mut self, mark: Watermark) -> Result<(), WorkerError> {
        let Some(number) = mark.input_next.checked_sub(1) else { return Ok(()) };
        let checkpoint = self
            .checkpoint(number)
            .await?
            .ok_or_else(|| broken("P1", format!("the store lacks the row of checkpoint {number}")))?;
        let worker =
            self.spec.store.get_many(Table::Trees, &[Bytes::from_static(record::WORKER_KEY)]).await?;
        if let Some(value) = worker.into_iter().next().flatten() {
            let row = WorkerRow::decode(value).map_err(|error| damaged(Table::Trees, &error))?;
            self.seen = Seen::from_messages(&row.seen)
                .ok_or_else(|| broken("P2", "the worker's row names an unknown topic".to_owned()))?;
        }
        self.positions.clone_from(&checkpoint.positions);
        self.time_ms = checkpoint.time_ms;
        self.latest = Some(self.sign(&checkpoint).await?);
        Ok(())
    }

    /// Applies the checkpoints after the watermark. The log's order decides: the first record of each
    /// number counts, another of the same number (left by a torn commit) is passed over.
    async fn catch_up(&mut self, mark: Watermark) -> Result<(), WorkerError> {
        let end = self.spec.log.end(CHECKPOINTS).await?;
        if mark.sequence > end {
            let detail =
                format!("the trees have checkpoints up to offset {}, the log ends at {end}", mark.sequence);
            return Err(WorkerError::StoreAhead { detail });
        }
        let mut from = mark.sequence;
        while from < end {
            let records = self.spec.log.read(CHECKPOINTS, from, 256, 1 << 20).await?;
            if records.is_empty() {
                break;
            }
            for record in records {
                from = record.offset + 1;
                let checkpoint = Checkpoint::decode(record.payload)
                    .map_err(|error| CoreError::Input { detail: error.to_string() })?;
                if checkpoint.number != self.number() {
                    if checkpoint.number > self.number() {
                        return Err(broken(
                            "P1",
                            format!("checkpoint {} is missing on the log", self.number()),
                        ));
                    }
                    continue;
                }
                let span = self.read_span(Some(&checkpoint.positions)).await?;
                let (rebuilt, rows) = self.build(&span).await?;
                if rebuilt != checkpoint {
                    return Err(broken(
                        "P1",
                        format!(
                            "checkpoint {} rebuilds with other roots than were committed",
                            checkpoint.number
                        ),
                    ));
                }
                self.settle(span, checkpoint, rows, from).await?;
            }
        }
        Ok(())
    }

    /// Works until `stop` is ready or something fails; answers requests between batches.
    pub async fn run(
        &mut self,
        requests: &mut Requests,
        mut stop: impl Future<Output = ()> + Unpin,
    ) -> Result<(), WorkerError> {
        loop {
            let worked = match self.turn().await {
                Ok(worked) => worked,
                Err(error) => return Err(unless_fenced(self.claim.as_mut(), error).await),
            };
            let (clock, log) = (self.spec.clock.clone(), self.spec.log.clone());
            let interval_ms = self.spec.config.interval_ms;
            let from: Vec<_> = (0u32..).map(decisions).zip(self.positions.iter().copied()).collect();
            let mut pause = async move {
                if worked {
                    clock.sleep_ms(interval_ms).await;
                    return Ok(());
                }
                log.wait(&from).await
            }
            .boxed();
            loop {
                let next = select(requests.next(), &mut stop);
                match select(&mut pause, next).await {
                    Either::Left((waited, _)) => {
                        waited?;
                        break;
                    }
                    Either::Right((Either::Left((Some(request), _)), _)) => self.answer(request).await,
                    Either::Right(_) => return Ok(()),
                }
            }
        }
    }

    /// One checkpoint, if there is something new. False: nothing to do.
    pub async fn turn(&mut self) -> Result<bool, WorkerError> {
        let began = self.spec.clock.now_ms();
        let span = self.read_span(None).await?;
        if span.positions == self.positions {
            return Ok(false);
        }
        if span.entries.is_empty() {
            // Nothing for the trees; the next checkpoint's positions will cover these decisions.
            (self.positions, self.seen, self.time_ms) = (span.positions, span.seen, span.time_ms);
            return Ok(true);
        }
        let (checkpoint, rows) = self.build(&span).await?;
        let output = NewRecord {
            to: CHECKPOINTS,
            at_ms: checkpoint.time_ms,
            id: None,
            trace: None,
            payload: Bytes::from(checkpoint.encode_to_vec()),
        };
        let advance: Vec<_> = (0u32..).map(decisions).zip(span.positions.iter().copied()).collect();
        let committed = self.claim.commit(vec![output], &advance).await?;
        let sequence = committed.last().map_or(0, |position| position.offset + 1);
        self.settle(span, checkpoint, rows, sequence).await?;
        metrics::checkpoint(
            self.number().saturating_sub(1),
            self.trees.size(),
            self.spec.clock.now_ms().saturating_sub(began),
        );
        Ok(true)
    }

    /// Decisions from the present positions: up to `to`, or as far as one checkpoint may reach.
    async fn read_span(&self, to: Option<&[u64]>) -> Result<Span, WorkerError> {
        let mut span = Span {
            entries: Vec::new(),
            positions: self.positions.clone(),
            seen: self.seen.clone(),
            time_ms: self.time_ms,
        };
        for (partition, index) in (0u32..).zip(0..self.positions.len()) {
            let end = to.map_or(u64::MAX, |to| to.get(index).copied().unwrap_or(0));
            let mut room = self.spec.config.decisions_max;
            while span.positions[index] < end && (to.is_some() || room > 0) {
                let most = if to.is_some() { 4_096 } else { room.min(4_096) };
                let records =
                    self.spec.log.read(decisions(partition), span.positions[index], most, 4 << 20).await?;
                // Offsets may have gaps: what comes next may lie beyond.
                let mut records = records.into_iter().filter(|record| record.offset < end).peekable();
                if records.peek().is_none() {
                    if to.is_some() {
                        return Err(broken(
                            "P2",
                            format!("decisions/{partition} ends before a checkpoint's position"),
                        ));
                    }
                    break;
                }
                for record in records {
                    room = room.saturating_sub(1);
                    span.positions[index] = record.offset + 1;
                    self.take(record, &mut span)?;
                }
            }
        }
        Ok(span)
    }

    fn take(&self, record: LogRecord, span: &mut Span) -> Result<(), WorkerError> {
        if record.id.as_ref().is_some_and(|id| !span.seen.pass(id)) {
            return Ok(());
        }
        span.time_ms = span.time_ms.max(record.at_ms);
        span.entries.extend(record::entry(record.payload)?);
        Ok(())
    }

    /// Applies a span to the trees in memory. If the commit fails afterwards this worker is void.
    async fn build(&mut self, span: &Span) -> Result<(Checkpoint, Vec<RowChange>), WorkerError> {
        let keys = self.trees.touches(&span.entries);
        let values = self.retrying(|| self.spec.store.get_many(Table::Trees, &keys)).await?;
        let rows: HashMap<Bytes, Bytes> =
            keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect();
        let changes =
            self.trees.apply(&span.entries, &|key| rows.get(key).cloned()).map_err(|error| merkle(&error))?;
        let roots = self.trees.roots();
        let checkpoint = Checkpoint {
            number: self.number(),
            size: self.trees.size(),
            log_root: Bytes::copy_from_slice(&roots.log),
            map_root: Bytes::copy_from_slice(&roots.map),
            time_ms: span.time_ms,
            previous: self
                .latest
                .as_ref()
                .map(|latest| Bytes::copy_from_slice(&latest.body().hash()))
                .unwrap_or_default(),
            positions: span.positions.clone(),
        };
        let rows =
            changes.into_iter().map(|(key, value)| RowChange { table: Table::Trees, key, value }).collect();
        Ok((checkpoint, rows))
    }

    /// After the commit: rows to the store, signature, publication.
    async fn settle(
        &mut self,
        span: Span,
        checkpoint: Checkpoint,
        mut rows: Vec<RowChange>,
        sequence: u64,
    ) -> Result<(), WorkerError> {
        rows.push(RowChange {
            table: Table::Trees,
            key: record::checkpoint_key(checkpoint.number),
            value: Some(Bytes::from(checkpoint.encode_to_vec())),
        });
        let worker = WorkerRow { log_time_ms: span.time_ms, seen: span.seen.to_messages() };
        rows.push(RowChange {
            table: Table::Trees,
            key: Bytes::from_static(record::WORKER_KEY),
            value: Some(Bytes::from(worker.encode_to_vec())),
        });
        let watermark = Watermark { sequence, input_next: checkpoint.number + 1 };
        let batch = StoreBatch { worker: GROUP.to_owned(), family: Family::Trees, watermark, rows };
        self.retrying(|| self.spec.store.apply(batch.clone())).await?;
        self.written = sequence;
        (self.positions, self.seen, self.time_ms) = (span.positions, span.seen, span.time_ms);
        let signed = self.sign(&checkpoint).await?;
        self.latest = Some(signed.clone());
        (self.spec.publish)(signed);
        Ok(())
    }

    /// A store that is away costs no new start, for which all trees are read.
    async fn retrying<T, F>(&self, operation: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        retrying(self.spec.clock.as_ref(), Limits::default().retry_ms, GROUP, operation).await
    }

    async fn sign(&self, checkpoint: &Checkpoint) -> Result<SignedCheckpoint, WorkerError> {
        let body = record::body(&self.spec.config.origin, checkpoint)?;
        let signature = self
            .spec
            .signer
            .sign(body.to_string().as_bytes())
            .await
            .map_err(|error| LogError::Unavailable { detail: error.to_string() })?;
        self.verifier.seal(body, &signature).map_err(|error| broken("P1", error.to_string()))
    }

    async fn checkpoint(&self, number: u64) -> Result<Option<Checkpoint>, WorkerError> {
        checkpoint(self.spec.store.as_ref(), number).await
    }

    async fn answer(&mut self, request: Request) {
        let answer = self.prove(request.asked).await;
        metrics::proof(match &answer {
            Ok(_) => "made",
            Err(ProofError::NotFound(_)) => "not_found",
            Err(_) => "failed",
        });
        // Who asked may be gone.
        let _ = request.answer.send(answer);
    }

    /// Answers one question at the present checkpoint.
    pub async fn prove(&self, asked: Asked) -> Result<Bytes, ProofError> {
        let internal = |error: WorkerError| ProofError::Internal(error.to_string());
        let none = || ProofError::NotFound("there is no checkpoint yet; make a payment first".to_owned());
        let latest = self.latest.as_ref().ok_or_else(none)?;
        let query = match asked {
            Asked::Checkpoint(number) => return Ok(self.older(number).await?.note().clone()),
            Asked::Inclusion(txid) => Query::Inclusion(txid),
            Asked::Consistency(number) => Query::Consistency { old: self.older(number).await? },
            Asked::Output(outpoint) => {
                let found = eschaton_kit::transaction(
                    self.spec.log.as_ref(),
                    self.spec.store.as_ref(),
                    &outpoint.txid,
                )
                .await
                .map_err(internal)?;
                let transaction = found.and_then(|found| found.transaction).map(|tx| tx.body.encode());
                Query::Output { outpoint, transaction }
            }
        };
        let mut task = self.trees.prove(query, latest).map_err(|error| refusal(&error))?;
        loop {
            let keys = task.rows().to_vec();
            let values = self
                .spec
                .store
                .get_many(Table::Trees, &keys)
                .await
                .map_err(|error| ProofError::Unavailable(error.to_string()))?;
            let rows: HashMap<Bytes, Bytes> =
                keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect();
            match task.advance(&|key| rows.get(key).cloned()).map_err(|error| refusal(&error))? {
                Step::Rows(next) => task = *next,
                Step::Done(proof) => return Ok(proof),
            }
        }
    }

    async fn older(&self, number: u64) -> Result<SignedCheckpoint, ProofError> {
        let found = self.checkpoint(number).await.map_err(|error| ProofError::Internal(error.to_string()))?;
        let checkpoint = found.ok_or_else(|| {
            let next = self.number();
            ProofError::NotFound(format!("there is no checkpoint {number}; there are {next}, from 0"))
        })?;
        self.sign(&checkpoint).await.map_err(|error| ProofError::Internal(error.to_string()))
    }
}

/// The newest checkpoint whose rows are in the store.
pub async fn newest_checkpoint(store: &dyn Store) -> Result<Option<Checkpoint>, WorkerError> {
    let mark = store.watermark(GROUP).await?.unwrap_or_default();
    match mark.input_next.checked_sub(1) {
        Some(number) => checkpoint(store, number).await,
        None => Ok(None),
    }
}

async fn checkpoint(store: &dyn Store, number: u64) -> Result<Option<Checkpoint>, WorkerError> {
    let rows = store.get_many(Table::Trees, &[record::checkpoint_key(number)]).await?;
    let value = rows.into_iter().next().flatten();
    value.map(Checkpoint::decode).transpose().map_err(|error| damaged(Table::Trees, &error))
}

/// The trees as of the store's watermark. A fenced prover's last batch may still arrive meanwhile, and
/// rows of two batches fit nothing: then once more. The store promises that between two equal watermarks rows
/// are of one batch (see [`Store::watermark`]).
async fn load(store: &dyn Store) -> Result<(Watermark, Prover), WorkerError> {
    loop {
        let mark = store.watermark(GROUP).await?;
        let trees = load_rows(store).await;
        if store.watermark(GROUP).await? == mark {
            return Ok((mark.unwrap_or_default(), trees?));
        }
    }
}

async fn load_rows(store: &dyn Store) -> Result<Prover, WorkerError> {
    let meta =
        store.get_many(Table::Trees, &[Bytes::from_static(META_KEY)]).await?.into_iter().next().flatten();
    let mut loader = Loader::new(meta.as_deref()).map_err(|error| merkle(&error))?;
    let mut after = None;
    loop {
        let page = store.scan(Table::Trees, MAP_PREFIX, after.as_deref(), SCAN_ROWS_MAX).await?;
        for (key, value) in &page.rows {
            loader.add(key, value).map_err(|error| merkle(&error))?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let keys = loader.keys();
    let values = store.get_many(Table::Trees, &keys).await?;
    let rows: HashMap<Bytes, Bytes> =
        keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect();
    loader.finish(&|key| rows.get(key).cloned()).map_err(|error| merkle(&error))
}

fn decisions(partition: u32) -> TopicPartition {
    TopicPartition { topic: Topic::Decisions, partition }
}

fn broken(id: &'static str, detail: String) -> WorkerError {
    CoreError::Invariant { id, detail }.into()
}

fn damaged(table: Table, error: &prost::DecodeError) -> WorkerError {
    CoreError::Row { table: table.name(), detail: error.to_string() }.into()
}

fn merkle(error: &MerkleError) -> WorkerError {
    let id = match error {
        MerkleError::SpentTwice { .. } => "L2",
        MerkleError::SpentMissing { .. } => "L1",
        _ => "P2",
    };
    broken(id, error.to_string())
}

fn refusal(error: &MerkleError) -> ProofError {
    match error {
        MerkleError::NotIncluded { .. } => ProofError::NotFound(format!(
            "{error}; it is not accepted, or not in a checkpoint yet: try again in a second"
        )),
        MerkleError::StaleRow { .. } => ProofError::Unavailable(error.to_string()),
        _ => ProofError::Internal(error.to_string()),
    }
}
