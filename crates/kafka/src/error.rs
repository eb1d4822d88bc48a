//! Why a cluster could not be used, and librdkafka's errors in the port's words.

use eschaton_ports::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why the log was not opened or its topics not made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting that cannot work.
    #[error("kafka settings: {detail}")]
    Config {
        /// Which, and what is allowed.
        detail: String,
    },
    /// No broker answered.
    #[error(
        "no kafka broker answered at {bootstrap}: {detail}; check the address, the network and that it runs"
    )]
    Unreachable {
        /// The addresses that were tried.
        bootstrap: String,
        /// What the client said.
        detail: String,
    },
    /// The broker does not know this user, or its certificate is not trusted.
    #[error(
        "kafka at {bootstrap} refused the connection: {detail}; check user, password, mechanism and certificates"
    )]
    Authentication {
        /// The addresses that were tried.
        bootstrap: String,
        /// What the client said.
        detail: String,
    },
    /// The user lacks a right.
    #[error(
        "kafka denies access to {what}: {detail}; grant this user the rights that the adapter's guide lists"
    )]
    Authorization {
        /// Topic or cluster.
        what: String,
        /// What the broker said.
        detail: String,
    },
    /// The topic was never made.
    #[error("kafka has no topic {topic}; run `eschaton migrate`, or correct the topic prefix")]
    TopicMissing {
        /// Its name in the cluster.
        topic: String,
    },
    /// The topic has another number of partitions.
    #[error(
        "topic {topic} has {found} partitions, and {expected} are needed; shards are fixed once topics are made: \
         use the number of shards that they were made for, or another topic prefix"
    )]
    Partitions {
        /// Its name in the cluster.
        topic: String,
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: u32,
    },
    /// The topic could not be made.
    #[error("kafka did not make topic {topic}: {detail}")]
    NotMade {
        /// Its name in the cluster.
        topic: String,
        /// What the broker said.
        detail: String,
    },
    /// The cluster or this machine failed in another way.
    #[error("kafka failed: {detail}; try again, and see the broker's log if it stays so")]
    Failed {
        /// What happened.
        detail: String,
    },
}

impl OpenError {
    /// Whether waiting may mend it.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Failed { .. })
    }

    pub(crate) fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed { detail: format!("{what}: {error}") }
    }
}

/// Whether the broker turned this client away, and trying again is in vain until somebody acts.
pub(crate) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
    )
}

/// Whether a right is missing.
pub(crate) fn is_denial(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// Passing trouble, as the port says it.
pub(crate) fn unavailable(what: &str, error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable { detail: format!("{what}: {error}") }
}

/// The caller's fault.
pub(crate) fn invalid(detail: String) -> LogError {
    LogError::Invalid { detail }
}

/// The library's code of an error.
pub(crate) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::Transaction(error) => Some(error.code()),
        other => other.rdkafka_error_code(),
    }
}

/// An error of something that needs a right on a topic: a denial names both.
pub(crate) fn words_on(error: &KafkaError, right: &str, topic: &str) -> String {
    match code(error) {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            format!("{}: this user lacks the right {right} on topic {topic}; grant it", plain(error))
        }
        _ => words(error),
    }
}

/// An error without the library's frame around it; a denial with the right that is missing. Callers name on what.
pub(crate) fn words(error: &KafkaError) -> String {
    words_of(code(error), plain(error))
}

/// The same of an error whose code and text came apart.
pub(crate) fn words_of(code: Option<RDKafkaErrorCode>, detail: String) -> String {
    let right = match code {
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => {
            "the rights Write and Describe on this transactional id"
        }
        Some(RDKafkaErrorCode::GroupAuthorizationFailed) => "the right Read on this consumer group",
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => "the right Read on this topic",
        Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            "a right on the cluster: IdempotentWrite, or Create to migrate"
        }
        _ => return detail,
    };
    format!("{detail}: this user lacks {right}; grant it")
}

fn plain(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => format!("{} ({})", error.string(), error.name()),
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}
