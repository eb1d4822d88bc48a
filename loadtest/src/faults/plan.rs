//! Faults, and who suffers them.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::engines::Engine;
use super::fleet::{Fleet, Role};
use super::link::Link;
use crate::contest::Dice;

/// Who is stopped for longer is given up by the brokers (`session_timeout_ms`, 8 s).
const SLEEP_MS: (u64, u64) = (12_000, 20_000);
const BROKER_PAUSE_MS: (u64, u64) = (5_000, 15_000);
const DATABASE_PAUSE_MS: (u64, u64) = (3_000, 8_000);
/// Answers are kept for so long before an engine dies: what workers have begun by then, they cannot end.
const UNDER_WAY_MS: (u64, u64) = (300, 900);
/// Requests of the database have three seconds (`request_timeout_ms`): what is written meanwhile counts as timed out.
const DATABASE_MUTE_MS: (u64, u64) = (4_000, 8_000);
const BROKER_MUTE_MS: (u64, u64) = (2_000, 12_000);
/// Connections are cut so often in a row, with pauses.
const CUTS: u64 = 4;
const CUT_PAUSE_MS: (u64, u64) = (1, 400);

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill(Role),
    Sleep(Role),
    BrokerKill,
    BrokerPause,
    BrokerRestart,
    BrokerCut,
    BrokerMute,
    DatabaseKill,
    DatabasePause,
    DatabaseCut,
    DatabaseMute,
}

impl Fault {
    pub(crate) const ALL: [Fault; 15] = [
        Fault::Kill(Role::Edge),
        Fault::Kill(Role::Resolver),
        Fault::Kill(Role::Prover),
        Fault::Sleep(Role::Edge),
        Fault::Sleep(Role::Resolver),
        Fault::Sleep(Role::Prover),
        Fault::BrokerKill,
        Fault::BrokerPause,
        Fault::BrokerRestart,
        Fault::BrokerCut,
        Fault::BrokerMute,
        Fault::DatabaseKill,
        Fault::DatabasePause,
        Fault::DatabaseCut,
        Fault::DatabaseMute,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Kill(Role::Edge) => "kill -9 of an edge",
            Fault::Kill(Role::Resolver) => "kill -9 of a resolver",
            Fault::Kill(Role::Prover) => "kill -9 of a prover",
            Fault::Sleep(Role::Edge) => "an edge stopped beyond its session",
            Fault::Sleep(Role::Resolver) => "a resolver stopped beyond its session",
            Fault::Sleep(Role::Prover) => "a prover stopped beyond its session",
            Fault::BrokerKill => "kill -9 of the broker in mid-transaction",
            Fault::BrokerPause => "the broker stopped for a while",
            Fault::BrokerRestart => "the broker restarted in mid-transaction",
            Fault::BrokerCut => "connections to the broker cut",
            Fault::BrokerMute => "the broker's answers lost",
            Fault::DatabaseKill => "kill -9 of the database",
            Fault::DatabasePause => "the database stopped for a while",
            Fault::DatabaseCut => "connections to the database cut",
            Fault::DatabaseMute => "database time-outs that did apply",
        }
    }
}

/// The next one. Every kind comes once before any comes again.
pub(crate) struct Deck {
    left: Vec<Fault>,
}

impl Deck {
    pub(crate) fn new() -> Self {
        Self { left: Vec::new() }
    }

    pub(crate) fn draw(&mut self, dice: &mut Dice) -> anyhow::Result<Fault> {
        if self.left.is_empty() {
            self.left = Fault::ALL.to_vec();
        }
        let chosen = usize::try_from(dice.below(u64::try_from(self.left.len())?))?;
        Ok(self.left.swap_remove(chosen))
    }
}

/// The two engines, and the ways to them.
pub(crate) struct Engines {
    pub(crate) kafka: Engine,
    pub(crate) cql: Engine,
    pub(crate) to_kafka: Link,
    pub(crate) to_cql: Link,
}

/// Makes a fault happen. Engines are well again when this returns; a process that was stopped sleeps on.
pub(crate) fn inject(
    fault: Fault,
    dice: &mut Dice,
    engines: &Engines,
    fleet: &mut Fleet,
) -> anyhow::Result<()> {
    let mut within = |(least, most): (u64, u64)| Duration::from_millis(least + dice.below(most - least));
    let done = match fault {
        Fault::BrokerKill => {
            let under_way = within(UNDER_WAY_MS);
            in_mid_request(&engines.to_kafka, under_way, || kill(&engines.kafka))
        }
        Fault::BrokerRestart => {
            let under_way = within(UNDER_WAY_MS);
            let restart = || engines.kafka.call("stop").and_then(|()| engines.kafka.call("start"));
            in_mid_request(&engines.to_kafka, under_way, restart)
        }
        Fault::BrokerPause => pause(&engines.kafka, within(BROKER_PAUSE_MS)),
        Fault::BrokerMute => in_mid_request(&engines.to_kafka, within(BROKER_MUTE_MS), || Ok(())),
        Fault::BrokerCut => cut(&engines.to_kafka, within),
        Fault::DatabaseKill => kill(&engines.cql),
        Fault::DatabasePause => pause(&engines.cql, within(DATABASE_PAUSE_MS)),
        Fault::DatabaseMute => in_mid_request(&engines.to_cql, within(DATABASE_MUTE_MS), || Ok(())),
        Fault::DatabaseCut => cut(&engines.to_cql, within),
        Fault::Kill(role) => {
            let victim = fleet.choose(role, dice)?;
            fleet.kill_and_start(victim)
        }
        Fault::Sleep(role) => {
            let wake_at = Instant::now() + within(SLEEP_MS);
            let victim = fleet.choose(role, dice)?;
            fleet.signal(victim, Signal::STOP)?;
            fleet.asleep.push((wake_at, victim));
            Ok(())
        }
    };
    done.with_context(|| format!("fault: {}", fault.name()))
}

/// Keeps the engine's answers for a time, then does what is to be done, and loses them.
fn in_mid_request(
    link: &Link,
    time: Duration,
    then: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    link.mute();
    std::thread::sleep(time);
    let done = then();
    link.cut();
    done
}

fn cut(link: &Link, mut within: impl FnMut((u64, u64)) -> Duration) -> anyhow::Result<()> {
    for _ in 0..CUTS {
        link.cut();
        std::thread::sleep(within(CUT_PAUSE_MS));
    }
    Ok(())
}

fn kill(engine: &Engine) -> anyhow::Result<()> {
    engine.call("kill9")?;
    engine.call("start")
}

fn pause(engine: &Engine, time: Duration) -> anyhow::Result<()> {
    engine.call("pause")?;
    std::thread::sleep(time);
    engine.call("resume")
}
