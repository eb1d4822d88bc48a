use std::path::Path;

use eschaton_ports::{Log, TopicPartition};

use crate::file::FileWriter;
use crate::frame::{PAYLOAD_BYTES, RECORDS_MAX};
use crate::manifest::FileEntry;
use crate::{Progress, TransferError};

/// Writes a partition's records up to `end` into its file, after those that are there. `progress` is told the offset
/// that comes next.
pub async fn export_partition(
    log: &dyn Log,
    at: TopicPartition,
    end: u64,
    dir: &Path,
    progress: Progress<'_>,
) -> Result<FileEntry, TransferError> {
    let mut writer = FileWriter::open(dir, at, progress)?;
    if let Some(last) = writer.last() {
        let found = if last.offset < end { log.read(at, last.offset, 1, 1).await? } else { Vec::new() };
        if found.first() != Some(last) {
            return Err(TransferError::Refused(format!(
                "{} holds records of {at} that this log does not have: it is the export of another log; name an empty \
                 directory",
                dir.display()
            )));
        }
    }
    while writer.end() < end {
        let mut records = log.read(at, writer.end(), RECORDS_MAX, PAYLOAD_BYTES).await?;
        records.truncate(RECORDS_MAX);
        records.retain(|record| record.offset < end);
        if records.is_empty() {
            return Err(TransferError::Refused(format!(
                "{at} ends at {}, and {end} was its end before; stop whatever changes this log, and export again",
                writer.end()
            )));
        }
        writer.append(records)?;
        progress(writer.end())?;
    }
    writer.finish()
}
