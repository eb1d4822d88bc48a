use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use eschaton_ports::{Log, LogError, LogRecord, NewRecord, Position, TopicPartition};

use crate::file::FileReader;
use crate::manifest::FileEntry;
use crate::{Progress, TransferError};

/// What records are put into.
#[async_trait]
pub trait Target: Send {
    /// The offset after the last record.
    async fn end(&mut self, at: TopicPartition) -> Result<u64, TransferError>;

    /// The record at an offset.
    async fn record(&mut self, at: TopicPartition, offset: u64) -> Result<Option<LogRecord>, TransferError>;

    /// Adds records at exactly their offsets, or fails. Durable when it returns.
    async fn put(&mut self, at: TopicPartition, records: Vec<LogRecord>) -> Result<(), TransferError>;
}

/// Puts records by appending them: for logs without gaps, into partitions that give offsets from 0 without gaps.
pub struct Appending(pub Arc<dyn Log>);

#[async_trait]
impl Target for Appending {
    async fn end(&mut self, at: TopicPartition) -> Result<u64, TransferError> {
        Ok(self.0.end(at).await?)
    }

    async fn record(&mut self, at: TopicPartition, offset: u64) -> Result<Option<LogRecord>, TransferError> {
        Ok(self.0.read(at, offset, 1, 1).await?.into_iter().next().filter(|found| found.offset == offset))
    }

    async fn put(&mut self, at: TopicPartition, records: Vec<LogRecord>) -> Result<(), TransferError> {
        let wanted: Vec<Position> =
            records.iter().map(|record| Position { at, offset: record.offset }).collect();
        let new = |record: LogRecord| {
            let LogRecord { at_ms, id, trace, payload, .. } = record;
            NewRecord { to: at, at_ms, id, trace, payload }
        };
        let given = self.0.append(records.into_iter().map(new).collect()).await?;
        match wanted.iter().zip(&given).find(|(wanted, given)| wanted != given) {
            None if wanted.len() == given.len() => Ok(()),
            None => Err(LogError::Fatal { detail: format!("{at} did not say where records stand") }.into()),
            Some((wanted, given)) => Err(TransferError::Refused(format!(
                "{at} gave offset {} to the record of {}: it was not empty, or something else writes to it; stop \
                 that, make the topics anew and import again",
                given.offset, wanted.offset
            ))),
        }
    }
}

/// Compares a file's length and hash with the manifest. `progress` is told the bytes read.
pub fn verify_file(dir: &Path, entry: &FileEntry, progress: Progress<'_>) -> Result<(), TransferError> {
    let path = dir.join(&entry.name);
    let mut file = File::open(&path).map_err(TransferError::io(&path, "open"))?;
    let length = file.metadata().map_err(TransferError::io(&path, "see the length of"))?.len();
    if length != entry.bytes {
        let detail = format!("it has {length} bytes, and the manifest says {}", entry.bytes);
        return Err(TransferError::damaged(&path, detail));
    }
    let (mut hash, mut buffer, mut done) = (blake3::Hasher::new(), vec![0; 1 << 20], 0);
    loop {
        let count = file.read(&mut buffer).map_err(TransferError::io(&path, "read"))?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        done += part.len() as u64;
        progress(done)?;
    }
    match hash.finalize().to_hex().as_str() == entry.blake3 {
        true => Ok(()),
        false => Err(TransferError::damaged(&path, "its BLAKE3 is not the manifest's")),
    }
}

/// Refuses a target that has records which the export has not, without changing anything. Gives the offset after the
/// last record that the target has.
pub async fn check_prefix(
    target: &mut dyn Target,
    at: TopicPartition,
    entry: &FileEntry,
) -> Result<u64, TransferError> {
    let end = target.end(at).await?;
    if end > entry.end {
        return Err(TransferError::Refused(format!(
            "the target's {at} ends at {end}, and the export's at {}: it holds something else; import into an empty \
             one",
            entry.end
        )));
    }
    Ok(end)
}

/// Puts a file's records into the target, after those that it has. `progress` is told the offset that comes next.
pub async fn import_partition(
    target: &mut dyn Target,
    at: TopicPartition,
    entry: &FileEntry,
    dir: &Path,
    progress: Progress<'_>,
) -> Result<(), TransferError> {
    let there = check_prefix(target, at, entry).await?;
    let mut reader = FileReader::open(dir, at)?;
    let mut compared = there == 0;
    let mut next = 0;
    while let Some(mut records) = reader.records()? {
        next = records.last().map_or(next, |last| last.offset + 1);
        if !compared && next >= there {
            let found = target.record(at, there - 1).await?;
            let mine = records.iter().find(|record| record.offset == there - 1);
            if mine.is_none() || mine != found.as_ref() {
                return Err(TransferError::Refused(format!(
                    "the target's {at} has another record at offset {} than the export: it holds another ledger, or \
                     a later one; import into an empty one",
                    there - 1
                )));
            }
            compared = true;
        }
        records.retain(|record| record.offset >= there);
        if !records.is_empty() {
            target.put(at, records).await?;
        }
        progress(next)?;
    }
    let end = target.end(at).await?;
    if next != entry.end || end != entry.end {
        let detail =
            format!("it holds {next} offsets, the target {end}, and the manifest says {}", entry.end);
        return Err(TransferError::damaged(reader.path(), detail));
    }
    Ok(())
}
