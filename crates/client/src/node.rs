//! A node over gRPC: bounded in time and size, and patient where the node asks for it.

mod answer;
mod chain;

use std::time::{Duration, Instant};

use bytes::Bytes;
use eschaton_api::MESSAGE_BYTES_MAX;
use eschaton_api::dev::{FundRequest, faucet_client::FaucetClient};
use eschaton_api::ingress::{SubmitRequest, ingress_client::IngressClient};
use eschaton_api::proofs::{self, proofs_client::ProofsClient};
use eschaton_api::query::{self, query_client::QueryClient};
use eschaton_types::{Address, Amount, OutPoint, TxId};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::retry::Backoff;

pub use answer::{Decided, OutputRow, Submitted, TransactionRow};
pub use chain::{BeaconBlock, InBlock};

/// Where a node listens unless said otherwise.
pub const ENDPOINT: &str = "http://127.0.0.1:7373";
/// Rows of one page.
const PAGE: u32 = 1_000;
/// Pages that may follow one another without a row.
const EMPTY_PAGES_MAX: u32 = 10_000;
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Why a node gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The endpoint's text.
    #[error("`{endpoint}` is no endpoint: {detail}; write it as http://host:port")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong.
        detail: String,
    },
    /// No connection, or the node is not ready; tried until the budget was spent.
    #[error(
        "node {endpoint} cannot be reached ({detail}) after {attempts} attempts; check that it runs, and the address in --node or ESCHATON_NODE"
    )]
    Unreachable {
        /// Which.
        endpoint: String,
        /// What the last attempt said.
        detail: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// At its limit for longer than the budget.
    #[error("the node is at its limit ({detail}); try again in {retry_after_ms} ms")]
    Busy {
        /// What it said.
        detail: String,
        /// When to come again.
        retry_after_ms: u64,
    },
    /// No answer in time.
    #[error("the node gave no answer to {what} within {timeout_ms} ms; try again, or raise --timeout")]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        timeout_ms: u128,
    },
    /// It has no such thing.
    #[error("{what} was not found: {detail}")]
    NotFound {
        /// What was asked.
        what: &'static str,
        /// What it said.
        detail: String,
    },
    /// It does not serve this here.
    #[error("this node does not serve {what}: {detail}; ask one that does")]
    NotServed {
        /// What was asked.
        what: &'static str,
        /// What it said.
        detail: String,
    },
    /// Another refusal.
    #[error("the node refused {what}: {detail} ({code:?})")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What it said.
        detail: String,
        /// gRPC's code.
        code: Code,
    },
    /// An answer that breaks the contract in `proto/`.
    #[error("the node's answer is not understood: {detail}; check that its version fits this program's")]
    Answer {
        /// What is wrong.
        detail: String,
    },
}

/// How to reach a node and how patient to be.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// `http://host:port`.
    pub endpoint: String,
    /// For one connection attempt.
    pub connect_timeout: Duration,
    /// For one attempt of one call.
    pub request_timeout: Duration,
    /// For all attempts of one call.
    pub retry_budget: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            retry_budget: Duration::from_secs(30),
        }
    }
}

/// A node's client. Cheap to clone; connects on first use and again when the connection broke.
#[derive(Clone, Debug)]
pub struct Node {
    channel: Channel,
    options: NodeOptions,
}

macro_rules! client {
    ($client:ident, $channel:expr) => {
        $client::new($channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
}

impl Node {
    /// Does not connect yet. Must be called inside a tokio runtime.
    pub fn new(options: NodeOptions) -> Result<Self, NodeError> {
        let wrong = |detail: String| NodeError::Endpoint { endpoint: options.endpoint.clone(), detail };
        if !options.endpoint.starts_with("http://") {
            return Err(wrong(
                "it does not begin with http:// (TLS ends at a proxy in front of the node)".to_owned(),
            ));
        }
        let channel = Endpoint::from_shared(options.endpoint.clone())
            .map_err(|error| wrong(error.to_string()))?
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self { channel, options })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &str {
        &self.options.endpoint
    }

    /// Hands in a transaction. Handing in the same bytes again is harmless, so this tries again until
    /// there is an answer or the budget is spent. With `no_wait` the answer is PENDING once the
    /// transaction is durable.
    pub async fn submit(&self, txid: &TxId, bytes: &Bytes, no_wait: bool) -> Result<Submitted, NodeError> {
        let what = "a transaction";
        let answer = self
            .call(what, async || {
                let request = SubmitRequest { transaction: bytes.clone(), no_wait };
                let answer = client!(IngressClient, self.channel).submit(self.request(request)).await?;
                answer::busy(answer)
            })
            .await;
        match answer {
            Ok(result) => answer::submitted(result, txid),
            Err(NodeError::Refused { code: Code::InvalidArgument, detail, .. }) => {
                Ok(Submitted::Invalid { message: detail })
            }
            Err(error) => Err(error),
        }
    }

    /// A transaction, or none when this node never saw it.
    pub async fn transaction(&self, txid: &TxId) -> Result<Option<TransactionRow>, NodeError> {
        let answer = self
            .call("the transaction", async || {
                let request = query::GetTransactionRequest { txid: txid.to_bytes() };
                client!(QueryClient, self.channel).get_transaction(self.request(request)).await
            })
            .await;
        match answer {
            Ok(info) => Ok(Some(answer::transaction(info, txid)?)),
            Err(NodeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Outputs of an address, page by page; at most `rows_max`, and whether these are all.
    pub async fn outputs(
        &self,
        address: &Address,
        include_spent: bool,
        rows_max: usize,
    ) -> Result<(Vec<OutputRow>, bool), NodeError> {
        let (mut rows, mut token, mut empty) = (Vec::new(), Bytes::new(), 0u32);
        loop {
            let page = self
                .call("outputs", async || {
                    let request = query::ListOutputsRequest {
                        address: address.to_bytes(),
                        include_spent,
                        page_size: PAGE,
                        page_token: token.clone(),
                    };
                    client!(QueryClient, self.channel).list_outputs(self.request(request)).await
                })
                .await?;
            empty = if page.outputs.is_empty() { empty + 1 } else { 0 };
            for info in page.outputs {
                rows.push(answer::output(&info, *address)?);
            }
            if rows.len() > rows_max {
                rows.truncate(rows_max);
                return Ok((rows, false));
            }
            if page.next_page_token.is_empty() {
                return Ok((rows, true));
            }
            if page.next_page_token == token || empty > EMPTY_PAGES_MAX {
                return Err(NodeError::Answer { detail: "its pages do not end".to_owned() });
            }
            token = page.next_page_token;
        }
    }

    /// Decisions from now on, of these transactions or of all.
    pub async fn watch(&self, txids: &[TxId]) -> Result<Decisions, NodeError> {
        let stream = self
            .call("decisions", async || {
                let txids = txids.iter().map(|txid| txid.to_bytes()).collect();
                // Without a deadline in the request: it would end the stream.
                let request = query::WatchDecisionsRequest { txids };
                client!(QueryClient, self.channel).watch_decisions(request).await
            })
            .await?;
        Ok(Decisions { stream })
    }

    /// What the node says of itself.
    pub async fn status(&self) -> Result<query::Status, NodeError> {
        self.call("its status", async || {
            client!(QueryClient, self.channel).get_status(self.request(query::GetStatusRequest {})).await
        })
        .await
    }

    /// Has a development node issue native coins. Asked once: each request issues anew.
    pub async fn fund(&self, address: &Address, amount: Amount) -> Result<TxId, NodeError> {
        let request = FundRequest { address: address.to_bytes(), amount: amount.units() };
        let mut client = client!(FaucetClient, self.channel);
        let what = "development coins";
        let answer = self.once(what, client.fund(self.request(request))).await;
        let answer = answer.map_err(|status| self.error(what, &status, 1))?;
        answer::txid(&answer.txid)
    }

    /// The verifier key that the node claims. Trust it only as far as the node.
    pub async fn verifier_key(&self) -> Result<String, NodeError> {
        self.call("its verifier key", async || {
            let request = self.request(proofs::GetVerifierKeyRequest {});
            client!(ProofsClient, self.channel).get_verifier_key(request).await
        })
        .await
        .map(|answer| answer.verifier_key)
    }

    /// A checkpoint's signed note: the latest, or by number.
    pub async fn checkpoint(&self, number: Option<u64>) -> Result<Bytes, NodeError> {
        self.call("the checkpoint", async || {
            let request = self.request(proofs::GetCheckpointRequest { number });
            client!(ProofsClient, self.channel).get_checkpoint(request).await
        })
        .await
        .map(|answer| answer.note)
    }

    /// Bytes of a proof that a transaction is in the log; check them with `eschaton-proof`.
    pub async fn prove_inclusion(&self, txid: &TxId) -> Result<Bytes, NodeError> {
        self.call("a proof of inclusion", async || {
            let request = self.request(proofs::ProveInclusionRequest { txid: txid.to_bytes() });
            client!(ProofsClient, self.channel).prove_inclusion(request).await
        })
        .await
        .map(|answer| answer.proof)
    }

    /// Bytes of a proof of what became of an output.
    pub async fn prove_output(&self, outpoint: &OutPoint) -> Result<Bytes, NodeError> {
        self.call("a proof of the output", async || {
            let request =
                proofs::ProveOutputRequest { txid: outpoint.txid.to_bytes(), index: outpoint.index.into() };
            client!(ProofsClient, self.channel).prove_output(self.request(request)).await
        })
        .await
        .map(|answer| answer.proof)
    }

    /// Bytes of a proof that the latest checkpoint extends the one of this number.
    pub async fn prove_consistency(&self, number: u64) -> Result<Bytes, NodeError> {
        self.call("a proof of consistency", async || {
            let request = self.request(proofs::ProveConsistencyRequest { number });
            client!(ProofsClient, self.channel).prove_consistency(request).await
        })
        .await
        .map(|answer| answer.proof)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.options.request_timeout);
        request
    }

    /// One attempt, bounded here too: the deadline in the request binds only an honest node.
    async fn once<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        match tokio::time::timeout(self.options.request_timeout, call).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(what)),
        }
    }

    /// Attempts of a call that may be repeated.
    #[allow(clippy::disallowed_methods, reason = "a client outside the ledger: it waits in real time")]
    async fn call<T>(
        &self,
        what: &'static str,
        call: impl AsyncFn() -> Result<Response<T>, Status>,
    ) -> Result<T, NodeError> {
        let begun = Instant::now();
        let mut backoff = Backoff::new(self.options.retry_budget);
        let mut attempts = 1u32;
        loop {
            let status = match self.once(what, call()).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let pushback = answer::pushback(&status);
            let again = match status.code() {
                Code::Unavailable | Code::DeadlineExceeded => pushback != Some(None),
                // Without a time it is a limit that waiting does not lift, such as a message's size.
                Code::ResourceExhausted => matches!(pushback, Some(Some(_))),
                _ => false,
            };
            // Without randomness all clients pause alike, which is no reason to fail.
            let random = getrandom::u32().unwrap_or(0);
            let pause = again.then(|| backoff.pause(begun.elapsed(), pushback.flatten(), random)).flatten();
            let Some(pause) = pause else { return Err(self.error(what, &status, attempts)) };
            tokio::time::sleep(pause).await;
            attempts = attempts.saturating_add(1);
        }
    }

    fn error(&self, what: &'static str, status: &Status, attempts: u32) -> NodeError {
        let detail = status.message().to_owned();
        match status.code() {
            Code::Unavailable => NodeError::Unreachable {
                endpoint: self.options.endpoint.clone(),
                detail: reason(status),
                attempts,
            },
            Code::DeadlineExceeded | Code::Cancelled => {
                NodeError::Timeout { what, timeout_ms: self.options.request_timeout.as_millis() }
            }
            Code::ResourceExhausted => {
                let wait = answer::pushback(status).flatten().unwrap_or(Duration::from_secs(1));
                NodeError::Busy {
                    detail,
                    retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                }
            }
            Code::NotFound => NodeError::NotFound { what, detail },
            Code::Unimplemented => NodeError::NotServed { what, detail },
            code => NodeError::Refused { what, detail, code },
        }
    }
}

/// The innermost cause: tonic's own message is only "transport error".
fn reason(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    let mut text = status.message().to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// Decisions as they are made.
pub struct Decisions {
    stream: Streaming<query::DecisionEvent>,
}

impl Decisions {
    /// The next one; none when the stream ended or broke and should be opened again.
    pub async fn next(&mut self) -> Result<Option<Decided>, NodeError> {
        match self.stream.message().await {
            Ok(Some(event)) => answer::decided(event).map(Some),
            Ok(None) | Err(_) => Ok(None),
        }
    }
}
