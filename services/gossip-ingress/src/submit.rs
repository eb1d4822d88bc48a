use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eschaton_gossip::{Admission, Limits};
use eschaton_kit::{Ports, Tracing};
use eschaton_ports::TraceContext;
use tokio::sync::mpsc;

use crate::intake::{self, Intake, Submission};
use crate::waiting::Waiting;
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
    intake: mpsc::Sender<Submission>,
}

impl Submitter {
    pub(crate) fn new(config: IngressConfig, ports: Ports, tracing: Tracing) -> anyhow::Result<Self> {
        let limits =
            Limits::new(config.undecided_max, config.undecided_bytes_max, config.client_share_percent)?;
        let waiting = Arc::new(Waiting::new(config.remembered_max, Admission::new(limits)));
        let intake = Intake::start(config.rules, config.shards, ports.clone(), waiting.clone())?;
        Ok(Self(Arc::new(Inner { config, ports, tracing, waiting, intake })))
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
    #[allow(clippy::disallowed_methods, reason = "a measurement for metrics")]
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
        let taken = room.count();
        items.truncate(taken);
        let mut busy = Vec::new();
        if let Some(shed) = shed {
            metrics::outcome("busy", total - taken);
            let answer = Answer::Busy { retry_after_ms: shed.retry_after_ms, message: shed.to_string() };
            busy.resize(total - taken, answer);
        }
        if taken == 0 {
            return Ok(busy);
        }
        let span = inner.tracing.begin("gossip-ingress.submit", parent);
        let trace = span.as_ref().and_then(|span| span.context());
        let batch = intake::hand_in(&inner.intake, client, items, room, trace).await?;
        if wait || batch.joined() {
            let limit = Duration::from_millis(inner.config.answer_ms);
            // Late answers are found by look-up; the items keep their room until they are decided.
            let _ = tokio::time::timeout(limit, batch.wait()).await;
            metrics::decided_after(began.elapsed());
        }
        let mut answers = batch.take();
        answers.append(&mut busy);
        Ok(answers)
    }
}
