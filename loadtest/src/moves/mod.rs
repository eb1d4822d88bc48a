//! What a move of shards costs their payments, and those of the other shards: when a resolver comes, goes in order, and
//! is killed.

mod owners;
mod pour;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use eschaton_types::{Transaction, shard_of};
use tokio::task::block_in_place;

use crate::cluster::{Cluster, Engines, Shape, settle};
use crate::lookup::lost;
use crate::node::Running;
use crate::scenario::{bar, fill, real, run_id, sign, whole};
use crate::workload::{Payment, Workload};
use owners::Watch;
use pour::{Item, Sample, pour};
use report::{Kind, Move};

/// From one move to the next. What falls due in the first half is looked at: by then a shard has stopped, also after a kill
/// (the session time-out is 8 s), and what waits then is decided in the second half.
const PLANNED: Duration = Duration::from_secs(20);
const KILLED: Duration = Duration::from_secs(30);

#[derive(Args)]
#[command(
    after_help = "Example:\n  deploy/engines/kafka/run.sh start && deploy/engines/cassandra/run.sh start\n  eschaton-loadtest moves --kafka 127.0.0.1:29092 --cql 127.0.0.1:19042 --rate 400 --json result.json\n\nA round is: a resolver more, one less, one killed, one more. Topics and keyspaces of a run have names of their own and stay; wipe the engines afterwards."
)]
pub(crate) struct MovesArgs {
    #[command(flatten)]
    engines: Engines,
    /// Payments per second over all shards
    #[arg(long, default_value_t = 400.0)]
    rate: f64,
    /// How often to come, go, kill and come again
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Time without any move, for comparison, before the first and after the last
    #[arg(long, default_value_t = 15.0)]
    quiet_seconds: f64,
    /// Processes that resolve conflicts at rest
    #[arg(long, default_value_t = 2)]
    resolvers: usize,
    /// Shards of the ledger
    #[arg(long, default_value_t = 4)]
    shards: u32,
    /// Write the results here
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) async fn run(args: MovesArgs) -> anyhow::Result<()> {
    ensure!((1.0..=100_000.0).contains(&args.rate), "--rate must be 1 to 100000");
    ensure!((1..=100).contains(&args.rounds), "--rounds must be 1 to 100");
    ensure!((2.0..=600.0).contains(&args.quiet_seconds), "--quiet-seconds must be 2 to 600");
    ensure!((2..=16).contains(&args.resolvers), "--resolvers must be 2 to 16: one is killed");
    ensure!(args.shards >= 2, "--shards must be 2 at least: others are looked at");
    let quiet = Duration::from_secs_f64(args.quiet_seconds);
    let all = 2 * quiet + args.rounds * (3 * PLANNED + KILLED);
    let id = run_id()?;
    let workload = Arc::new(Workload::new(id)?);
    // Owners fall on shards at random, and a start may take long: some more than their share.
    let fair = args.rate * (all.as_secs_f64() + 10.0);
    let (issuances, payments) = sign(&workload, whole(fair * 1.25) + 500 * u64::from(args.shards)).await?;
    let dir = tempfile::tempdir()?;
    let name = format!("moves{}", hex::encode(&id[8..16]));
    let shape = Shape { shards: args.shards, partition_bits: 4 };
    let cluster = Cluster::make(dir.path(), &name, &args.engines, &shape, &workload.issuer()).await?;
    let edge = cluster.start("gossip-ingress,query")?;
    let prover = cluster.start("merkle-prover")?;
    let resolvers = (0..args.resolvers).map(|_| cluster.start("conflict-resolver"));
    let mut stage = Stage {
        cluster: &cluster,
        resolvers: resolvers.collect::<anyhow::Result<_>>()?,
        moves: Vec::new(),
        shown: bar("moves", u64::from(args.rounds) * 4),
    };
    fill(&edge.url, &workload, 1_000, issuances).await?;
    settle(&cluster).await?;

    let watch = Watch::start(&cluster.config);
    let began = Instant::now();
    let rate = args.rate / f64::from(args.shards);
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0u32..)
        .zip(by_shard(&payments, args.shards)?)
        .map(|(shard, items)| tokio::spawn(pour(edge.url.clone(), shard, items, rate, stop.clone())))
        .collect();
    tokio::time::sleep(quiet).await;
    for _ in 0..args.rounds {
        stage.comes().await?;
        stage.goes().await?;
        stage.dies().await?;
        stage.comes().await?;
    }
    tokio::time::sleep(quiet).await;
    stop.store(true, Ordering::Release);
    let mut samples: Vec<Sample> = Vec::new();
    for load in loads {
        samples.extend(load.await??);
    }
    let seen = watch.end().await?;
    stage.shown.finish_and_clear();
    settle(&cluster).await?;
    let acknowledged: Vec<usize> = samples.iter().map(|sample| sample.payment).collect();
    let lost = lost(&edge.url, &payments, &acknowledged).await?;
    let Stage { resolvers, moves, .. } = stage;
    for process in resolvers.into_iter().chain([prover, edge]) {
        block_in_place(|| process.stop())?;
    }
    let result = report::judge(&args, began, &samples, &moves, &seen, lost)?;
    result.print();
    if let Some(path) = &args.json {
        crate::report::write(path, &result)?;
    }
    ensure!(lost == 0, "{lost} acknowledged payments are lost");
    Ok(())
}

/// Payments by the shard that decides them.
fn by_shard(payments: &[Payment], shards: u32) -> anyhow::Result<Vec<Vec<Item>>> {
    let mut parts: Vec<Vec<Item>> = (0..shards).map(|_| Vec::new()).collect();
    for (payment, signed) in payments.iter().enumerate() {
        let parsed = Transaction::decode(signed.bytes.clone())?;
        let owner = parsed.body.inputs.first().context("a payment without inputs")?.owner;
        parts[usize::try_from(shard_of(&owner, shards))?].push(Item { payment, bytes: signed.bytes.clone() });
    }
    Ok(parts)
}

/// Resolvers that come and go.
struct Stage<'a> {
    cluster: &'a Cluster,
    resolvers: Vec<Running>,
    moves: Vec<Move>,
    shown: indicatif::ProgressBar,
}

impl Stage<'_> {
    async fn comes(&mut self) -> anyhow::Result<()> {
        self.happens(Kind::Comes, PLANNED, |cluster, resolvers| {
            resolvers.push(cluster.start("conflict-resolver")?);
            Ok(())
        })
        .await
    }

    async fn goes(&mut self) -> anyhow::Result<()> {
        self.happens(Kind::Goes, PLANNED, |_, resolvers| {
            resolvers.pop().context("no resolver is left")?.stop()
        })
        .await
    }

    async fn dies(&mut self) -> anyhow::Result<()> {
        self.happens(Kind::Dies, KILLED, |_, resolvers| resolvers.remove(0).kill()).await
    }

    async fn happens(
        &mut self,
        kind: Kind,
        time: Duration,
        does: impl FnOnce(&Cluster, &mut Vec<Running>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.shown.set_message(kind.name());
        let began = Instant::now();
        block_in_place(|| does(self.cluster, &mut self.resolvers))?;
        tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
        self.moves.push(Move { kind, began, ended: Instant::now() });
        self.shown.inc(1);
        Ok(())
    }
}

fn seconds(duration: Duration) -> f64 {
    real(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)) / 1e3
}
