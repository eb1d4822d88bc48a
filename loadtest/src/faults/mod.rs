//! A cluster under load whose processes and engines are killed, stopped and restarted.

mod decisions;
mod engines;
mod fleet;
mod link;
mod plan;
mod proofs;
mod rows;
mod verdict;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::task::{JoinHandle, block_in_place};

use crate::cluster::{Cluster, Engines as Addresses, Shape, settle};
use crate::contest::{Contest, Dice, load};
use crate::live::submit_all;
use crate::lookup::look_up;
use crate::scenario::{bar, run_id};
use crate::workload::Workload;
use crate::{cores, report};
use engines::Engine;
use fleet::{Fleet, Urls};
use link::Link;
use plan::{Deck, Engines, Fault, inject};
use verdict::{Tally, Verdict};

const SHARDS: u32 = 4;
/// About how long a fault lasts, for the size of the load.
const FAULT_S: u64 = 25;
/// A cluster that decides nothing for so long after a fault has ended has not recovered.
const RECOVERY: Duration = Duration::from_secs(90);
/// What waits for a decision when the faults are over has it by then.
const CALM: Duration = Duration::from_secs(300);

#[derive(Args)]
#[command(
    after_help = "Example:\n  KAFKA_PORT=29392 KAFKA_NAME=faults CQL_PORT=19342 eschaton-loadtest faults --kafka-script deploy/engines/kafka/run.sh --cql-script deploy/engines/cassandra/run.sh --faults 50 --data-dir ./faults\n\nThe scripts take ports and directories from the environment; data of engines of these names is deleted. After a failure the engines' data and all messages stay. ESCHATON_LOADTEST_LOG is the filter of the processes' messages, warn unless given."
)]
pub(crate) struct FaultsArgs {
    /// Starts and ends Kafka: deploy/engines/kafka/run.sh
    #[arg(long)]
    kafka_script: PathBuf,
    /// Starts and ends Cassandra: deploy/engines/cassandra/run.sh
    #[arg(long)]
    cql_script: PathBuf,
    /// Where Kafka listens
    #[arg(long, env = "KAFKA_PORT", default_value_t = 29_092)]
    kafka_port: u16,
    /// Where Cassandra listens
    #[arg(long, env = "CQL_PORT", default_value_t = 19_042)]
    cql_port: u16,
    /// How many faults
    #[arg(long, default_value_t = 50)]
    faults: u32,
    /// Time between two faults, once payments are decided again
    #[arg(long, default_value_t = 4.0)]
    seconds_between: f64,
    /// Pairs of payments in a second, each pair of the same two outputs, handed in at different edges
    #[arg(long, default_value_t = 40)]
    rate: u32,
    /// Chooses faults and victims; another one for each run unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Directory of keys, configuration and messages; made if need be
    #[arg(long)]
    data_dir: PathBuf,
    /// Write the results here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Inputs of each payment, of different owners: most payments reserve in several shards.
const INPUTS: u64 = 2;

pub(crate) async fn run(args: FaultsArgs) -> anyhow::Result<()> {
    ensure!((0.1..=600.0).contains(&args.seconds_between), "--seconds-between must be 0.1 to 600");
    ensure!((1..=10_000).contains(&args.rate), "--rate must be 1 to 10000");
    std::fs::create_dir_all(&args.data_dir)?;
    let id = run_id()?;
    let seed =
        args.seed.unwrap_or_else(|| id[8..16].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte)));
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let workload = Workload::new(id)?;
    let outputs = u64::from(args.rate) * u64::from(args.faults) * (whole_s(args.seconds_between) + FAULT_S);
    println!("signing {outputs} pairs of payments");
    let (issuances, pairs) = block_in_place(|| workload.contenders(outputs, INPUTS))?;
    let contest = Arc::new(Contest::new(pairs, 2));

    println!("starting the engines");
    let (to_kafka, to_cql) = (Link::to(args.kafka_port).await?, Link::to(args.cql_port).await?);
    // The broker tells its clients where to connect: to the link.
    let advertised = vec![("KAFKA_ADVERTISED", to_kafka.port.to_string())];
    let addresses = Addresses::here(to_kafka.port, to_cql.port);
    let engines = block_in_place(|| {
        anyhow::Ok(Engines {
            kafka: Engine::start("kafka", &args.kafka_script, &args.data_dir, advertised)?,
            cql: Engine::start("cassandra", &args.cql_script, &args.data_dir, Vec::new())?,
            to_kafka,
            to_cql,
        })
    })?;
    let began = Instant::now();
    let name = format!("faults{}", hex::encode(&id[8..16]));
    let shape = Shape { shards: SHARDS, partition_bits: 4 };
    let cluster =
        Arc::new(Cluster::make(&args.data_dir, &name, &addresses, &shape, &workload.issuer()).await?);
    let mut fleet = block_in_place(|| Fleet::start(&cluster))?;
    let shown = bar("creating outputs", u64::try_from(issuances.len())?);
    submit_all(&first(&fleet.urls()), issuances, 8, &shown).await?;
    shown.finish_and_clear();
    settle(&cluster).await?;

    let feeding = tokio::spawn(feed(contest.clone(), usize::try_from(outputs)?, args.rate));
    let loads = keep_loading(&contest, &fleet.urls());
    let shown = bar("faults", args.faults.into());
    let mut tallies: Vec<Tally> =
        Fault::ALL.iter().map(|fault| Tally { fault: fault.name(), ..Tally::default() }).collect();
    let mut deck = Deck::new();
    for _ in 0..args.faults {
        let fault = deck.draw(&mut dice)?;
        shown.set_message(fault.name());
        let fault_began = Instant::now();
        block_in_place(|| inject(fault, &mut dice, &engines, &mut fleet))?;
        recover(&contest, &mut fleet, fault).await?;
        rest(&mut fleet, args.seconds_between).await?;
        let stall = contest.longest_stall();
        shown.suspend(|| {
            println!(
                "{:<44} {:5.1} s, longest without a decision {:5.1} s",
                fault.name(),
                fault_began.elapsed().as_secs_f64(),
                stall.as_secs_f64()
            );
        });
        for tally in tallies.iter_mut().filter(|tally| tally.fault == fault.name()) {
            let (stall_s, before) = (stall.as_secs_f64(), f64::from(tally.times));
            tally.times += 1;
            tally.mean_stall_s = (tally.mean_stall_s * before + stall_s) / (before + 1.0);
            tally.longest_stall_s = tally.longest_stall_s.max(stall_s);
        }
        shown.inc(1);
    }
    shown.finish_and_clear();
    block_in_place(|| fleet.wake_all())?;

    feeding.abort();
    // Whether it was aborted or had ended counts for nothing.
    let _ = feeding.await;
    contest.complete();
    let fed = contest.outputs_put();
    println!("waiting for decisions of what is under way");
    calm(&contest, loads, &mut fleet).await?;
    let last_stall = contest.longest_stall();
    println!("asking everything again, at the other edge");
    contest.put_again(0..fed);
    let loads = keep_loading(&contest, &fleet.urls());
    calm(&contest, loads, &mut fleet).await?;
    let answers = contest.answers();
    settle(&cluster).await?;
    let shown = bar("looking payments up", u64::try_from(2 * fed)?);
    let found = look_up(&first(&fleet.urls()), &contest, fed, &shown).await?;
    println!("having proofs made");
    let proven = proofs::check(&first(&fleet.urls()), &contest.accepted(), &mut dice).await?;
    let ended = std::mem::take(&mut fleet.ended);
    block_in_place(|| fleet.stop())?;

    let (cpu, commit) = report::machine();
    let mut verdict = Verdict {
        scenario: "faults",
        seed,
        faults: args.faults,
        by_fault: tallies.into_iter().filter(|tally| tally.times > 0).collect(),
        last_stall_s: last_stall.as_secs_f64(),
        pairs: fed,
        answers,
        found,
        proven,
        decisions: decisions::Decisions::default(),
        tree_size: 0,
        live_outputs: 0,
        accepted_rows: 0,
        pending: 0,
        state_hashes: Default::default(),
        records: 0,
        compared_decisions: 0,
        rows: 0,
        ended,
        seconds: 0.0,
        cores: cores(),
        cpu,
        commit,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    };
    let remains = verdict::remains(&cluster.config, &args.data_dir, &name).await?;
    verdict.with(&remains);
    verdict.seconds = began.elapsed().as_secs_f64();
    verdict.print();
    if let Some(path) = &args.json {
        report::write(path, &verdict)?;
    }
    verdict.check(&remains)?;
    block_in_place(|| engines.kafka.wipe().and_then(|()| engines.cql.wipe()))
}

/// Waits until payments are decided again: the next fault is to meet a cluster that works.
async fn recover(contest: &Contest, fleet: &mut Fleet, fault: Fault) -> anyhow::Result<()> {
    let over = Instant::now();
    while !contest.goes_on_since(over) {
        ensure!(
            over.elapsed() < RECOVERY,
            "nothing was decided in {} s after the fault was over: {}",
            RECOVERY.as_secs(),
            fault.name()
        );
        rest(fleet, 0.25).await?;
    }
    Ok(())
}

/// Looks after the processes until the next fault is due.
async fn rest(fleet: &mut Fleet, seconds: f64) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    loop {
        block_in_place(|| fleet.look_after())?;
        if Instant::now() >= until {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Puts `rate` outputs' payments into the lines in a second.
async fn feed(contest: Arc<Contest>, outputs: usize, rate: u32) {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    for output in 0..outputs {
        pace.tick().await;
        contest.put(output..output + 1);
    }
    eprintln!("all outputs are paid from; faults go on without load");
}

/// One task for each edge, wherever it is at the moment.
fn keep_loading(contest: &Arc<Contest>, urls: &Urls) -> Vec<JoinHandle<()>> {
    (0..2)
        .map(|edge| {
            let (contest, urls) = (contest.clone(), urls.clone());
            tokio::spawn(async move {
                while !contest.is_complete() || contest.undecided() > 0 {
                    let url = urls.lock().unwrap_or_else(PoisonError::into_inner).get(edge).cloned();
                    load(url.unwrap_or_default(), contest.clone(), edge).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect()
}

/// Waits until everything in the lines is decided.
async fn calm(contest: &Contest, loads: Vec<JoinHandle<()>>, fleet: &mut Fleet) -> anyhow::Result<()> {
    let until = Instant::now() + CALM;
    while !loads.iter().all(JoinHandle::is_finished) {
        let (undecided, waited) = (contest.undecided(), CALM.as_secs());
        ensure!(
            Instant::now() < until,
            "{undecided} payments are not decided {waited} s after the last fault"
        );
        rest(fleet, 1.0).await?;
    }
    Ok(())
}

fn first(urls: &Urls) -> String {
    urls.lock().unwrap_or_else(PoisonError::into_inner).first().cloned().unwrap_or_default()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0.1 to 600
fn whole_s(seconds: f64) -> u64 {
    seconds.ceil() as u64
}
