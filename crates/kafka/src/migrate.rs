//! Makes the topics.

use std::fmt;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use crate::clients::MESSAGE_BYTES_MAX;
use crate::context::Context;
use crate::error::{is_denial, words};
use crate::layout::Layout;
use crate::topics::{self, Found};
use crate::{KafkaConfig, OpenError};

/// Looks for topics that were just made; each takes a connection and some round trips.
const LOOKS: u32 = 50;

/// What [`migrate`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateReport {
    /// One for each topic.
    pub topics: Vec<TopicReport>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name in the cluster.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
    /// Made now, or there before.
    pub created: bool,
    /// Settings of a topic that was there before and is set otherwise. Nothing is changed.
    pub differences: Vec<Difference>,
}

/// A setting that is not as this program would make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub setting: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for MigrateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TopicReport { topic, partitions, created, differences } in &self.topics {
            let done = if *created { "made" } else { "was there" };
            writeln!(f, "{topic}: {done}, {partitions} partitions")?;
            for Difference { setting, expected, found } in differences {
                writeln!(f, "{topic}: {setting} is {found} and should be {expected}; nothing was changed")?;
            }
        }
        Ok(())
    }
}

/// Makes the topics that are missing, each with `replication` replicas; deletes and changes nothing. Refuses a topic
/// that has another number of partitions, before it makes any. Safe to repeat.
pub async fn migrate(config: &KafkaConfig, replication: u32) -> Result<MigrateReport, OpenError> {
    config.check()?;
    let replicas =
        i32::try_from(replication).ok().filter(|count| *count > 0).ok_or_else(|| OpenError::Config {
            detail: "replication is the number of copies of each record, 1 or more".to_owned(),
        })?;
    let layout = Layout::new(config);
    let mut settings = config.asker("migrate");
    settings.remove("group.id");
    let admin: AdminClient<Context> = settings
        .create_with_context(Context::new("migrate"))
        .map_err(|error| OpenError::Config { detail: words(&error) })?;

    let mut found = Vec::new();
    for (topic, state) in topics::find(config).await? {
        let expected = topic.partitions(config.shards);
        match state {
            Found::Partitions(count) if u32::try_from(count) != Ok(expected) => {
                let topic = layout.name(topic).to_owned();
                return Err(OpenError::Partitions { topic, found: count, expected });
            }
            state => found.push((topic, state)),
        }
    }

    let insync = replication.saturating_sub(1).max(1).to_string();
    let bytes = MESSAGE_BYTES_MAX.to_string();
    let wanted = wanted(&insync, &bytes);
    let options = AdminOptions::new()
        .request_timeout(Some(config.request_timeout() * 4))
        .operation_timeout(Some(config.request_timeout() * 4));
    let mut topics = Vec::new();
    for (topic, state) in found {
        let (name, partitions) = (layout.name(topic), topic.partitions(config.shards));
        let mut created = false;
        if matches!(state, Found::Missing) {
            created = make(&admin, name, partitions, replicas, &wanted, &options).await?;
        }
        let differences =
            if created { Vec::new() } else { differences(&admin, name, &wanted, &options).await? };
        topics.push(TopicReport { topic: name.to_owned(), partitions, created, differences });
    }
    if topics.iter().any(|topic| topic.created) {
        seen(config).await?;
    }
    Ok(MigrateReport { topics })
}

/// Waits until brokers tell of every topic: they learn it a moment after it was made.
async fn seen(config: &KafkaConfig) -> Result<(), OpenError> {
    for _ in 0..LOOKS {
        let missing = topics::find(config).await?.into_iter().any(|(_, found)| found == Found::Missing);
        if !missing {
            return Ok(());
        }
    }
    Err(OpenError::failed("making the topics", "the brokers do not tell of them yet"))
}

/// Settings of each topic.
fn wanted<'a>(insync: &'a str, bytes: &'a str) -> [(&'static str, &'a str); 8] {
    [
        // The log is the truth: nothing expires.
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("min.insync.replicas", insync),
        ("max.message.bytes", bytes),
        ("message.timestamp.type", "CreateTime"),
        ("compression.type", "producer"),
        // A replica that lacks acknowledged records must not lead.
        ("unclean.leader.election.enable", "false"),
    ]
}

/// True: made. False: another `migrate` was faster.
async fn make(
    admin: &AdminClient<Context>,
    name: &str,
    partitions: u32,
    replicas: i32,
    wanted: &[(&str, &str)],
    options: &AdminOptions,
) -> Result<bool, OpenError> {
    let not_made = |detail: String| OpenError::NotMade { topic: name.to_owned(), detail };
    let count = i32::try_from(partitions).unwrap_or(i32::MAX);
    let mut topic = NewTopic::new(name, count, TopicReplication::Fixed(replicas));
    for (key, value) in wanted {
        topic = topic.set(key, value);
    }
    let results = admin.create_topics(&[topic], options).await.map_err(|error| not_made(words(&error)))?;
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(true),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) if is_denial(code) => {
            Err(OpenError::Authorization { what: format!("topic {name}"), detail: code.to_string() })
        }
        Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
            Err(not_made(format!("{replicas} replicas need as many brokers; start more, or ask for fewer")))
        }
        Some(Err((_, code))) => Err(not_made(code.to_string())),
        None => Err(not_made("the broker did not answer for it".to_owned())),
    }
}

async fn differences(
    admin: &AdminClient<Context>,
    name: &str,
    wanted: &[(&str, &str)],
    options: &AdminOptions,
) -> Result<Vec<Difference>, OpenError> {
    let described = admin
        .describe_configs(&[ResourceSpecifier::Topic(name)], options)
        .await
        .map_err(|error| OpenError::failed("reading a topic's settings", words(&error)))?;
    let Some(Ok(resource)) = described.into_iter().next() else { return Ok(Vec::new()) };
    let differs = |(key, expected): &(&str, &str)| {
        let found = resource.get(key)?.value.clone()?;
        let difference =
            Difference { setting: (*key).to_owned(), expected: (*expected).to_owned(), found: found.clone() };
        (found != *expected).then_some(difference)
    };
    Ok(wanted.iter().filter_map(differs).collect())
}
