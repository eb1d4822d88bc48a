//! Which topics the cluster has, and why it does not say.

use std::time::Duration;

use eschaton_ports::Topic;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::context::{Consumer, consumer};
use crate::error::{is_denial, is_refusal, words};
use crate::layout::Layout;
use crate::{KafkaConfig, OpenError, blocking};

/// One topic in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is not there.
    Missing,
    /// It is there with so many partitions.
    Partitions(usize),
}

/// Looks for all topics.
pub(crate) async fn find(config: &KafkaConfig) -> Result<Vec<(Topic, Found)>, OpenError> {
    let config = config.clone();
    blocking::once("kafka-topics", move || look(&config))
        .await
        .map_err(|error| OpenError::failed("starting a thread", error))?
}

fn look(config: &KafkaConfig) -> Result<Vec<(Topic, Found)>, OpenError> {
    let asker = consumer("topics", &config.asker("readers"))
        .map_err(|error| OpenError::Config { detail: words(&error) })?;
    let layout = Layout::new(config);
    Topic::ALL.into_iter().map(|topic| Ok((topic, one(&asker, layout.name(topic), config)?))).collect()
}

fn one(asker: &Consumer, name: &str, config: &KafkaConfig) -> Result<Found, OpenError> {
    let metadata = asker
        .fetch_metadata(Some(name), config.request_timeout())
        .map_err(|error| with_reason(&error, asker, config))?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let Some(topic) = topic else { return Ok(Found::Missing) };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(Found::Partitions(topic.partitions().len())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Ok(Found::Missing)
        }
        Some(code) if is_denial(code) => Err(OpenError::Authorization {
            what: format!("topic {name}"),
            detail: format!("{code}, this user lacks the right Describe on it"),
        }),
        Some(code) => Err(OpenError::failed(&format!("looking for topic {name}"), code)),
    }
}

/// A failed request says that it took too long; why, the client told on the side.
fn with_reason(error: &KafkaError, asker: &Consumer, config: &KafkaConfig) -> OpenError {
    // Events wait until they are served.
    for _ in 0..16 {
        let _ = asker.poll(Duration::from_millis(1));
    }
    let bootstrap = config.bootstrap.clone();
    match asker.context().trouble() {
        Some((code, detail)) if is_refusal(code) => OpenError::Authentication { bootstrap, detail },
        Some((_, detail)) => OpenError::Unreachable { bootstrap, detail },
        None => OpenError::Unreachable { bootstrap, detail: words(error) },
    }
}
