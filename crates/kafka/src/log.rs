//! The log: appends, reads and claims in one hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use eschaton_ports::{
    Claim, Log, LogError, LogRecord, Membership, NewRecord, Owner, Position, Topic, TopicPartition,
};
use parking_lot::Mutex;

use crate::append::Appender;
use crate::claim::{self, KafkaClaim, Opening, Place};
use crate::context::{Consumer, consumer};
use crate::error::{invalid, unavailable, words};
use crate::layout::Layout;
use crate::membership::{KafkaMembership, Members};
use crate::read::Reader;
use crate::topics::{self, Found};
use crate::{KafkaConfig, OpenError, metrics};

/// Claims that may be open at once, each with a thread and a producer.
pub const CLAIMS_MAX: usize = 1_024;
/// Groups that may claim, each with a consumer that asks for its offsets.
const GROUPS_MAX: usize = 64;

/// The log of one cluster and topic prefix. Claims that outlive it go on.
pub struct KafkaLog {
    config: KafkaConfig,
    layout: Arc<Layout>,
    appender: Appender,
    reader: Arc<Reader>,
    members: Arc<Members>,
    groups: Mutex<HashMap<String, Arc<Consumer>>>,
    claims: Arc<AtomicUsize>,
}

impl KafkaLog {
    /// Connects, and checks that every topic is there with the right number of partitions.
    pub async fn open(config: KafkaConfig) -> Result<Self, OpenError> {
        config.check()?;
        metrics::describe();
        let layout = Arc::new(Layout::new(&config));
        for (topic, found) in topics::find(&config).await? {
            let (name, expected) = (layout.name(topic).to_owned(), topic.partitions(config.shards));
            match found {
                Found::Missing => return Err(OpenError::TopicMissing { topic: name }),
                Found::Partitions(count) if u32::try_from(count) != Ok(expected) => {
                    return Err(OpenError::Partitions { topic: name, found: count, expected });
                }
                Found::Partitions(_) => {}
            }
        }
        let failed = |error: rdkafka::error::KafkaError| OpenError::failed("making a client", words(&error));
        let timeout = Duration::from_millis(config.message_timeout_ms.into());
        let appender = Appender::start(config.idempotent(), Arc::clone(&layout), timeout).map_err(failed)?;
        let reader = Arc::new(Reader::start(&config, Arc::clone(&layout)).map_err(failed)?);
        Ok(Self {
            config,
            layout,
            appender,
            reader,
            members: Arc::default(),
            groups: Mutex::default(),
            claims: Arc::default(),
        })
    }

    /// The consumer that asks for a group's offsets.
    fn group(&self, group: &str) -> Result<Arc<Consumer>, LogError> {
        let mut groups = self.groups.lock();
        if let Some(known) = groups.get(group) {
            return Ok(Arc::clone(known));
        }
        if groups.len() >= GROUPS_MAX {
            return Err(invalid(format!("more than {GROUPS_MAX} groups claim in one process")));
        }
        let made = consumer("group", &self.config.asker(group));
        let made = Arc::new(made.map_err(|error| unavailable("making a consumer", words(&error)))?);
        self.reader.serve(Arc::clone(&made));
        groups.insert(group.to_owned(), Arc::clone(&made));
        Ok(made)
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.layout.check(&records)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.appender.append(records).await
    }

    /// Below the last stable offset only.
    fn commits_hold_readers(&self) -> bool {
        true
    }

    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let read = self.reader.read(at, from, max_records, max_bytes).await;
        read.map_err(|error| match error {
            LogError::Unavailable { detail } => {
                unavailable(&format!("reading topic {}", self.layout.name(at.topic)), detail)
            }
            other => other,
        })
    }

    async fn wait(&self, from: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        self.reader.wait(from).await
    }

    async fn end(&self, at: TopicPartition) -> Result<u64, LogError> {
        self.reader.end(at).await
    }

    async fn claim(&self, group: &str, partitions: &[TopicPartition]) -> Result<Box<dyn Claim>, LogError> {
        claim::check(&self.layout, group, partitions)?;
        let offsets = self.group(group)?;
        let place = Place::take(&self.claims, CLAIMS_MAX)
            .ok_or_else(|| invalid(format!("more than {CLAIMS_MAX} claims are open in one process")))?;
        let (thread, positions) = claim::open(Opening {
            config: self.config.clone(),
            layout: Arc::clone(&self.layout),
            group: group.to_owned(),
            partitions: partitions.to_vec(),
            offsets,
            members: Arc::clone(&self.members),
            place,
        })
        .await?;
        Ok(Box::new(KafkaClaim {
            group: group.to_owned(),
            layout: Arc::clone(&self.layout),
            reader: Arc::clone(&self.reader),
            positions,
            thread,
            patience: Duration::from_millis(self.config.commit_timeout_ms.into()) + claim::GRACE,
            void: false,
        }))
    }

    /// Claims of this group carry the membership's generation from now on, so that the brokers refuse
    /// commits of a member that was given up for dead.
    async fn join(
        &self,
        group: &str,
        topic: Topic,
        partitions: u32,
    ) -> Result<Box<dyn Membership>, LogError> {
        let at = TopicPartition { topic, partition: 0 };
        claim::check(&self.layout, group, &[at])?;
        let there = topic.partitions(self.layout.shards);
        if partitions != there {
            let topic = topic.name();
            return Err(invalid(format!(
                "{topic} has {there} partitions, not {partitions}, to be shared out"
            )));
        }
        let membership = KafkaMembership::join(&self.config, group, topic)?;
        self.members.add(group, membership.member());
        Ok(Box::new(membership))
    }

    /// A process's name is its `client_id`.
    async fn owners(&self, group: &str) -> Result<Vec<Owner>, LogError> {
        self.reader.owners(self.config.group(group)).await
    }
}
