use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eschaton_gossip::{Admission, Limits};
use eschaton_kit::{Ports, Tracing};
use eschaton_ledger::shards_of;
use eschaton_ports::{NewRecord, Topic, TopicPartition, TraceContext};
use eschaton_types::pb::log::{LedgerInput, ledger_input::Kind};
use eschaton_types::{Transaction, TxId};
use prost::Message;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::screening::{Item, screen};
use crate::waiting::{Batch, Entered, Place, Waiting};
use crate::{Answer, IngressConfig, Unavailable, metrics};

/// Who submits: fairness is by address.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub IpAddr);

impl Client {
    /// This process itself.
    pub const SELF: Client = Client(IpAddr::V4(Ipv4Addr::LOCALHOST));
}

/// Takes transactions and answers with their decisions.
#[derive(Clone)]
pub struct Submitter(Arc<Inner>);

struct Inner {
    config: IngressConfig,
    ports: Ports,
    tracing: Tracing,
    waiting: Arc<Waiting>,
    /// Signature checks, on all cores.
    pool: ThreadPool,
}

impl Submitter {
    pub(crate) fn new(config: IngressConfig, ports: Ports, tracing: Tracing) -> anyhow::Result<Self> {
        let limits = Limits::new(config.undecided_max, config.undecided_bytes_max, config.client_share_percent)?;
        let waiting = Arc::new(Waiting::new(config.remembered_max, Admission::new(limits)));
        let pool = ThreadPoolBuilder::new().thread_name(|n| format!("screen-{n}")).build()?;
        Ok(Self(Arc::new(Inner { config, ports, tracing, waiting, pool })))
    }

    pub(crate) fn shards(&self) -> u32 {
        self.0.config.shards
    }

    pub(crate) fn config(&self) -> &IngressConfig {
        &self.0.config
    }

    pub(crate) fn waiting(&self) -> Arc<Waiting> {
        self.0.waiting.clone()
    }

    /// Transactions taken and not decided.
    pub fn undecided(&self) -> usize {
        self.0.waiting.undecided()
    }

    /// Submits a batch; one answer for each item, in order. With `wait` the answers are decisions,
    /// or PENDING after a while; without, PENDING once durable.
    pub async fn submit(
        &self,
        client: Client,
        mut items: Vec<Bytes>,
        wait: bool,
        parent: Option<TraceContext>,
    ) -> Result<Vec<Answer>, Unavailable> {
        let inner = &self.0;
        let began = std::time::Instant::now();
        let total = items.len();
        let sizes: Vec<usize> = items.iter().map(Bytes::len).collect();
        let (room, shed) = inner.waiting.admit(client.0, &sizes, inner.ports.clock.now_ms());
        items.truncate(room);
        let mut busy = Vec::new();
        if let Some(shed) = shed {
            metrics::outcome("busy", total - room);
            let answer = Answer::Busy { retry_after_ms: shed.retry_after_ms, message: shed.to_string() };
            busy.resize(total - room, answer);
        }
        if room == 0 {
            return Ok(busy);
        }
        let span = inner.tracing.begin("gossip-ingress.submit", parent);
        let trace = span.as_ref().and_then(|span| span.context());
        let waiting = inner.waiting.clone();
        let screened = screen(&inner.pool, items, inner.config.rules, move |txid| waiting.known(txid)).await;
        metrics::screened_in(began.elapsed());
        let (batch, records, txids) = self.enter(client, screened, &sizes, trace);
        if !records.is_empty()
            && let Err(error) = inner.ports.log.append(records).await
        {
            let error = Unavailable(error.to_string());
            // Who joined from other batches waits for these as well: they learn to come again.
            for place in inner.waiting.fail(&txids, inner.ports.clock.now_ms()) {
                let answer = Answer::Busy { retry_after_ms: 1_000, message: error.to_string() };
                place.batch.answer(place.index, answer);
            }
            return Err(error);
        }
        if wait {
            let limit = Duration::from_millis(inner.config.answer_ms);
            // Late answers are found by look-up; the items keep their room until they are decided.
            let _ = tokio::time::timeout(limit, batch.wait()).await;
            metrics::decided_after(began.elapsed());
        }
        let mut answers = batch.take();
        answers.append(&mut busy);
        Ok(answers)
    }

    /// Gives every item its answer or its place in line; what is new becomes a record.
    fn enter(
        &self,
        client: Client,
        screened: Vec<Item>,
        sizes: &[usize],
        trace: Option<TraceContext>,
    ) -> (Arc<Batch>, Vec<NewRecord>, Vec<TxId>) {
        let inner = &self.0;
        let now_ms = inner.ports.clock.now_ms();
        let (mut answers, mut ids) = (Vec::with_capacity(screened.len()), Vec::with_capacity(screened.len()));
        let mut valid: Vec<(usize, Box<Transaction>, bool)> = Vec::with_capacity(screened.len());
        let (mut invalid, mut freed) = (0, 0);
        for (index, item) in screened.into_iter().enumerate() {
            match item {
                Item::Valid(tx) => {
                    ids.push(tx.txid);
                    answers.push(None);
                    valid.push((index, tx, true));
                }
                Item::Known(tx) => {
                    ids.push(tx.txid);
                    answers.push(None);
                    valid.push((index, tx, false));
                }
                Item::Invalid(txid, error) => {
                    invalid += 1;
                    freed += sizes.get(index).copied().unwrap_or(0);
                    ids.push(txid.unwrap_or_default());
                    answers.push(Some(Answer::Invalid { txid, error }));
                }
            }
        }
        metrics::outcome("invalid", invalid);
        inner.waiting.release(client.0, invalid, freed, now_ms);
        let batch = Batch::new(answers, ids);
        // One that was known a moment ago and is not any more has unchecked signatures.
        valid.retain(|(index, tx, checked)| {
            if *checked || inner.waiting.known(&tx.txid) {
                return true;
            }
            match tx.verify_signatures() {
                Ok(()) => true,
                Err(error) => {
                    inner.waiting.release(client.0, 1, tx.bytes.len(), now_ms);
                    batch.answer(*index, Answer::Invalid { txid: Some(tx.txid), error });
                    false
                }
            }
        });
        let places = valid.iter().map(|(index, tx, _)| {
            let place = Place { client: client.0, bytes: tx.bytes.len(), batch: batch.clone(), index: *index };
            (tx.txid, place)
        });
        let entered = inner.waiting.enter(places);
        let (mut records, mut txids) = (Vec::with_capacity(valid.len()), Vec::with_capacity(valid.len()));
        for ((index, tx, _), entered) in valid.into_iter().zip(entered) {
            match entered {
                Entered::First => {
                    txids.push(tx.txid);
                    records.push(self.record(*tx, now_ms, trace));
                }
                Entered::Joined => metrics::outcome("repeated", 1),
                Entered::Accepted(at_ms) => {
                    metrics::outcome("repeated", 1);
                    inner.waiting.release(client.0, 1, tx.bytes.len(), now_ms);
                    batch.answer(index, Answer::Accepted { txid: tx.txid, at_ms });
                }
            }
        }
        (batch, records, txids)
    }

    fn record(&self, tx: Transaction, now_ms: u64, trace: Option<TraceContext>) -> NewRecord {
        let partition = shards_of(&tx, self.0.config.shards).first().copied().unwrap_or(0);
        NewRecord {
            to: TopicPartition { topic: Topic::Ledger, partition },
            at_ms: now_ms,
            id: None,
            trace,
            payload: Bytes::from(LedgerInput { kind: Some(Kind::Submit(tx.bytes)) }.encode_to_vec()),
        }
    }
}
