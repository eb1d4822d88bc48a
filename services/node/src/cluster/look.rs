//! A cluster at one moment, as its engines and its processes tell.

use std::collections::BTreeSet;
use std::time::Duration;

use conflict_resolver::GROUP as RESOLVERS;
use eschaton_ports::{Clock, Log, Owner, Store, Topic, TopicPartition, Watermark};
use futures::future::join_all;
use merkle_prover::worker::GROUP as PROVERS;
use serde::Serialize;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::caught_up::consumed;
use crate::server::READY;
use crate::services::Service;

/// A shard that has more undone, or a prover that is further behind, is told of as a problem.
const LAG_MAX: u64 = 10_000;
/// So is a shard whose oldest undone record is older, in seconds.
const BEHIND_S_MAX: u64 = 10;
/// A process that takes longer does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// One shard of the ledger. What is not known, because an engine does not answer, is absent.
#[derive(Clone, Debug, Serialize)]
pub struct ShardState {
    /// Which.
    pub shard: u32,
    /// The process that works on it, `host:port`.
    pub owner: Option<String>,
    /// The next record to consume, as the store knows it.
    pub consumed: Option<u64>,
    /// The ledger's end.
    pub end: Option<u64>,
    /// Offsets that are not consumed.
    pub lag: Option<u64>,
    /// Age of the oldest record that is not consumed, in seconds; 0 when all are.
    pub behind_s: Option<u64>,
    /// Offset in `changes` up to which rows are in the store.
    pub rows_up_to: Option<u64>,
    /// The end of `changes`: where the last commit left it.
    pub committed_up_to: Option<u64>,
    /// Log time of the last commit, ms since 1970; absent before the first.
    pub last_commit_ms: Option<u64>,
}

/// The newest checkpoint whose rows are in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointState {
    /// Its number.
    pub number: u64,
    /// Transactions in it.
    pub size: u64,
    /// Its log time, ms since 1970.
    pub time_ms: u64,
    /// Decisions after it, rejections among them, which need no checkpoint.
    pub decisions_after: Option<u64>,
}

/// A cluster at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterState {
    /// Processes that resolve conflicts and their shards.
    pub resolvers: Vec<Member>,
    /// Processes that keep the trees; one of them has partition 0.
    pub provers: Vec<Member>,
    /// Processes that take transactions, `host:port` of their gRPC.
    pub ingresses: Vec<String>,
    /// Processes that answer questions.
    pub queries: Vec<String>,
    /// Every shard.
    pub shards: Vec<ShardState>,
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointState>,
    /// What is wrong, in words; nothing when all is well.
    pub problems: Vec<String>,
}

/// A process of a group.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// `host:port` of its gRPC.
    pub name: String,
    /// What it has.
    pub partitions: Vec<u32>,
}

impl From<Owner> for Member {
    fn from(Owner { name, partitions }: Owner) -> Self {
        Self { name, partitions }
    }
}

/// What answers.
pub(super) struct Engines<'a> {
    pub(super) log: Option<&'a dyn Log>,
    pub(super) store: Option<&'a dyn Store>,
    pub(super) clock: &'a dyn Clock,
}

/// Looks at all of it; `problems` are those that are known already.
pub(super) async fn cluster(shards: u32, engines: Engines<'_>, problems: Vec<String>) -> ClusterState {
    let mut look = Look { engines, problems };
    let resolvers = look.members(RESOLVERS).await;
    let provers = look.members(PROVERS).await;
    let mut states = Vec::new();
    for shard in 0..shards {
        states.push(look.shard(shard, resolvers.as_deref()).await);
    }
    if let Some(provers) = &provers
        && !provers.iter().any(|member| member.partitions.contains(&0))
    {
        look.problems.push("no prover is at work; start service merkle-prover".to_owned());
    }
    let ingresses = look.present(Service::GossipIngress).await;
    let queries = look.present(Service::Query).await;
    let checkpoint = look.checkpoint(shards).await;
    let (resolvers, provers) = (resolvers.unwrap_or_default(), provers.unwrap_or_default());
    let workers = resolvers.iter().chain(&provers).map(|member| &member.name);
    let names = workers.chain(&ingresses).chain(&queries).map(String::as_str).collect();
    look.ask(names).await;
    let problems = look.problems;
    ClusterState { resolvers, provers, ingresses, queries, shards: states, checkpoint, problems }
}

struct Look<'a> {
    engines: Engines<'a>,
    problems: Vec<String>,
}

impl Look<'_> {
    /// What an engine answered, or one problem for all its failures of a kind.
    fn heard<T>(&mut self, what: &str, answer: Result<T, impl std::fmt::Display>) -> Option<T> {
        let problem = match answer {
            Ok(heard) => return Some(heard),
            Err(error) => format!("{what} is not known: {error}"),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        None
    }

    async fn members(&mut self, group: &str) -> Option<Vec<Member>> {
        let owners = self.engines.log?.owners(group).await;
        let owners = self.heard(&format!("who is at work as {group}"), owners)?;
        Some(owners.into_iter().map(Member::from).collect())
    }

    /// Processes that only show themselves; what the group gives them means nothing.
    async fn present(&mut self, service: Service) -> Vec<String> {
        let Some(members) = self.members(service.name()).await else { return Vec::new() };
        if members.is_empty() {
            let name = service.name();
            self.problems.push(format!("no process shows itself as {name}; start service {name}"));
        }
        members.into_iter().map(|member| member.name).collect()
    }

    async fn mark(&mut self, worker: &str, what: &str) -> Option<Watermark> {
        let mark = self.engines.store?.watermark(worker).await;
        Some(self.heard(what, mark)?.unwrap_or_default())
    }

    async fn end(&mut self, topic: Topic, partition: u32) -> Option<u64> {
        let end = self.engines.log?.end(TopicPartition { topic, partition }).await;
        self.heard(&format!("the end of {}", topic.name()), end)
    }

    async fn shard(&mut self, shard: u32, resolvers: Option<&[Member]>) -> ShardState {
        let at = TopicPartition { topic: Topic::Ledger, partition: shard };
        let mark = self.mark(&format!("{RESOLVERS}/{shard}"), "how far the rows are").await;
        let end = self.end(Topic::Ledger, shard).await;
        let committed = self.end(Topic::Changes, shard).await;
        let owner = resolvers.and_then(|all| all.iter().find(|member| member.partitions.contains(&shard)));
        let mut state = ShardState {
            shard,
            owner: owner.map(|owner| owner.name.clone()),
            consumed: None,
            end,
            lag: None,
            behind_s: None,
            rows_up_to: mark.map(|mark| mark.sequence),
            committed_up_to: committed,
            last_commit_ms: self.last_commit(shard, committed).await,
        };
        if let (Some(mark), Some(end)) = (mark, end) {
            self.lag(at, mark, end, &mut state).await;
        }
        if resolvers.is_some() && state.owner.is_none() {
            self.problems
                .push(format!("shard {shard}: no process works on it; start service conflict-resolver"));
        } else if let (Some(lag), Some(behind_s)) = (state.lag, state.behind_s)
            && (lag > LAG_MAX || behind_s > BEHIND_S_MAX)
        {
            self.problems.push(format!(
                "shard {shard}: {lag} records, the oldest {behind_s} s old, are not consumed; see its owner's log, or add \
                 replicas"
            ));
        }
        if let (Some(rows), Some(committed)) = (state.rows_up_to, committed)
            && rows > committed
        {
            self.problems.push(format!(
                "shard {shard}: the store is ahead of the log, by changes {rows} to {committed}; put the newest log back, \
                 or drop the keyspace and run `eschaton migrate`"
            ));
        }
        state
    }

    async fn lag(&mut self, at: TopicPartition, mark: Watermark, end: u64, state: &mut ShardState) {
        let Some(log) = self.engines.log else { return };
        let found = async {
            if consumed(log, at, mark.input_next, end).await? {
                return Ok::<_, eschaton_ports::LogError>((end, None));
            }
            let oldest = log.read(at, mark.input_next, 1, 1).await?;
            Ok((mark.input_next, oldest.first().map(|record| record.at_ms)))
        };
        let found = found.await;
        let Some((consumed, oldest_ms)) = self.heard("what is not consumed", found) else { return };
        let now_ms = self.engines.clock.now_ms();
        state.consumed = Some(consumed);
        state.lag = Some(end.saturating_sub(consumed));
        state.behind_s = Some(oldest_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms) / 1_000));
    }

    async fn last_commit(&mut self, shard: u32, end: Option<u64>) -> Option<u64> {
        let at = TopicPartition { topic: Topic::Changes, partition: shard };
        let last = self.engines.log?.read(at, end?.checked_sub(1)?, 1, 1).await;
        self.heard("the time of the last commit", last)?.first().map(|record| record.at_ms)
    }

    async fn checkpoint(&mut self, shards: u32) -> Option<CheckpointState> {
        let newest = merkle_prover::newest_checkpoint(self.engines.store?).await;
        let newest = self.heard("the newest checkpoint", newest)??;
        let mut after = Some(0_u64);
        for (partition, position) in (0..shards).zip(newest.positions) {
            let end = self.end(Topic::Decisions, partition).await;
            after = after.zip(end).map(|(after, end)| after + end.saturating_sub(position));
        }
        if let Some(after) = after.filter(|after| *after > LAG_MAX) {
            self.problems.push(format!(
                "{after} decisions came after checkpoint {}; the prover lags, see its log",
                newest.number
            ));
        }
        let (number, size, time_ms) = (newest.number, newest.size, newest.time_ms);
        Some(CheckpointState { number, size, time_ms, decisions_after: after })
    }

    /// A process that is dead or stopped is a member until its session ends; one that lives may say itself that it is
    /// not well.
    async fn ask(&mut self, names: BTreeSet<&str>) {
        let answers = join_all(names.iter().map(|name| is_ready(name))).await;
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Ok(true) => {}
                Ok(false) => self.problems.push(format!(
                    "process {name} has trouble; its log and its metric eschaton_problem say which part"
                )),
                Err(why) => self.problems.push(format!(
                    "process {name} does not answer ({why}); if it is dead, another takes over when its session ends"
                )),
            }
        }
    }
}

async fn is_ready(name: &str) -> Result<bool, String> {
    let asked = async {
        let endpoint = Endpoint::from_shared(format!("http://{name}")).map_err(|error| error.to_string())?;
        let channel = endpoint.connect().await.map_err(|_| "no connection".to_owned())?;
        let request = HealthCheckRequest { service: READY.to_owned() };
        let answer = HealthClient::new(channel).check(request).await.map_err(|error| error.to_string())?;
        Ok(answer.into_inner().status() == ServingStatus::Serving)
    };
    let late = || Err(format!("no answer within {} s", ANSWER_MAX.as_secs()));
    tokio::time::timeout(ANSWER_MAX, asked).await.unwrap_or_else(|_| late())
}
