//! The log over Apache Kafka, through librdkafka.
//!
//! **Names.** Topic `{prefix}.{topic}`, consumer group `{prefix}.{group}`, transactional id
//! `{prefix}.{group}.{partition}`. [`migrate`] makes the topics; [`KafkaLog::open`] checks them and makes none.
//!
//! **Appends** go through one idempotent producer with `acks=all` (KIP-98), without transactions: an append that
//! fails may have published some of its records. What edges append are commands, each complete in itself
//! and repeatable, so nobody needs several of them together. A transaction would cost three round trips more and hold
//! back every reader of its partitions while it is open.
//!
//! **Claims** are transactional producers (KIP-98). `init_transactions` raises the epoch of the transactional id:
//! it finishes what the former owner began and fences it. Positions are the group's committed offsets, read with
//! `require_stable` (KIP-447) after that. A commit is one transaction that holds the outputs and the new positions. An
//! empty commit writes the present positions again, so that the broker says whether this is still the owner. Claims of
//! one group must cover the same partitions or none in common: the first one names the transactional id.
//!
//! **What a commit's failure means.** The broker says "fenced": [`LogError::Fenced`]. The transaction could be aborted:
//! nothing was published, and `Unavailable`. No answer in time to a commit or an abort: the producer is dropped and
//! the claim is void, `Unavailable`; a new claim raises the epoch, which settles the transaction one way or the
//! other. librdkafka lacks the client's half of KIP-890, without which Kafka can tear a transaction when requests linger
//! in the network. So transactions keep repetitions rare; what makes them harmless are record ids.
//!
//! **Commits in a row.** The coordinator turns away a transaction that begins while it still writes the end of the one
//! before, and librdkafka tries again after 20 ms. Writing the positions before the records avoids that wait:
//! `claim/transaction.rs`.
//!
//! **Reads** see committed records only. One consumer follows the partitions that somebody reads and keeps
//! their newest records; a few positioned consumers serve who is behind it. An empty answer is given only after the
//! broker was asked for the partition's last stable offset and nothing was found below it. Offsets have gaps where
//! transactions ended. [`Log::end`] is the offset after the last committed record, not the last stable offset: otherwise
//! a consumer that has read everything would seem to be behind.
//!
//! **A dead writer holds readers back.** A transaction that nobody finishes hides all records after its first from
//! readers of that partition, until a new claim of the same group and partition or `transaction_timeout_ms`.
//!
//! **Threads.** Engine calls that block run on threads of this crate: `read_threads` for reads and offsets,
//! one that follows partitions, one for each claim and each membership. The futures need a tokio runtime
//! with time enabled.
//!
//! [`LogError::Fenced`]: eschaton_ports::LogError::Fenced
//! [`Log::end`]: eschaton_ports::Log::end

mod append;
mod blocking;
mod claim;
mod clients;
mod config;
mod context;
mod envelope;
mod error;
mod layout;
mod log;
mod membership;
mod metrics;
mod migrate;
mod owners;
mod read;
mod topics;

pub use config::{Compression, KafkaConfig, Sasl, SaslMechanism, Secret, Security, Tls};
pub use error::OpenError;
pub use layout::{APPEND_BYTES_MAX, APPEND_RECORDS_MAX, GROUP_NAME_BYTES_MAX};
pub use log::{CLAIMS_MAX, KafkaLog};
pub use migrate::{Difference, MigrateReport, TopicReport, migrate};
