//! `kill -9` at random moments under load.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use eschaton_api::ingress::{Outcome, SubmitBatch};
use eschaton_api::query::GetTransactionRequest;
use eschaton_api::query::query_client::QueryClient;
use eschaton_types::TxId;

use crate::live::{Stream, connect, submit_all};
use crate::node::Running;
use crate::scenario::{bar, run_id};
use crate::workload::Workload;

const BATCH: usize = 64;
const STREAMS: usize = 3;
const WINDOW: usize = 4;

#[derive(Args)]
pub(crate) struct KillsArgs {
    /// Directory of the node's data; made if need be
    #[arg(long)]
    data_dir: PathBuf,
    /// How often to kill
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Longest time under load before a kill, ms
    #[arg(long, default_value_t = 1_000)]
    load_ms: u64,
    /// Outputs to pay from; two payments exclude one another on each
    #[arg(long, default_value_t = 200_000)]
    outputs: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Unknown,
    Accepted,
    Rejected,
}

struct Item {
    txid: TxId,
    bytes: Bytes,
    fate: Fate,
    /// Answers that contradict an earlier one.
    contradicted: bool,
}

struct Shared {
    items: Mutex<Vec<Item>>,
    queue: Mutex<VecDeque<usize>>,
}

pub(crate) async fn run(args: KillsArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data_dir)?;
    let id = run_id()?;
    let workload = Workload::new(id)?;
    println!("signing two payments of each of {} outputs", args.outputs);
    let (issuances, pairs) = workload.contenders(args.outputs)?;
    let items: Vec<Item> = pairs
        .into_iter()
        .flatten()
        .map(|payment| Item {
            txid: payment.txid,
            bytes: payment.bytes,
            fate: Fate::Unknown,
            contradicted: false,
        })
        .collect();
    let queue = (0..items.len()).collect();
    let shared = Arc::new(Shared { items: Mutex::new(items), queue: Mutex::new(queue) });
    let mut dice = Dice(u64::from_be_bytes([id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]]));

    let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
    let shown = bar("creating outputs", u64::try_from(issuances.len())?);
    submit_all(&node.url, issuances, 8, &shown).await?;
    shown.finish_and_clear();
    node.stop()?;

    let shown = bar("killing", args.kills.into());
    let mut slowest = Duration::ZERO;
    for kill in 0..args.kills {
        if kill % 8 == 7 {
            // A crash in the recovery from a crash.
            let after = Duration::from_millis(dice.below(400));
            Running::start_and_kill(&args.data_dir, &workload.issuer(), after)?;
        }
        let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
        slowest = slowest.max(node.started_in);
        let load = tokio::spawn(load(node.url.clone(), shared.clone()));
        tokio::time::sleep(Duration::from_millis(20 + dice.below(args.load_ms))).await;
        node.kill()?;
        load.await?;
        shown.inc(1);
    }
    shown.finish_and_clear();

    let node = Running::start(&args.data_dir, &workload.issuer(), 16_384)?;
    let (accepted, rejected, contradicted) = {
        let items = shared.items.lock().map_err(|_| anyhow::anyhow!("a task panicked"))?;
        let count = |fate| items.iter().filter(|item| item.fate == fate).count();
        (count(Fate::Accepted), count(Fate::Rejected), items.iter().filter(|item| item.contradicted).count())
    };
    let (lost, twice) = look_up(&node, &shared).await?;
    node.stop()?;
    println!(
        "{} kills: {accepted} acknowledged payments, {rejected} refused contenders, {lost} lost, {twice} outputs spent twice, {contradicted} contradictory answers, slowest start {:.2} s",
        args.kills,
        slowest.as_secs_f64()
    );
    let shown = bar("deciding the log anew", 1);
    let report = eschaton_node::check(&args.data_dir, &args.data_dir.join("check"), 0, |done, all| {
        shown.set_length(all);
        shown.set_position(done);
    })
    .await?;
    shown.finish_and_clear();
    println!(
        "{} records decided anew, {} rows compared\n  store  {}\n  replay {}",
        report.records, report.rows, report.store_hash, report.replay_hash
    );
    ensure!(lost == 0 && twice == 0 && contradicted == 0, "money was lost or doubled");
    ensure!(report.store_hash == report.replay_hash, "{}", report.first_difference.unwrap_or_default());
    Ok(())
}

/// Keeps streams busy until the node is gone; what got no answer goes back to the queue.
async fn load(url: String, shared: Arc<Shared>) {
    let streams = (0..STREAMS).map(|_| {
        let (url, shared) = (url.clone(), shared.clone());
        tokio::spawn(async move {
            let mut under_way: VecDeque<(u64, Vec<usize>)> = VecDeque::new();
            // Ends with an error when the node is killed: that is the point.
            let _ = stream(&url, &shared, &mut under_way).await;
            if let Ok(mut queue) = shared.queue.lock() {
                for (_, batch) in under_way {
                    for index in batch {
                        queue.push_front(index);
                    }
                }
            }
        })
    });
    futures::future::join_all(streams).await;
}

async fn stream(
    url: &str,
    shared: &Shared,
    under_way: &mut VecDeque<(u64, Vec<usize>)>,
) -> anyhow::Result<()> {
    let poisoned = || anyhow::anyhow!("a task panicked");
    let Stream { send, mut receive } = Stream::open(connect(url).await?).await?;
    let mut id = 0;
    loop {
        while under_way.len() < WINDOW {
            let batch: Vec<usize> = {
                let mut queue = shared.queue.lock().map_err(|_| poisoned())?;
                let size = BATCH.min(queue.len());
                queue.drain(..size).collect()
            };
            if batch.is_empty() {
                break;
            }
            let transactions = {
                let items = shared.items.lock().map_err(|_| poisoned())?;
                batch.iter().map(|index| items[*index].bytes.clone()).collect()
            };
            under_way.push_back((id, batch));
            send.send(SubmitBatch { id, transactions, no_wait: false }).await?;
            id += 1;
        }
        if under_way.is_empty() {
            return Ok(());
        }
        let answer = receive.message().await?.context("the node closed the stream")?;
        let at = under_way.iter().position(|(id, _)| *id == answer.id).context("an answer to nothing")?;
        let (_, batch) = under_way.remove(at).context("just found")?;
        let mut items = shared.items.lock().map_err(|_| poisoned())?;
        let mut again = Vec::new();
        for (index, result) in batch.into_iter().zip(&answer.results) {
            let fate = match result.outcome() {
                Outcome::Accepted => Fate::Accepted,
                Outcome::Rejected => Fate::Rejected,
                _ => {
                    again.push(index);
                    continue;
                }
            };
            let item = &mut items[index];
            item.contradicted |= item.fate != Fate::Unknown && item.fate != fate;
            item.fate = fate;
        }
        drop(items);
        shared.queue.lock().map_err(|_| poisoned())?.extend(again);
    }
}

/// Every acknowledged payment is accepted; no output has two accepted payments.
async fn look_up(node: &Running, shared: &Shared) -> anyhow::Result<(usize, usize)> {
    let ids: Vec<(TxId, Fate)> = {
        let items = shared.items.lock().map_err(|_| anyhow::anyhow!("a task panicked"))?;
        items.iter().map(|item| (item.txid, item.fate)).collect()
    };
    let mut client = QueryClient::new(connect(&node.url).await?);
    let shown = bar("looking payments up", u64::try_from(ids.len())?);
    let (mut lost, mut twice) = (0, 0);
    for pair in ids.chunks(2) {
        let mut accepted = 0;
        for (txid, fate) in pair {
            let request = GetTransactionRequest { txid: Bytes::copy_from_slice(&txid.0) };
            let state = match client.get_transaction(request).await {
                Ok(found) => found.into_inner().state,
                Err(status) if status.code() == tonic::Code::NotFound => String::new(),
                Err(status) => return Err(status).context("look-up failed"),
            };
            accepted += usize::from(state == "ACCEPTED");
            lost += usize::from(*fate == Fate::Accepted && state != "ACCEPTED");
            shown.inc(1);
        }
        twice += usize::from(accepted > 1);
    }
    shown.finish_and_clear();
    Ok((lost, twice))
}

/// SplitMix64: moments of death need no better randomness.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
