use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::audit::Coverage;
use crate::bug::Bug;
use crate::clients::{client, tail, ticker};
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::event::Event;
use crate::profile::Profile;
use crate::quiet;
use crate::workload::Workload;
use crate::world::{Sim, Violation, broken};

/// What a run without violation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of everything that happened, in order.
    pub trace: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Different transactions that were submitted.
    pub transactions: usize,
    /// How many of them were accepted.
    pub accepted: usize,
    /// Checkpoints.
    pub checkpoints: u64,
    /// How often each kind of thing happened.
    pub coverage: Coverage,
}

/// Runs one seed. `print` shows every event.
///
/// # Errors
/// The first violation of an invariant.
pub fn run(seed: u64, bug: Option<Bug>, print: bool) -> Result<Outcome, Violation> {
    let mut dice = Dice::new(seed);
    // Of its own: what came to be paced later shifts no other throw.
    let profile = Profile::from(&mut dice).paced(&mut Dice::new(!seed));
    let workload = Workload::new(dice.fork(), &profile);
    if print {
        println!("{profile:#?}");
    }
    let sim = Sim::new(seed, profile, dice, bug, print);
    let outcome = catch_unwind(AssertUnwindSafe(|| rounds(&sim, workload)));
    let mut world = sim.world();
    if let Err(panic) = &outcome {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        let verdict = broken("panic", said.unwrap_or_default());
        world.check(verdict);
    }
    match (world.violation.clone(), outcome) {
        (None, Ok(outcome)) => Ok(outcome),
        (Some(violation), _) => Err(violation),
        (None, Err(_)) => {
            Err(Violation { seed, invariant: "panic", detail: String::new(), poll: world.polls })
        }
    }
}

/// Runs one seed twice and compares the traces.
///
/// # Errors
/// The first violation; `determinism` when the two runs differ.
pub fn run_twice(seed: u64, bug: Option<Bug>) -> Result<Outcome, Violation> {
    let (first, second) = (run(seed, bug, false)?, run(seed, bug, false)?);
    if first == second {
        return Ok(first);
    }
    let detail = format!("two runs differ: {first:?} and {second:?}");
    Err(Violation { seed, invariant: "determinism", detail, poll: first.polls })
}

fn rounds(sim: &Sim, mut workload: Workload) -> Outcome {
    let mut cluster = Cluster::new(sim);
    let mut transactions = 0;
    let rounds = sim.world().profile.rounds;
    for round in 0..rounds {
        let wishes = workload.round(sim.world().now_ms);
        transactions += wishes.len();
        let (clients, shards) = {
            let mut world = sim.world();
            (world.faults, world.stopping) = (true, false);
            wishes.iter().for_each(|wish| world.audit.learn(&wish.tx));
            (world.profile.clients, world.profile.shards)
        };
        (0..shards).for_each(|shard| cluster.outside(tail(sim.clone(), shard)));
        cluster.outside(ticker(sim.clone()));
        let endless = cluster.outsiders();
        let mut of_client: Vec<Vec<_>> = (0..clients).map(|_| Vec::new()).collect();
        for wish in wishes {
            if let Some(wishes) = usize::try_from(wish.client).ok().and_then(|at| of_client.get_mut(at)) {
                wishes.push(wish);
            }
        }
        of_client.into_iter().for_each(|wishes| cluster.outside(client(sim.clone(), wishes)));
        let went =
            cluster.run(|cluster| cluster.outsiders() == endless) && cluster.drain() && cluster.close();
        if !went {
            break;
        }
        sim.world().note(&Event::Quiet { round });
        let verdict = quiet::check(sim, &cluster);
        sim.world().check(verdict);
    }
    let world = sim.world();
    Outcome {
        trace: world.trace_hash(),
        polls: world.polls,
        transactions,
        accepted: world.audit.accepted.len(),
        checkpoints: world.audit.trees.number().map_or(0, |number| number + 1),
        coverage: world.audit.coverage.clone(),
    }
}
