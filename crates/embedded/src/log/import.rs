//! Filling a log with records that have their offsets already.

use std::path::Path;

use eschaton_ports::{LogError, LogRecord, RECORD_BYTES_MAX, TopicPartition};
use fjall::{PersistMode, Slice};

use super::open::Opened;
use super::queue::{APPEND_BYTES_MAX, invalid};
use super::{LogOptions, chunk, layout};
use crate::OpenError;
use crate::journal::MARK_KEY;

/// A log that is being filled from a copy of another one, whose offsets it keeps, gaps included. Nothing else can use
/// the directory meanwhile. Dropped, it leaves a log for [`EmbeddedLog::open`](super::EmbeddedLog::open), or for going
/// on.
pub struct LogImport {
    opened: Opened,
    /// Why what is on disk is not known.
    failed: Option<String>,
}

impl LogImport {
    /// Opens the log in `dir`, and makes it if there is none. Blocks.
    pub fn open(dir: &Path, options: &LogOptions) -> Result<Self, OpenError> {
        Ok(Self { opened: Opened::new(dir, options)?, failed: None })
    }

    /// The offset after the partition's last record.
    pub fn end(&self, at: TopicPartition) -> Result<u64, LogError> {
        Ok(self.opened.list.get(self.number(at)?).map_or(0, super::Partition::end))
    }

    /// As [`Log::read`](eschaton_ports::Log::read).
    pub fn read(
        &self,
        at: TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        match self.opened.list.get(self.number(at)?) {
            Some(partition) => partition.read(from, max_records, max_bytes),
            None => Err(layout::unknown(at)),
        }
    }

    /// Adds records at their offsets, which ascend and are not below the partition's end; durable when this returns.
    /// Blocks.
    pub fn put(&mut self, at: TopicPartition, records: &[LogRecord]) -> Result<(), LogError> {
        if let Some(detail) = &self.failed {
            return Err(LogError::Fatal { detail: detail.clone() });
        }
        let number = self.number(at)?;
        let Opened { home, meta, list, sequence, .. } = &mut self.opened;
        let Some(partition) = list.get(number) else { return Err(layout::unknown(at)) };
        let before = partition.end();
        let mut next = before;
        let mut bytes = 0;
        for record in records {
            if record.offset < next || record.offset == u64::MAX {
                return Err(invalid(format!("offset {} of {at} comes where {next} is next", record.offset)));
            }
            if record.payload.len() > RECORD_BYTES_MAX {
                return Err(invalid(format!("a record of {} bytes to {at}", record.payload.len())));
            }
            next = record.offset + 1;
            bytes += record.payload.len() + size_of::<LogRecord>();
        }
        if bytes > APPEND_BYTES_MAX {
            return Err(invalid(format!("{bytes} bytes at once are over the {APPEND_BYTES_MAX} that fit")));
        }
        let Some((row, bytes)) = chunk::encode_sparse(before, records) else { return Ok(()) };
        *sequence += 1;
        let mut batch = home.db.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&*meta, MARK_KEY, home.mark.value(*sequence));
        batch.insert(&partition.keyspace, row.base.to_be_bytes(), Slice::from(&bytes[..]));
        if let Err(error) = batch.commit() {
            let detail = format!("writing a batch: {error:?}");
            self.failed = Some(detail.clone());
            return Err(LogError::Fatal { detail });
        }
        partition.publish(vec![row.into()]);
        Ok(())
    }

    fn number(&self, at: TopicPartition) -> Result<usize, LogError> {
        self.opened.layout.index(at).ok_or_else(|| layout::unknown(at))
    }
}
