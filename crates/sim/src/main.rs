//! Runs seeds and stops at the first that breaks an invariant.

#![allow(
    clippy::disallowed_methods,
    reason = "shows how long a campaign takes; the runs themselves have no clock"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use eschaton_sim::{Bug, Coverage, run, run_twice};

/// Every so many seeds one is run twice, to see that a seed decides everything.
const TWICE_EVERY: u64 = 16;

/// Deterministic simulation of the ledger: cores, driver and prover under faults, checked.
#[derive(Parser)]
#[command(name = "eschaton-sim")]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Shows every event of the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Goes on after a violation and lists them all.
    #[arg(long)]
    all: bool,
    /// Plants a bug that must be found; `list` shows their names.
    #[arg(long)]
    bug: Option<String>,
}

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> anyhow::Result<()> {
    let options = Options::parse();
    let bug = match options.bug.as_deref() {
        None => None,
        Some("list") => {
            Bug::ALL.iter().for_each(|(name, _)| println!("{name}"));
            return Ok(());
        }
        Some(name) => {
            Some(Bug::named(name).with_context(|| format!("no bug is called {name}; see --bug list"))?)
        }
    };
    if let Some(seed) = options.seed {
        let outcome = run(seed, bug, options.trace)?;
        println!("seed {seed}: {outcome:?}");
        return Ok(());
    }
    campaign(&options, bug)
}

fn campaign(options: &Options, bug: Option<Bug>) -> anyhow::Result<()> {
    let (from, seeds) = (options.from, options.seeds);
    let began = Instant::now();
    let mut shown = began;
    let mut violations = 0_u64;
    let (mut transactions, mut accepted, mut checkpoints) = (0, 0, 0);
    let mut coverage = Coverage::new();
    for seed in from..from.saturating_add(seeds) {
        let outcome = if seed % TWICE_EVERY == 0 { run_twice(seed, bug) } else { run(seed, bug, false) };
        match outcome {
            Ok(outcome) => {
                transactions += outcome.transactions;
                accepted += outcome.accepted;
                checkpoints += outcome.checkpoints;
                for (what, times) in outcome.coverage {
                    *coverage.entry(what).or_default() += times;
                }
            }
            Err(violation) if options.all => {
                violations += 1;
                println!("{violation}");
            }
            Err(violation) => bail!("{violation}\nsee it again: eschaton-sim --seed {seed} --trace"),
        }
        let done = seed - from + 1;
        if shown.elapsed() >= Duration::from_secs(1) || done == seeds {
            shown = Instant::now();
            let per_second = u128::from(done) * 1_000 / began.elapsed().as_millis().max(1);
            println!(
                "{done}/{seeds} seeds, {per_second} per second; {transactions} transactions, \
                 {accepted} accepted, {checkpoints} checkpoints"
            );
        }
    }
    for (what, times) in coverage {
        println!("{times:>10}  {what}");
    }
    if violations == 0 { Ok(()) } else { bail!("{violations} of {seeds} seeds break an invariant") }
}
