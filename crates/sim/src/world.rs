use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::task::{Context, Poll};

use conflict_resolver::ShardGauges;
use eschaton_driver::Seen;
use parking_lot::{Mutex, MutexGuard};

use crate::audit::Audit;
use crate::bug::Bug;
use crate::dice::Dice;
use crate::event::Event;
use crate::log::LogState;
use crate::profile::{Faults, Profile};
use crate::store::StoreState;

/// Where the simulated calendar begins.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A named invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {invariant} broken at poll {poll}: {detail}")]
pub struct Violation {
    /// Run this again to see it again.
    pub seed: u64,
    /// Name, as in ARCHITECTURE.md; or `state` (the store is not what the log says), `port` (a worker
    /// broke a port's rules), `determinism`, `panic`.
    pub invariant: &'static str,
    /// What was found.
    pub detail: String,
    /// How many polls had been made.
    pub poll: u64,
}

/// What a checker found; the world adds seed and time.
pub(crate) struct Broken {
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

pub(crate) fn broken<T>(invariant: &'static str, detail: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { invariant, detail: detail.into() })
}

/// When a pending task is worth another poll: what its leaf futures said, taken together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gate {
    pub(crate) again: bool,
    pub(crate) until_ms: Option<u64>,
    pub(crate) event: bool,
}

/// Everything that exists outside the workers.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) bug: Option<Bug>,
    pub(crate) dice: Dice,
    pub(crate) now_ms: u64,
    pub(crate) polls: u64,
    /// Grows when something happens that a waiting task may wait for.
    pub(crate) version: u64,
    pub(crate) gate: Gate,
    /// The task that is being polled.
    pub(crate) actor: u64,
    /// False at quiet points.
    pub(crate) faults: bool,
    pub(crate) stopping: bool,
    /// Submissions on their way to the log.
    pub(crate) submitting: usize,
    pub(crate) log: LogState,
    pub(crate) store: StoreState,
    pub(crate) audit: Audit,
    /// How far clients have read each partition's decisions, between two rounds.
    pub(crate) tails: BTreeMap<u32, (u64, Seen)>,
    /// What each shard's workers have pending, those too that do not know yet that they were taken over.
    pub(crate) gauges: BTreeMap<u32, Vec<Arc<[ShardGauges]>>>,
    pub(crate) violation: Option<Violation>,
    trace: DefaultHasher,
    print: bool,
}

impl World {
    fn new(seed: u64, profile: Profile, dice: Dice, bug: Option<Bug>, print: bool) -> Self {
        Self {
            seed,
            audit: Audit::new(profile.shards),
            tails: BTreeMap::new(),
            gauges: BTreeMap::new(),
            profile,
            bug,
            dice,
            now_ms: BEGIN_MS,
            polls: 0,
            version: 0,
            gate: Gate::default(),
            actor: 0,
            faults: true,
            stopping: false,
            submitting: 0,
            log: LogState::default(),
            store: StoreState::default(),
            violation: None,
            trace: DefaultHasher::new(),
            print,
        }
    }

    /// Enters an event in the trace.
    pub(crate) fn note(&mut self, event: &Event) {
        (self.polls, self.now_ms, self.actor, event).hash(&mut self.trace);
        if let Some(what) = event.counted() {
            self.audit.saw(what);
        }
        if self.print {
            println!("{:>8} {:>7} ms  task {:<3} {event:?}", self.polls, self.now_ms - BEGIN_MS, self.actor);
        }
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.trace.finish()
    }

    /// A fault of a port happens now.
    pub(crate) fn fault(&mut self, parts_per_million: fn(&Faults) -> u64) -> bool {
        self.faults && self.dice.chance(parts_per_million(&self.profile.faults))
    }

    /// Keeps the first violation; the run ends with it.
    pub(crate) fn check(&mut self, verdict: Result<(), Broken>) {
        if let Err(Broken { invariant, detail }) = verdict
            && self.violation.is_none()
        {
            self.violation = Some(Violation { seed: self.seed, invariant, detail, poll: self.polls });
        }
    }

    /// True when nothing is left to do: all consumed, decided and in the trees.
    pub(crate) fn is_settled(&self) -> bool {
        self.submitting == 0 && self.audit.left(&self.log).is_nothing()
    }

    /// Lets waiting tasks look again.
    pub(crate) fn wake(&mut self) {
        self.version += 1;
    }
}

/// The world, as its ports and tasks hold it. One thread; the lock is never waited for.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<World>>);

impl Sim {
    pub(crate) fn new(seed: u64, profile: Profile, dice: Dice, bug: Option<Bug>, print: bool) -> Self {
        Self(Arc::new(Mutex::new(World::new(seed, profile, dice, bug, print))))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock()
    }

    /// An operation on its way, or its answer: some polls, and seldom a long time.
    pub(crate) async fn latency(&self) {
        let (mut polls, until_ms) = {
            let mut world = self.world();
            let most = world.profile.faults.polls_max;
            let polls = if most == 0 { 0 } else { world.dice.below(most + 1) };
            let late = if world.fault(|faults| faults.slow) { world.dice.between(5, 1_500) } else { 0 };
            (polls, world.now_ms + late)
        };
        std::future::poll_fn(move |_: &mut Context<'_>| {
            let mut world = self.world();
            if world.now_ms < until_ms {
                world.gate.until_ms = Some(world.gate.until_ms.map_or(until_ms, |other| other.min(until_ms)));
                return Poll::Pending;
            }
            if polls > 0 {
                polls -= 1;
                world.gate.again = true;
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    pub(crate) async fn sleep(&self, ms: u64) {
        let until_ms = self.world().now_ms.saturating_add(ms);
        std::future::poll_fn(|_| {
            let mut world = self.world();
            if world.now_ms >= until_ms {
                return Poll::Ready(());
            }
            world.gate.until_ms = Some(world.gate.until_ms.map_or(until_ms, |other| other.min(until_ms)));
            Poll::Pending
        })
        .await;
    }

    /// Ready once `condition` holds; looked at whenever the world wakes its tasks.
    pub(crate) async fn until(&self, condition: impl Fn(&World) -> bool) {
        std::future::poll_fn(|_| {
            let mut world = self.world();
            if condition(&world) {
                return Poll::Ready(());
            }
            world.gate.event = true;
            Poll::Pending
        })
        .await;
    }
}
