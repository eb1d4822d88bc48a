//! The few JSON-RPC calls that timestamp clients and people make of a Bitcoin node, over HTTP, with bounds on everything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, BlockHash, Network, Txid};
use bytes::Bytes;
use eschaton_ports::chain::{Chain, ChainError};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{RegtestChain, RegtestError};

/// Longest request: a transaction of four million bytes in hexadecimal does not fit, one that is relayed does.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Connections at once; more wait to be taken.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take to come, and how long a request may take in all.
const HEAD_TIME: Duration = Duration::from_secs(5);
const REQUEST_TIME: Duration = Duration::from_secs(60);

/// Codes of Bitcoin Core's `rpc/protocol.h`.
const NOT_FOUND: i64 = -5;
const INVALID_PARAMETER: i64 = -8;
const DESERIALIZATION: i64 = -22;
const VERIFY_REJECTED: i64 = -26;
const MISC: i64 = -1;
const NO_METHOD: i64 = -32_601;
const PARSE: i64 = -32_700;

/// How the calls are served.
#[derive(Clone)]
pub struct RpcOptions {
    /// Where; port 0 picks a free one.
    pub listen: SocketAddr,
    /// `user:password` that callers must give; none: whoever reaches the port may call. Whoever may call may mine.
    pub login: Option<Zeroizing<String>>,
}

/// The server. It ends when it is dropped.
pub struct RpcServer {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl RpcServer {
    /// Listens and serves.
    pub async fn start(chain: RegtestChain, options: RpcOptions) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let login = options
            .login
            .map(|login| Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(login.as_bytes()))));
        let task = tokio::spawn(serve(listener, Arc::new(Handler { chain, login })));
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, handler: Arc<Handler>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, most often: those that are open must end first.
                tracing::warn!(%error, "cannot take a connection");
                drop(permit);
                connections.join_next().await;
                continue;
            }
        };
        let handler = handler.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let handler = handler.clone();
                async move { Ok::<_, Infallible>(handler.answer(request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
}

/// A call's error: code and message.
struct Failure(i64, String);

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        let code = if matches!(error, ChainError::Rejected { .. }) { VERIFY_REJECTED } else { MISC };
        Self(code, error.to_string())
    }
}

impl From<RegtestError> for Failure {
    fn from(error: RegtestError) -> Self {
        Self(MISC, error.to_string())
    }
}

struct Handler {
    chain: RegtestChain,
    login: Option<Zeroizing<String>>,
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

impl Handler {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        tokio::time::timeout(REQUEST_TIME, self.answer_in_time(request))
            .await
            .unwrap_or_else(|_| plain(StatusCode::REQUEST_TIMEOUT, "too slow"))
    }

    async fn answer_in_time(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "JSON-RPC is posted");
        }
        if let Some(login) = &self.login {
            let given =
                request.headers().get(AUTHORIZATION).map(|given| given.as_bytes()).unwrap_or_default();
            if !same(given, login.as_bytes()) {
                let mut response = plain(StatusCode::UNAUTHORIZED, "");
                response.headers_mut().insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Basic"));
                return response;
            }
        }
        let Ok(body) = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long, or was cut off");
        };
        let (id, result) = match serde_json::from_slice::<Value>(&body.to_bytes()) {
            Err(_) => (Value::Null, Err(Failure(PARSE, "the request is not JSON".to_owned()))),
            Ok(call) => {
                let id = call.get("id").cloned().unwrap_or_default();
                let method = call.get("method").and_then(Value::as_str).unwrap_or_default();
                let params = match call.get("params") {
                    None | Some(Value::Null) => Ok(Vec::new()),
                    Some(Value::Array(params)) => Ok(params.clone()),
                    Some(_) => Err(Failure(INVALID_PARAMETER, "parameters come as an array".to_owned())),
                };
                match params {
                    Ok(params) => (id, self.call(method, &params).await),
                    Err(failure) => (id, Err(failure)),
                }
            }
        };
        let (status, answer) = match result {
            Ok(result) => (StatusCode::OK, json!({ "result": result, "error": null, "id": id })),
            Err(Failure(code, message)) => {
                let status = match code {
                    NO_METHOD => StatusCode::NOT_FOUND,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, json!({ "result": null, "error": { "code": code, "message": message }, "id": id }))
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        response
    }

    async fn call(&self, method: &str, params: &[Value]) -> Result<Value, Failure> {
        match method {
            "getblockcount" => Ok(json!(self.chain.tip().await?.height)),
            "getbestblockhash" => Ok(json!(self.chain.tip().await?.hash)),
            "getblockhash" => {
                let height =
                    params.first().and_then(Value::as_u64).and_then(|height| u32::try_from(height).ok());
                let hash = match height {
                    Some(height) => self.chain.hash_at(height).await?,
                    None => None,
                };
                hash.map(|hash| json!(hash))
                    .ok_or(Failure(INVALID_PARAMETER, "Block height out of range".to_owned()))
            }
            "getblockheader" => self.header(params).await,
            "getblock" => self.block(params).await,
            "getblockchaininfo" => self.info().await,
            "sendrawtransaction" => {
                let transaction = text(params, 0).ok().and_then(|text| hex::decode(text).ok());
                let transaction =
                    transaction.and_then(|bytes| eschaton_headers::decode_transaction(&bytes).ok());
                let transaction =
                    transaction.ok_or(Failure(DESERIALIZATION, "TX decode failed".to_owned()))?;
                self.chain.broadcast(&transaction).await?;
                Ok(json!(transaction.compute_txid()))
            }
            "getrawtransaction" => self.transaction(params),
            "getrawmempool" => Ok(json!(self.chain.look()?.mempool.ids())),
            "generatetoaddress" => {
                let count =
                    params.first().and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
                let count =
                    count.ok_or(Failure(INVALID_PARAMETER, "the number of blocks is none".to_owned()))?;
                let address = text(params, 1)?.parse::<Address<_>>().ok();
                let address = address.and_then(|address| address.require_network(Network::Regtest).ok());
                let address = address.ok_or(Failure(NOT_FOUND, "not an address of regtest".to_owned()))?;
                Ok(json!(self.chain.mine(count, address.script_pubkey()).await?))
            }
            "submitblock" => {
                let bytes = hex::decode(text(params, 0)?);
                let bytes = bytes.map_err(|_| Failure(DESERIALIZATION, "Block decode failed".to_owned()))?;
                self.chain.submit_block(bytes).await?;
                Ok(Value::Null)
            }
            _ => Err(Failure(NO_METHOD, "Method not found".to_owned())),
        }
    }

    async fn header(&self, params: &[Value]) -> Result<Value, Failure> {
        let hash = hash_of(params)?;
        let header = self.chain.header(hash).await?;
        let header = header.ok_or(Failure(NOT_FOUND, "Block not found".to_owned()))?;
        if !verbose(params.get(1), true) {
            return Ok(json!(serialize_hex(&header.header)));
        }
        let tip = self.chain.tip().await?;
        let inner = header.header;
        let confirmations = match header.best {
            true => i64::from(tip.height - header.at.height) + 1,
            false => -1,
        };
        Ok(json!({
            "hash": hash, "confirmations": confirmations, "height": header.at.height,
            "version": inner.version.to_consensus(), "merkleroot": inner.merkle_root, "time": inner.time,
            "nonce": inner.nonce, "bits": format!("{:08x}", inner.bits.to_consensus()),
            "previousblockhash": inner.prev_blockhash,
        }))
    }

    async fn block(&self, params: &[Value]) -> Result<Value, Failure> {
        let hash = hash_of(params)?;
        let block = self.chain.block(hash).await?;
        let block = block.ok_or(Failure(NOT_FOUND, "Block not found".to_owned()))?;
        if verbose(params.get(1), true) {
            let ids: Vec<Txid> = block.txdata.iter().map(bitcoin::Transaction::compute_txid).collect();
            let mut header = self.header(&[json!(hash), json!(true)]).await?;
            header["tx"] = json!(ids);
            return Ok(header);
        }
        Ok(json!(serialize_hex(&*block)))
    }

    async fn info(&self) -> Result<Value, Failure> {
        let tip = self.chain.tip().await?;
        Ok(json!({
            "chain": "regtest", "blocks": tip.height, "headers": tip.height, "bestblockhash": tip.hash,
            "initialblockdownload": false, "pruned": false, "warnings": "",
        }))
    }

    fn transaction(&self, params: &[Value]) -> Result<Value, Failure> {
        let txid = text(params, 0)?
            .parse::<Txid>()
            .map_err(|_| Failure(INVALID_PARAMETER, "not a txid".to_owned()))?;
        let inner = self.chain.look()?;
        let place = inner.ledger.place(&txid);
        let mined = place
            .and_then(|at| inner.ledger.node(&at.hash))
            .and_then(|node| node.block.txdata.iter().find(|transaction| transaction.compute_txid() == txid));
        let transaction = mined.or_else(|| inner.mempool.get(&txid).map(|transaction| &**transaction));
        let missing = Failure(NOT_FOUND, "No such mempool or blockchain transaction".to_owned());
        let hex = serialize_hex(transaction.ok_or(missing)?);
        if !verbose(params.get(1), false) {
            return Ok(json!(hex));
        }
        let mut answer = json!({ "txid": txid, "hex": hex });
        if let Some(at) = place {
            answer["blockhash"] = json!(at.hash);
            answer["confirmations"] = json!(inner.ledger.tip().height - at.height + 1);
        }
        Ok(answer)
    }
}

/// Compares without telling by its time where two texts differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len()
        && given.iter().zip(wanted).fold(0, |differ, (left, right)| differ | (left ^ right)) == 0
}

fn text(params: &[Value], index: usize) -> Result<&str, Failure> {
    let missing = || Failure(INVALID_PARAMETER, format!("parameter {} is missing or no text", index + 1));
    params.get(index).and_then(Value::as_str).ok_or_else(missing)
}

fn hash_of(params: &[Value]) -> Result<BlockHash, Failure> {
    text(params, 0)?.parse().map_err(|_| Failure(INVALID_PARAMETER, "not a block hash".to_owned()))
}

/// Booleans and numbers alike, as nodes take them.
fn verbose(param: Option<&Value>, default: bool) -> bool {
    match param {
        Some(Value::Bool(verbose)) => *verbose,
        Some(Value::Number(number)) => number.as_u64() != Some(0),
        _ => default,
    }
}
