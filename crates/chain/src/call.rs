use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eschaton_ports::Clock;
use eschaton_ports::chain::{BLOCK_BYTES_MAX, ChainError};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::RpcConfig;

/// The longest answer: the largest block in hexadecimal, and its wrapping.
const ANSWER_BYTES_MAX: usize = 2 * BLOCK_BYTES_MAX + (64 << 10);
/// The first pause between attempts; each further one is twice as long, up to the longest.
const PAUSE_MS: u64 = 50;
const PAUSE_MAX_MS: u64 = 1_000;
/// Longest part of a node's message that an error shows.
const SHOWN_CHARS: usize = 300;

/// Bitcoin Core's code while it loads.
const IN_WARMUP: i64 = -28;
/// JSON-RPC's code for a method that is not there.
pub(crate) const NO_METHOD: i64 = -32_601;

/// Why a call gave no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Of the port.
    Chain(ChainError),
    /// The node answered with an error of the method.
    Rpc {
        /// Its code.
        code: i64,
        /// What it says, cut to a bound.
        message: String,
    },
}

impl From<ChainError> for CallError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

/// What one attempt met.
enum Attempt {
    Answer(Value),
    Rpc {
        code: i64,
        message: String,
    },
    /// Passing: no connection, no answer in time, busy.
    Away(String),
    Loading(String),
    Credentials(String),
    Nonsense(String),
}

/// Speaks JSON-RPC with a node: one login, bounded answers, time limits, retries.
pub(crate) struct Caller {
    config: RpcConfig,
    clock: Arc<dyn Clock>,
    http: Client<HttpConnector, Full<Bytes>>,
    login: Mutex<Option<Zeroizing<String>>>,
    permits: Semaphore,
    number: AtomicU64,
    /// Counts the times that the node was not reached: what was known of it is void then.
    absences: AtomicU64,
}

impl Caller {
    pub(crate) fn new(config: RpcConfig, clock: Arc<dyn Clock>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(config.request_ms)));
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(config.requests_max)
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        let permits = Semaphore::new(config.requests_max.max(1));
        Self {
            config,
            clock,
            http,
            login: Mutex::new(None),
            permits,
            number: AtomicU64::new(0),
            absences: AtomicU64::new(0),
        }
    }

    pub(crate) fn config(&self) -> &RpcConfig {
        &self.config
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn node(&self) -> String {
        self.config.address().to_owned()
    }

    /// How often the node was not reached so far.
    pub(crate) fn absences(&self) -> u64 {
        self.absences.load(Ordering::Acquire)
    }

    pub(crate) fn lying(&self, detail: impl Into<String>) -> ChainError {
        ChainError::Lying { node: self.node(), detail: detail.into() }
    }

    /// The port's error for an error of a method that the caller has no better reading of.
    pub(crate) fn unexpected(&self, method: &str, error: CallError) -> ChainError {
        match error {
            CallError::Chain(error) => error,
            CallError::Rpc { code, message } => {
                ChainError::Away { node: self.node(), detail: format!("{method} failed: {message} ({code})") }
            }
        }
    }

    /// Calls a method. Everything that passes is tried again until `retry_ms` are over.
    pub(crate) async fn call(&self, method: &'static str, params: Value) -> Result<Value, CallError> {
        // Never closed.
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|closed| ChainError::Away { node: self.node(), detail: closed.to_string() })?;
        let started = self.clock.now_ms();
        let mut pause = PAUSE_MS;
        let mut paused = 0_u64;
        let mut login_read = false;
        loop {
            let node = self.node();
            let error = match self.attempt(method, &params).await {
                Attempt::Answer(value) => return Ok(value),
                Attempt::Rpc { code, message } => return Err(CallError::Rpc { code, message }),
                Attempt::Nonsense(detail) => return Err(ChainError::Lying { node, detail }.into()),
                // The file may have changed since it was read: a node writes its cookie at each start.
                Attempt::Credentials(_) if !login_read => {
                    login_read = true;
                    *self.login.lock() = None;
                    continue;
                }
                Attempt::Credentials(detail) => return Err(ChainError::Credentials { node, detail }.into()),
                Attempt::Away(detail) => {
                    self.absences.fetch_add(1, Ordering::AcqRel);
                    ChainError::Away { node, detail }
                }
                Attempt::Loading(detail) => ChainError::Syncing { node, detail },
            };
            // The clock may step; the pauses alone bound the loop too.
            let spent = self.clock.now_ms().saturating_sub(started).max(paused);
            if spent + pause > self.config.retry_ms {
                return Err(error.into());
            }
            tracing::debug!(method, %error, "calling the chain node again");
            self.clock.sleep_ms(pause).await;
            paused += pause;
            pause = (pause * 2).min(PAUSE_MAX_MS);
            login_read = false;
        }
    }

    /// The `authorization` header's value, read once and again after it was refused.
    fn login(&self) -> Result<Option<HeaderValue>, String> {
        let mut login = self.login.lock();
        if login.is_none() {
            *login = Some(self.config.credentials.header()?.unwrap_or_default());
        }
        let value = login.as_ref().map(|login| login.as_str()).unwrap_or_default();
        if value.is_empty() {
            return Ok(None);
        }
        let mut value =
            HeaderValue::from_str(value).map_err(|_| "they do not fit into a header".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn attempt(&self, method: &str, params: &Value) -> Attempt {
        let id = self.number.fetch_add(1, Ordering::Relaxed);
        let login = match self.login() {
            Ok(login) => login,
            Err(detail) => return Attempt::Credentials(detail),
        };
        let body = json!({ "jsonrpc": "1.0", "id": id, "method": method, "params": params }).to_string();
        let mut request = Request::post(format!("http://{}/", self.config.address()))
            .header(CONTENT_TYPE, "application/json");
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login);
        }
        let request = match request.body(Full::new(Bytes::from(body))) {
            Ok(request) => request,
            Err(error) => return Attempt::Nonsense(format!("the request cannot be made: {error}")),
        };
        let limit = Duration::from_millis(self.config.request_ms);
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Err(_) => Attempt::Away(format!("{method} had no answer within {} ms", self.config.request_ms)),
            Ok(Err(attempt)) => attempt,
            Ok(Ok((status, body))) => self.read(method, id, status, &body),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Attempt> {
        let answer = self.http.request(request).await.map_err(|error| {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            Attempt::Away(why.unwrap_or_else(|| error.to_string()))
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => Attempt::Nonsense(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")),
            false => Attempt::Away(error.to_string()),
        })?;
        Ok((status, body.to_bytes()))
    }

    fn read(&self, method: &str, id: u64, status: StatusCode, body: &[u8]) -> Attempt {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Attempt::Credentials(format!("{} ({status})", self.config.credentials.source()));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                return Attempt::Away(format!("it is busy ({status})"));
            }
            _ => {}
        }
        let Ok(mut answer) = serde_json::from_slice::<Value>(body) else {
            return match status.is_success() {
                true => Attempt::Nonsense(format!("the answer to {method} is not JSON")),
                false => Attempt::Away(format!("{method} was answered with {status}")),
            };
        };
        if answer.get("id").and_then(Value::as_u64) != Some(id) {
            return Attempt::Nonsense(format!("the answer to {method} is one to another request"));
        }
        match answer.get("error") {
            None | Some(Value::Null) => {}
            Some(error) => {
                let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
                let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
                let message: String = message.chars().take(SHOWN_CHARS).collect();
                return match code {
                    IN_WARMUP => Attempt::Loading(message),
                    _ => Attempt::Rpc { code, message },
                };
            }
        }
        match answer.get_mut("result") {
            Some(result) => Attempt::Answer(result.take()),
            None => Attempt::Nonsense(format!("the answer to {method} has no result")),
        }
    }
}
