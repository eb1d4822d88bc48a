//! The executor: one thread, tasks polled in an order that the seed chooses, time that passes when
//! nothing else can happen, and the end of tasks at any of their polls.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use eschaton_core::CoreError;
use eschaton_driver::WorkerError;
use eschaton_ports::LogError;

use crate::bug::Bug;
use crate::event::Event;
use crate::parts::{self, Part};
use crate::world::{Broken, Gate, Sim, broken};

/// A run that takes longer than this hangs.
const POLLS_MAX: u64 = 3_000_000;
/// Without faults everything is decided long before this much simulated time has passed.
const DRAIN_MS: u64 = 120_000;

type Work = Pin<Box<dyn Future<Output = Result<(), WorkerError>>>>;

struct Task {
    id: u64,
    /// None for who is outside: clients and the like.
    part: Option<Part>,
    work: Work,
    gate: Gate,
    version: u64,
}

/// Where a part of the node is.
#[derive(Default)]
struct Home {
    task: Option<u64>,
    open_at_ms: u64,
    /// It ended as it was asked to, and stays closed.
    closed: bool,
}

impl Home {
    fn is_away(&self) -> bool {
        self.task.is_none() && !self.closed
    }
}

/// All tasks.
pub(crate) struct Cluster {
    sim: Sim,
    tasks: Vec<Task>,
    homes: BTreeMap<Part, Home>,
    next_id: u64,
}

impl Cluster {
    pub(crate) fn new(sim: &Sim) -> Self {
        let shards = sim.world().profile.shards;
        let homes = (0..shards).map(Part::Shard).chain([Part::Prover]).map(|part| (part, Home::default()));
        Self { sim: sim.clone(), tasks: Vec::new(), homes: homes.collect(), next_id: 1 }
    }

    /// Starts a task of the outside.
    pub(crate) fn outside(&mut self, work: impl Future<Output = ()> + 'static) {
        self.start(
            None,
            Box::pin(async move {
                work.await;
                Ok(())
            }),
        );
    }

    fn start(&mut self, part: Option<Part>, work: Work) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.tasks.push(Task { id, part, work, gate: Gate { again: true, ..Gate::default() }, version: 0 });
        id
    }

    fn open(&mut self, part: Part) {
        let work = parts::work(&self.sim, part);
        let id = self.start(Some(part), work);
        self.sim.world().note(&Event::Spawn { task: id, part: format!("{part:?}") });
        if let Some(home) = self.homes.get_mut(&part) {
            home.task = Some(id);
        }
    }

    /// Goes on until `done`; false when a violation was found or nothing can happen any more.
    pub(crate) fn run(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            if !self.step() || self.sim.world().violation.is_some() {
                return false;
            }
        }
        true
    }

    /// Faults end; goes on until nothing is left to do. L4 when something stays.
    pub(crate) fn drain(&mut self) -> bool {
        let until_ms = {
            let mut world = self.sim.world();
            world.faults = false;
            world.now_ms + DRAIN_MS
        };
        let sim = self.sim.clone();
        let late = || sim.world().now_ms > until_ms;
        let went = self.run(|cluster| cluster.is_whole() && sim.world().is_settled() || late());
        let mut world = sim.world();
        if went && world.now_ms > until_ms {
            let left = world.audit.left(&world.log);
            let verdict = broken("L4", format!("without faults this is left: {left:?}"));
            world.check(verdict);
        }
        went && world.violation.is_none()
    }

    /// True when only endless tasks of the outside are left.
    pub(crate) fn outsiders(&self) -> usize {
        self.tasks.iter().filter(|task| task.part.is_none()).count()
    }

    /// True when every part is open or opening.
    fn is_whole(&self) -> bool {
        self.homes.values().all(|home| home.task.is_some())
    }

    /// Ends every task; a worker that fails meanwhile opens once more, so that its rows are written.
    pub(crate) fn close(&mut self) -> bool {
        {
            let mut world = self.sim.world();
            world.stopping = true;
            world.wake();
        }
        let went = self.run(|cluster| cluster.tasks.is_empty() && !cluster.homes.values().any(Home::is_away));
        self.homes.values_mut().for_each(|home| home.closed = false);
        went
    }

    fn step(&mut self) -> bool {
        let (now_ms, faults, version) = {
            let mut world = self.sim.world();
            world.polls += 1;
            if world.dice.percent(12) {
                world.now_ms += 1;
            }
            world.time_out();
            world.land();
            if world.polls > POLLS_MAX {
                let verdict = broken("L4", "the run does not come to an end");
                world.check(verdict);
                return false;
            }
            (world.now_ms, world.faults, world.version)
        };
        if faults {
            self.misfortune();
        }
        let due: Vec<_> = self
            .homes
            .iter()
            .filter(|(_, home)| home.is_away() && home.open_at_ms <= now_ms)
            .map(|(part, _)| *part)
            .collect();
        due.into_iter().for_each(|part| self.open(part));
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|place| {
                self.tasks.get(*place).is_some_and(|task| {
                    let Gate { again, until_ms, event } = task.gate;
                    again || until_ms.is_some_and(|at| at <= now_ms) || (event && task.version != version)
                })
            })
            .collect();
        if ready.is_empty() {
            return self.advance();
        }
        let place = self.sim.world().dice.index(ready.len());
        if let Some(place) = ready.get(place) {
            self.poll(*place);
        }
        true
    }

    /// Nothing can happen now: time passes to when something can.
    fn advance(&mut self) -> bool {
        let sleeping = self.tasks.iter().filter_map(|task| task.gate.until_ms);
        let away = self.homes.values().filter(|home| home.is_away()).map(|home| home.open_at_ms);
        let mut world = self.sim.world();
        let next = sleeping.chain(away).chain(world.next_time_out()).chain(world.store.next_landing()).min();
        match next {
            Some(next) => {
                world.now_ms = world.now_ms.max(next);
                true
            }
            None => {
                let verdict = broken("L4", "no task can go on");
                world.check(verdict);
                false
            }
        }
    }

    fn poll(&mut self, place: usize) {
        let Some(task) = self.tasks.get_mut(place) else { return };
        {
            let mut world = self.sim.world();
            world.actor = task.id;
            world.gate = Gate::default();
            task.version = world.version;
            if task.part.is_some() && world.fault(|faults| faults.crash) {
                world.note(&Event::Crash { task: task.id });
                drop(world);
                self.crash(place);
                return;
            }
        }
        let outcome = task.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match outcome {
            Poll::Pending => task.gate = self.sim.world().gate,
            Poll::Ready(result) => self.ended(place, result),
        }
    }

    fn crash(&mut self, place: usize) {
        let task = self.tasks.swap_remove(place);
        self.leave(task.part, task.id, false);
    }

    /// If the task is its part's newest, the part opens again some time later.
    fn leave(&mut self, part: Option<Part>, id: u64, closed: bool) {
        let Some(home) = part.and_then(|part| self.homes.get_mut(&part)) else { return };
        if home.task == Some(id) {
            let mut world = self.sim.world();
            let away = if world.faults { world.profile.faults.away_ms } else { 0 };
            let away = world.dice.below(away + 1);
            *home = Home { task: None, open_at_ms: world.now_ms + away, closed };
        }
    }

    fn ended(&mut self, place: usize, result: Result<(), WorkerError>) {
        let Task { id, part, work, .. } = self.tasks.swap_remove(place);
        drop(work);
        let closed = result.is_ok();
        let fenced = matches!(result, Err(WorkerError::Log(LogError::Fenced { .. })));
        let passing = match &result {
            Ok(()) => true,
            Err(WorkerError::Log(LogError::Fenced { .. })) => true,
            Err(error) => error.is_passing(),
        };
        {
            let mut world = self.sim.world();
            let how = result.as_ref().map_or_else(ToString::to_string, |()| "done".to_owned());
            world.note(&Event::End { task: id, how });
            if let (false, Err(error)) = (passing, result) {
                world.check(Err(verdict(&error)));
            }
        }
        self.leave(part, id, closed);
        if let Some(part) = part.filter(|_| fenced)
            && self.sim.world().fault(|faults| faults.rival)
        {
            // It still believes that the partition is its own.
            self.sim.world().note(&Event::Rival { part: format!("{part:?}") });
            self.open(part);
        }
    }

    /// What happens to the machine and between its parts.
    fn misfortune(&mut self) {
        let (machine, part) = {
            let mut world = self.sim.world();
            if world.fault(|faults| faults.duplicate) {
                world.duplicate();
            }
            if world.fault(|_| 20_000) {
                world.sync_some();
            }
            if world.bug == Some(Bug::MissingFsync) && world.fault(|_| 3_000) {
                world.log.sync();
            }
            let taken = world.fault(|faults| faults.takeover).then(|| world.dice.index(self.homes.len()));
            (world.fault(|faults| faults.machine_crash), taken)
        };
        if let Some(part) = part.and_then(|place| self.homes.keys().nth(place).copied()) {
            // The old worker knows nothing of it and goes on.
            self.sim.world().note(&Event::Takeover { part: format!("{part:?}") });
            self.open(part);
        }
        if machine {
            while let Some(place) = self.tasks.iter().position(|task| task.part.is_some()) {
                self.crash(place);
            }
            let mut world = self.sim.world();
            let batches_lost = world.lose_unsynced();
            if world.bug == Some(Bug::MissingFsync) {
                world.log.lose();
            }
            world.note(&Event::MachineCrash { batches_lost });
        }
    }

    /// Runs one future by itself, without faults; none when it cannot go on.
    pub(crate) fn complete<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            self.sim.world().gate = Gate::default();
            if let Poll::Ready(value) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Some(value);
            }
            let mut world = self.sim.world();
            match world.gate {
                Gate { again: true, .. } => {}
                Gate { until_ms: Some(at), .. } => world.now_ms = world.now_ms.max(at),
                _ => return None,
            }
        }
    }
}

/// The invariant that a worker's own error names.
pub(crate) fn verdict(error: &WorkerError) -> Broken {
    let invariant = match error {
        WorkerError::Core(CoreError::Invariant { id, .. }) => id,
        WorkerError::Log(_) | WorkerError::Store(_) => "port",
        _ => "state",
    };
    Broken { invariant, detail: format!("a worker stopped: {error}") }
}
