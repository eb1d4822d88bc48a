//! Timestamps: digests over HTTP with connections that stay and with new ones, in batches over gRPC; then kill -9, and
//! every digest of a sample must have the place that it was acknowledged with, and its proof is looked up.

mod look;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use eschaton_api::timestamp::StampBatchRequest;
use eschaton_api::timestamp::timestamps_client::TimestampsClient;
use eschaton_ots::Timestamp;
use eschaton_types::Key;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::Running;
use crate::report;

/// Of these, the first is checked after the kill.
const SAMPLE_ONE_IN: u64 = 16;
/// Digests of one gRPC batch.
const BATCH: usize = 4_096;
/// Answers of a batch are longer than tonic allows unless told.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Args)]
pub(crate) struct StampsArgs {
    /// The node runs on the embedded engines (there is no other way yet)
    #[arg(long, required = true)]
    embedded: bool,
    /// Directory of the node's data; made if need be
    #[arg(long)]
    data_dir: PathBuf,
    /// Length of each part
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// HTTP connections that submit one digest after the other
    #[arg(long, default_value_t = 2_000)]
    connections: u64,
    /// Clients that make a new connection for each digest
    #[arg(long, default_value_t = 500)]
    newcomers: u64,
    /// gRPC batches under way
    #[arg(long, default_value_t = 8)]
    batches: u64,
    /// Afterwards batches go on until so many digests are stored; a look-up among many is measured so
    #[arg(long, default_value_t = 0)]
    digests: u64,
    /// Where the result goes
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What one way of submitting gave.
#[derive(Clone, Debug, Default, Serialize)]
struct Part {
    per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    acknowledged: u64,
    failed: u64,
}

#[derive(Serialize)]
struct StampsResult {
    stamps_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    acknowledged: u64,
    lost: u64,
    checked_after_kill: u64,
    bytes_per_digest: f64,
    digests_stored: u64,
    lookup_p50_ms: f64,
    lookup_p99_ms: f64,
    keep_alive: Part,
    new_connections: Part,
    grpc_batch: Part,
    interval_ms: u64,
    optimized: bool,
    machine: String,
    commit: String,
}

/// Digest and the commitment that it was acknowledged with.
type Sample = (Vec<u8>, Vec<u8>);

struct Load {
    next: AtomicU64,
    run: [u8; 16],
    end: Instant,
    /// Numbers below this are used up all the same.
    least: u64,
}

impl Load {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end || self.next.load(Ordering::Relaxed) < self.least
    }

    fn digest(&self) -> ([u8; 32], u64) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (unique(&self.run, number), number)
    }
}

/// A digest that is no other's.
fn unique(run: &[u8; 16], number: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    // Spread over the shards, and over the keys of a store.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    digest[..8].copy_from_slice(&spread.to_be_bytes());
    digest[8..24].copy_from_slice(run);
    digest[24..].copy_from_slice(&number.to_be_bytes());
    digest
}

pub(crate) async fn run(args: StampsArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data_dir)?;
    ensure!(args.embedded, "only --embedded is there");
    let issuer = Key::from_secret([7; 32]).context("a key")?.address();
    let node = Running::start(&args.data_dir, &issuer, 16_384)?;
    let calendar = node.calendar.clone().context("the node has no calendar")?;
    let mut run = [0; 16];
    run.copy_from_slice(
        &std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos().to_be_bytes(),
    );
    let next = Arc::new(Load { next: AtomicU64::new(0), run, end: Instant::now(), least: 0 });
    let mut samples: Vec<Sample> = Vec::new();
    let part = |what: &'static str| {
        println!("{what} for {} s", args.seconds);
        let end = Instant::now() + Duration::from_secs(args.seconds);
        // Numbers go on from part to part.
        let from = next.next.load(Ordering::Relaxed);
        Arc::new(Load { next: AtomicU64::new(from), run, end, least: 0 })
    };
    let http = async |load: Arc<Load>, clients: u64, keep: bool| {
        let tasks = (0..clients).map(|_| tokio::spawn(submit(calendar.clone(), load.clone(), keep)));
        let began = Instant::now();
        let parts = futures::future::join_all(tasks.collect::<Vec<_>>()).await;
        next.next.store(load.next.load(Ordering::Relaxed), Ordering::Relaxed);
        summed(parts, began)
    };
    let (keep_alive, some) = http(part("HTTP, connections that stay"), args.connections, true).await?;
    samples.extend(some);
    let (new_connections, some) = http(part("HTTP, a connection for each"), args.newcomers, false).await?;
    samples.extend(some);
    let load = part("gRPC batches");
    let began = Instant::now();
    let tasks: Vec<_> =
        (0..args.batches).map(|_| tokio::spawn(batches(node.url.clone(), load.clone()))).collect();
    let (grpc_batch, some) = summed(futures::future::join_all(tasks).await, began)?;
    samples.extend(some);
    next.next.store(load.next.load(Ordering::Relaxed), Ordering::Relaxed);
    if next.next.load(Ordering::Relaxed) < args.digests {
        println!("gRPC batches until there are {} digests", args.digests);
        let from = AtomicU64::new(next.next.load(Ordering::Relaxed));
        let load = Arc::new(Load { next: from, run, end: Instant::now(), least: args.digests });
        let tasks: Vec<_> =
            (0..args.batches).map(|_| tokio::spawn(batches(node.url.clone(), load.clone()))).collect();
        samples.extend(summed(futures::future::join_all(tasks).await, Instant::now())?.1);
        next.next.store(load.next.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    node.kill()?;
    let node = Running::start(&args.data_dir, &issuer, 16_384)?;
    println!("checking {} digests after kill -9", samples.len());
    let lost = lost(&node.url, &samples).await?;
    println!("looking proofs up");
    let looked_up = look::look_up(&node.url, &samples).await?;
    let lookup_ms = |quantile| looked_up.value_at_quantile(quantile) as f64 / 1e3;
    node.stop()?;
    let acknowledged = keep_alive.acknowledged + new_connections.acknowledged + grpc_batch.acknowledged;
    let stored = bytes_below(&args.data_dir.join("store").join("stamps"))?;
    let (machine, commit) = report::machine();
    let result = StampsResult {
        stamps_per_s: keep_alive.per_s,
        p50_ms: keep_alive.p50_ms,
        p99_ms: keep_alive.p99_ms,
        acknowledged,
        lost,
        checked_after_kill: u64::try_from(samples.len())?,
        bytes_per_digest: stored as f64 / next.next.load(Ordering::Relaxed).max(1) as f64,
        digests_stored: next.next.load(Ordering::Relaxed),
        lookup_p50_ms: lookup_ms(0.5),
        lookup_p99_ms: lookup_ms(0.99),
        keep_alive,
        new_connections,
        grpc_batch,
        interval_ms: 100,
        optimized: !cfg!(debug_assertions),
        machine,
        commit,
    };
    println!("{}", serde_json::to_string_pretty(&result)?);
    if let Some(path) = &args.json {
        report::write(path, &result)?;
    }
    ensure!(lost == 0, "{lost} acknowledged digests have no place or another one");
    Ok(())
}

struct Done {
    latency: Histogram<u64>,
    failed: u64,
    acknowledged: u64,
    samples: Vec<Sample>,
}

impl Done {
    fn new() -> anyhow::Result<Self> {
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        Ok(Self { latency, failed: 0, acknowledged: 0, samples: Vec::new() })
    }
}

fn summed(
    parts: Vec<Result<anyhow::Result<Done>, tokio::task::JoinError>>,
    began: Instant,
) -> anyhow::Result<(Part, Vec<Sample>)> {
    let mut all = Done::new()?;
    for part in parts {
        let part = part??;
        all.latency.add(part.latency)?;
        all.failed += part.failed;
        all.acknowledged += part.acknowledged;
        all.samples.extend(part.samples);
    }
    let ms = |quantile| all.latency.value_at_quantile(quantile) as f64 / 1e3;
    let part = Part {
        per_s: all.acknowledged as f64 / began.elapsed().as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        acknowledged: all.acknowledged,
        failed: all.failed,
    };
    Ok((part, all.samples))
}

/// One client of the calendar, one digest after the other.
async fn submit(calendar: String, load: Arc<Load>, keep: bool) -> anyhow::Result<Done> {
    let address = calendar.strip_prefix("http://").context("an HTTP calendar")?.to_owned();
    let (mut done, mut connection) = (Done::new()?, None);
    let mut buffer = Vec::new();
    while load.goes_on() {
        let (digest, number) = load.digest();
        let began = Instant::now();
        match exchange(&address, &mut connection, &digest, keep, &mut buffer).await {
            Ok(answer) => {
                done.latency.record(u64::try_from(began.elapsed().as_micros())?.max(1))?;
                done.acknowledged += 1;
                if number.is_multiple_of(SAMPLE_ONE_IN) {
                    let pending = Timestamp::from_answer(&digest, &answer)?.pending(&digest)?;
                    let pending = pending.first().context("an answer without a promise")?;
                    done.samples.push((digest.to_vec(), pending.commitment.to_vec()));
                }
            }
            Err(_) => {
                done.failed += 1;
                connection = None;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        if !keep {
            connection = None;
        }
    }
    Ok(done)
}

async fn exchange(
    address: &str,
    connection: &mut Option<TcpStream>,
    digest: &[u8; 32],
    keep: bool,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<Vec<u8>> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let made = TcpStream::connect(address).await?;
            made.set_nodelay(true)?;
            connection.insert(made)
        }
    };
    let end = if keep { "" } else { "Connection: close\r\n" };
    let head = format!("POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 32\r\n{end}\r\n");
    stream.write_all(&[head.as_bytes(), digest].concat()).await?;
    buffer.clear();
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..at])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("an answer without a length")?.parse()?;
            if buffer.len() >= at + 4 + length {
                ensure!(head.starts_with("http/1.1 200"), "{head}");
                return Ok(buffer[at + 4..at + 4 + length].to_vec());
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection ended");
        }
    }
}

async fn client(url: &str) -> anyhow::Result<TimestampsClient<tonic::transport::Channel>> {
    Ok(TimestampsClient::connect(url.to_owned())
        .await?
        .max_decoding_message_size(ANSWER_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX))
}

/// One batch after the other.
async fn batches(url: String, load: Arc<Load>) -> anyhow::Result<Done> {
    let (mut done, mut client) = (Done::new()?, client(&url).await?);
    while load.goes_on() {
        let numbered: Vec<([u8; 32], u64)> = (0..BATCH).map(|_| load.digest()).collect();
        let digests = numbered.iter().map(|(digest, _)| digest.to_vec().into()).collect();
        let began = Instant::now();
        let request = tokio_stream::once(StampBatchRequest { id: 0, digests });
        let answered = async { client.stamp_batch(request).await?.into_inner().message().await };
        match answered.await {
            Ok(Some(answer)) => {
                ensure!(answer.stamps.len() == BATCH, "a batch lacks answers");
                done.latency.record(u64::try_from(began.elapsed().as_micros())?.max(1))?;
                done.acknowledged += u64::try_from(BATCH)?;
                for ((digest, number), stamp) in numbered.iter().zip(&answer.stamps) {
                    if number.is_multiple_of(SAMPLE_ONE_IN) {
                        done.samples.push((digest.to_vec(), stamp.commitment.to_vec()));
                    }
                }
            }
            Ok(None) | Err(_) => {
                done.failed += u64::try_from(BATCH)?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    Ok(done)
}

/// Digests that are not where they were acknowledged.
async fn lost(url: &str, samples: &[Sample]) -> anyhow::Result<u64> {
    let (mut client, mut lost) = (client(url).await?, 0);
    for part in samples.chunks(BATCH) {
        let digests = part.iter().map(|(digest, _)| digest.clone().into()).collect();
        let request = tokio_stream::once(StampBatchRequest { id: 0, digests });
        let answer = client.stamp_batch(request).await?.into_inner().message().await?;
        let stamps = answer.context("a batch without answer")?.stamps;
        ensure!(stamps.len() == part.len(), "a batch lacks answers");
        let elsewhere = part.iter().zip(&stamps).filter(|((_, root), stamp)| stamp.commitment != root[..]);
        lost += u64::try_from(elsewhere.count())?;
    }
    Ok(lost)
}

/// Bytes of all files below a directory.
fn bytes_below(dir: &Path) -> anyhow::Result<u64> {
    let (mut bytes, mut open) = (0, vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("{} cannot be read", dir.display()))? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                open.push(entry.path());
            } else {
                bytes += meta.len();
            }
        }
    }
    Ok(bytes)
}
