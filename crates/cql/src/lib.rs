//! The store over Scylla or Apache Cassandra.
//!
//! # Tables
//! One per table of the port, `(part blob, key blob, value blob, PRIMARY KEY (part, key))`, and three
//! of this crate: `watermarks`, `redo` and `meta`.
//!
//! `part` is the first bits of `key`; how many, the table and the kind of row decide (`partition.rs`). So
//! partitions follow one another as their keys do, and a scan reads them one after the other in ascending
//! order. What the application scans lies in few: one for an owner's outputs, 64 (at 12 bits) for a shard's
//! pending rows. A scan over more asks which partitions exist, sorts up to a million of them in memory, and
//! remembers them for a minute for its later pages.
//!
//! `partition_bits` says how fine the cut is and is fixed at installation. Rows of one partition go out as
//! one unlogged batch, which costs little more than a single row; rows of many partitions go out singly.
//!
//! | `partition_bits` | partitions of outputs | outputs at 100 MB each (230 bytes a row) |
//! |---|---|---|
//! | 6 | 64 | 28 million |
//! | 8 | 256 | 110 million |
//! | 10 | 1 024 | 440 million |
//! | 12 (default) | 4 096 | 1 800 million |
//!
//! All outputs of one owner are in one partition whatever the bits, spent ones too. An owner with a million
//! of them has a partition of some 230 MB, which both engines serve, slower.
//!
//! # Writes
//! Every write is stamped `USING TIMESTAMP` with its batch's `watermark.sequence`, a place in the log. The
//! engines keep the newest stamp of a row whatever the order of arrival, so a repeated, late or reordered
//! write changes nothing that a newer batch wrote. Why this is sound:
//!
//! - Only one worker writes a given row, so stamps of different workers never meet.
//! - Each place in the log has one content. A former owner of the partition that still writes batch *n*
//!   writes what its successor wrote again from the log. Recovery may stamp a row with the place of the
//!   changes record that carries it rather than the batch's last; between the two no other batch stands.
//! - Of equal stamps the engines take the deletion, then the larger value. It does not matter: equal stamps
//!   mean equal content, and of several changes of one row in a batch only the last is sent.
//! - Stamps are small: as microseconds they lie in January 1970, far below anything an engine makes itself.
//!   So they never count as coming from the future. Nothing here depends on what they mean as a time; the
//!   age of a deletion is counted from the node's clock, not from its stamp.
//!
//! What follows for operators:
//!
//! - **Never write to these tables without a stamp.** A deletion typed into a shell is stamped with today
//!   and hides everything that the store writes later under those keys. `TRUNCATE` is harmless.
//! - A guardrail on old timestamps (`minimum_timestamp_fail_threshold`) must be off.
//! - No time-window compaction, and no column is ever dropped and added again.
//! - Deletions (`pending`, `trees`) are kept for `gc_grace_s`. A node that was away for longer may bring a
//!   deleted row back: rebuild or repair it before it serves. Hints cover its first three hours.
//! - A scan of `pending` reads over what was deleted within `gc_grace_s`. Cassandra refuses a read over
//!   `tombstone_failure_threshold` (100 000) deletions in one partition: raise it to a million, and shorten
//!   `gc_grace_s` where shards settle more than about 100 transactions with each other in a second.
//! - Batches are inside one partition, and such batches are not measured against
//!   `batch_size_fail_threshold`, in either engine; they are bounded by `batch_bytes` all the same.
//!
//! A batch's rows are written first, by up to `concurrency` requests at once, and its watermark when all are
//! acknowledged. **A batch is not atomic**: readers may see rows of a batch that is under way, and a crash
//! leaves a part of it in front of the watermark. A write that ran out of time may still happen. Either is
//! [`Unavailable`](eschaton_ports::StoreError::Unavailable), and to repeat the batch is right.
//!
//! What a crash left half-written is mended differently by family. The ledger's workers write everything
//! above their watermark again, from the log, before they read a row. The prover reads first, so a batch of
//! the trees is kept whole in `redo` before its first row is written, and asking for its watermark completes
//! it (`redo.rs`). That costs the trees' bytes twice, in few wide writes.
//!
//! # Reads
//! By a majority, like writes, so what was acknowledged is seen. Keys are grouped by partition, up to 100 in
//! one request. Each request goes to a replica of its partition.
//!
//! # Durability
//! "Acknowledged" means: a majority of replicas has it in its commit log. When that log reaches the disk is
//! the cluster's `commitlog_sync`:
//!
//! - `batch` or `group`: before the acknowledgement. **Use one of them.**
//! - `periodic`, the default: up to 10 s later. A power cut loses the node's last seconds, and in Cassandra
//!   the mere end of the process loses up to 100 ms, for a restart reads the log to its last marker only.
//!   A row that one of two acknowledging replicas lost may then be missing *behind* a watermark that
//!   survived elsewhere, and nothing writes it again. On a single node the order of the commit log
//!   prevents that: a whole suffix is lost, the watermark first.
//!
//! `flush` has nothing to add to either.

mod config;
mod connect;
mod error;
mod metrics;
mod migrate;
mod partition;
mod read;
mod redo;
mod retry;
mod schema;
mod statements;
mod store;
mod write;

pub use config::{Compression, Consistency, CqlConfig, MigrateConfig, Secret, Tablets, TlsConfig};
pub use error::OpenError;
pub use migrate::{Report, migrate, migrate_for};
pub use schema::Engine;
pub use store::CqlStore;
