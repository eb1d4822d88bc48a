//! Streams to the node, and what comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use eschaton_api::MESSAGE_BYTES_MAX;
use eschaton_api::ingress::ingress_client::IngressClient;
use eschaton_api::ingress::{Outcome, SubmitBatch, SubmitResults};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// A connection with generous windows.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Channel> {
    Endpoint::from_shared(url.to_owned())?
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .connect()
        .await
        .with_context(|| format!("no node answers at {url}"))
}

/// One submit stream.
pub(crate) struct Stream {
    pub(crate) send: mpsc::Sender<SubmitBatch>,
    pub(crate) receive: Streaming<SubmitResults>,
}

impl Stream {
    pub(crate) async fn open(channel: Channel) -> anyhow::Result<Self> {
        let (send, outgoing) = mpsc::channel(64);
        let mut client = IngressClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        // The server answers the headers only once it has the stream; nothing needs to be sent first.
        let receive = client.submit_stream(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { send, receive })
    }
}

/// What a phase counted.
#[derive(Default, Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) refused_busy: u64,
    pub(crate) pending: u64,
    pub(crate) other: u64,
    pub(crate) first_other: Option<String>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.accepted += other.accepted;
        self.refused_busy += other.refused_busy;
        self.pending += other.pending;
        self.other += other.other;
        if self.first_other.is_none() {
            self.first_other.clone_from(&other.first_other);
        }
    }

    /// Counts one answer; true when the payment is accepted.
    pub(crate) fn count(&mut self, result: &eschaton_api::ingress::SubmitResult) -> bool {
        match result.outcome() {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Busy => self.refused_busy += 1,
            Outcome::Pending => self.pending += 1,
            outcome => {
                self.other += 1;
                self.first_other
                    .get_or_insert_with(|| format!("{} {}", outcome.as_str_name(), result.message));
            }
        }
        result.outcome() == Outcome::Accepted
    }
}

/// Batches on their way: id to (index of the first payment, when each was due).
pub(crate) type InFlight = Arc<Mutex<HashMap<u64, (usize, Vec<Instant>)>>>;

/// Submits all, each batch once, at full speed; waits for the decisions. For set-up.
pub(crate) async fn submit_all(
    url: &str,
    items: Vec<Bytes>,
    batch: usize,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<u64> {
    let Stream { send, mut receive } = Stream::open(connect(url).await?).await?;
    let batches: Vec<Vec<Bytes>> = items.chunks(batch).map(<[Bytes]>::to_vec).collect();
    let mut accepted = 0;
    let mut waiting: HashMap<u64, Vec<Bytes>> = HashMap::new();
    let mut queue: std::collections::VecDeque<(u64, Vec<Bytes>)> = (0..).zip(batches).collect();
    loop {
        while waiting.len() < 8 {
            let Some((id, transactions)) = queue.pop_front() else { break };
            waiting.insert(id, transactions.clone());
            send.send(SubmitBatch { id, transactions, no_wait: false }).await?;
        }
        if waiting.is_empty() {
            return Ok(accepted);
        }
        let answer = receive.message().await?.context("the node closed the stream")?;
        let transactions = waiting.remove(&answer.id).context("an answer to nothing")?;
        let mut again = Vec::new();
        for (result, bytes) in answer.results.iter().zip(transactions) {
            match result.outcome() {
                Outcome::Accepted => {
                    accepted += 1;
                    bar.inc(1);
                }
                Outcome::Busy | Outcome::Pending => again.push(bytes),
                outcome => anyhow::bail!("set-up was refused: {} {}", outcome.as_str_name(), result.message),
            }
        }
        if !again.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            queue.push_back((answer.id, again));
        }
    }
}
