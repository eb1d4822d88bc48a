//! The cluster's processes: two of each kind, so that one is always left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::contest::Dice;
use crate::node::Running;

/// Processes of each kind.
const EACH: usize = 2;
/// A process that does not start is started again for so long: an engine may be away.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Edge,
    Resolver,
    Prover,
}

impl Role {
    const ALL: [Role; 3] = [Role::Edge, Role::Resolver, Role::Prover];

    fn services(self) -> &'static str {
        match self {
            Role::Edge => "gossip-ingress,query",
            Role::Resolver => "conflict-resolver",
            Role::Prover => "merkle-prover",
        }
    }
}

struct Member {
    role: Role,
    process: Option<Running>,
}

/// Where edges are reached at the moment.
pub(crate) type Urls = Arc<Mutex<Vec<String>>>;

pub(crate) struct Fleet {
    cluster: Arc<Cluster>,
    /// Edges first.
    members: Vec<Member>,
    urls: Urls,
    /// When to wake whom.
    pub(crate) asleep: Vec<(Instant, usize)>,
    /// Processes that ended although nobody ended them.
    pub(crate) ended: Vec<String>,
}

impl Fleet {
    pub(crate) fn start(cluster: &Arc<Cluster>) -> anyhow::Result<Self> {
        let members = Role::ALL
            .into_iter()
            .flat_map(|role| (0..EACH).map(move |_| role))
            .map(|role| Ok(Member { role, process: Some(cluster.start(role.services())?) }))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let urls = members.iter().take(EACH).filter_map(|member| member.process.as_ref());
        let urls = Arc::new(Mutex::new(urls.map(|process| process.url.clone()).collect()));
        Ok(Self { cluster: cluster.clone(), members, urls, asleep: Vec::new(), ended: Vec::new() })
    }

    pub(crate) fn urls(&self) -> Urls {
        self.urls.clone()
    }

    /// One of this kind that is awake; the first to be woken if none is.
    pub(crate) fn choose(&mut self, role: Role, dice: &mut Dice) -> anyhow::Result<usize> {
        let of_role: Vec<usize> =
            (0..self.members.len()).filter(|member| self.members[*member].role == role).collect();
        let sleeps = |member: &usize| self.asleep.iter().any(|(_, sleeper)| sleeper == member);
        let awake: Vec<usize> = of_role.iter().copied().filter(|member| !sleeps(member)).collect();
        let among = if awake.is_empty() { of_role } else { awake };
        let victim = among[usize::try_from(dice.below(u64::try_from(among.len())?))?];
        self.wake(victim)?;
        Ok(victim)
    }

    pub(crate) fn signal(&self, member: usize, signal: Signal) -> anyhow::Result<()> {
        self.members[member].process.as_ref().context("the process is gone")?.signal(signal)
    }

    pub(crate) fn kill_and_start(&mut self, member: usize) -> anyhow::Result<()> {
        if let Some(process) = self.members[member].process.take() {
            process.kill()?;
        }
        self.start_again(member)
    }

    fn start_again(&mut self, member: usize) -> anyhow::Result<()> {
        let services = self.members[member].role.services();
        let until = Instant::now() + PATIENCE;
        let process = loop {
            match self.cluster.start(services) {
                Ok(process) => break process,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(500)),
            }
        };
        if let Some(url) = self.urls.lock().unwrap_or_else(PoisonError::into_inner).get_mut(member) {
            url.clone_from(&process.url);
        }
        self.members[member].process = Some(process);
        Ok(())
    }

    /// Wakes who has slept long enough and starts again who ended, as a supervisor would.
    pub(crate) fn look_after(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let due: Vec<usize> = self.asleep.iter().filter(|(at, _)| *at <= now).map(|(_, who)| *who).collect();
        for member in due {
            self.wake(member)?;
        }
        for member in 0..self.members.len() {
            let Some(process) = &mut self.members[member].process else { continue };
            if let Some(status) = process.ended()? {
                self.ended.push(format!("{}: {status}", self.members[member].role.services()));
                self.members[member].process = None;
                self.start_again(member)?;
            }
        }
        Ok(())
    }

    fn wake(&mut self, member: usize) -> anyhow::Result<()> {
        let before = self.asleep.len();
        self.asleep.retain(|(_, sleeper)| *sleeper != member);
        if self.asleep.len() < before {
            self.signal(member, Signal::CONT)?;
        }
        Ok(())
    }

    pub(crate) fn wake_all(&mut self) -> anyhow::Result<()> {
        for (at, _) in &mut self.asleep {
            *at = Instant::now();
        }
        self.look_after()
    }

    /// Drains and ends all, edges first.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        for member in self.members {
            if let Some(process) = member.process {
                process.stop().with_context(|| format!("stopping {}", member.role.services()))?;
            }
        }
        Ok(())
    }
}
