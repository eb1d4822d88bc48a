//! The engines of an export and of an import.

use std::path::Path;

use async_trait::async_trait;
use eschaton_embedded::{LogImport, LogOptions, OsRng};
use eschaton_kit::Ports;
use eschaton_ports::{LogRecord, TopicPartition};
use eschaton_transfer::{Target, TransferError};

use crate::config::NodeConfig;
use crate::wiring;

/// All ports of a configuration, whose key is there.
pub(super) async fn open(config: &NodeConfig, name: &str) -> anyhow::Result<Ports> {
    wiring::open(config, OsRng::new()?, name).await
}

/// Records the ledger's identity beside its key, or compares with what is recorded.
pub(super) fn fix_identity(config: &NodeConfig) -> anyhow::Result<()> {
    wiring::fix_identity(config, &OsRng::new()?)
}

/// An embedded log that keeps the gaps of another one.
pub(super) struct Embedded(LogImport);

impl Embedded {
    pub(super) fn open(data_dir: &Path, shards: u32) -> anyhow::Result<Self> {
        Ok(Self(LogImport::open(&data_dir.join("log"), &LogOptions::new(shards))?))
    }
}

#[async_trait]
impl Target for Embedded {
    async fn end(&mut self, at: TopicPartition) -> Result<u64, TransferError> {
        Ok(self.0.end(at)?)
    }

    async fn record(&mut self, at: TopicPartition, offset: u64) -> Result<Option<LogRecord>, TransferError> {
        Ok(self.0.read(at, offset, 1, 1)?.into_iter().next().filter(|found| found.offset == offset))
    }

    async fn put(&mut self, at: TopicPartition, records: Vec<LogRecord>) -> Result<(), TransferError> {
        Ok(self.0.put(at, &records)?)
    }
}
