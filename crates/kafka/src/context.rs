//! What librdkafka tells each client besides answers: log lines, errors, statistics.

use std::sync::Arc;
use std::time::Duration;

use eschaton_ports::Topic;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Statistics};

use crate::error::{is_denial, is_refusal, words_of};
use crate::layout::Layout;
use crate::metrics;

/// How long a new client waits for each topic's whereabouts before it goes on without.
const WARMING: Duration = Duration::from_secs(2);

/// A consumer with this crate's context.
pub(crate) type Consumer = BaseConsumer<Context>;

/// The context of every client.
#[derive(Clone)]
pub(crate) struct Context {
    /// Kind of client, a label of metrics.
    client: &'static str,
    trouble: Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>,
}

impl Context {
    pub(crate) fn new(client: &'static str) -> Self {
        Self { client, trouble: Arc::default() }
    }

    /// The right that the client was denied, in words, unless something went well since.
    pub(crate) fn denial(&self) -> Option<String> {
        let (code, reason) = self.trouble()?;
        is_denial(code).then(|| words_of(Some(code), reason))
    }

    /// Something went well.
    pub(crate) fn forget(&self) {
        *self.trouble.lock() = None;
    }

    /// The last error that the client reported on its own; what explains less does not replace what explains more.
    pub(crate) fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.trouble.lock().clone()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = self.client;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(client, facility, "librdkafka: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(client, facility, "librdkafka: {message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        metrics::statistics(self.client, &statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        metrics::client_error(self.client);
        self.hear(&error, reason);
    }
}

impl Context {
    /// Remembers an error: of an event, or of a poll, which is where a consumer says what its group's coordinator told.
    pub(crate) fn hear(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(client = self.client, %error, reason, "kafka client trouble");
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut trouble = self.trouble.lock();
        let known = trouble.as_ref().map(|(known, _)| weight(*known));
        if known.is_none_or(|known| weight(code) >= known) {
            *trouble = Some((code, reason.to_owned()));
        }
    }
}

/// How much an error explains: being turned away most, that all brokers are down least.
fn weight(code: RDKafkaErrorCode) -> u8 {
    match code {
        code if is_refusal(code) || is_denial(code) => 2,
        RDKafkaErrorCode::AllBrokersDown => 0,
        _ => 1,
    }
}

impl ConsumerContext for Context {}

/// Makes a consumer.
pub(crate) fn consumer(client: &'static str, config: &ClientConfig) -> Result<Consumer, KafkaError> {
    config.create_with_context(Context::new(client))
}

/// Learns where the topics' partitions are, so that the first read need not wait for it. Blocks.
pub(crate) fn warm(consumer: &Consumer, layout: &Layout) {
    for topic in Topic::ALL {
        if let Err(error) = consumer.fetch_metadata(Some(layout.name(topic)), WARMING) {
            tracing::debug!(%error, "kafka topics are not known yet");
            return;
        }
    }
}
