//! The log: a row per partition and group commit, synced once for all who wait.

mod chunk;
mod claim;
mod committer;
mod import;
mod layout;
mod open;
mod partition;
mod queue;

use std::fs::File;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use eschaton_ports::{Claim, Log, LogError, LogRecord, NewRecord, Position, TopicPartition};
use futures::future::select_all;

use claim::EmbeddedClaim;
use layout::Layout;
use partition::Partition;
use queue::{Command, Poison, Queue, invalid};

pub use import::LogImport;
pub use open::{LogOptions, OpenReport};
pub use queue::{APPEND_BYTES_MAX, GROUP_NAME_BYTES_MAX, OWNERS_MAX};

use crate::OpenError;
use crate::background::Repeated;

/// The log on one machine's disk. Dropping it waits for the commit under way, then closes the
/// directory; claims that outlive it get `Unavailable`.
pub struct EmbeddedLog {
    queue: Queue,
    partitions: Arc<Partitions>,
    closing: Arc<AtomicBool>,
    committer: Option<JoinHandle<()>>,
    _spent_buffers: Repeated,
    // Last, for fields drop in order: the directory is free only when the engine is closed.
    _lock: File,
}

/// All partitions, in the layout's order, and why they are no longer to be believed.
struct Partitions {
    layout: Layout,
    list: Vec<Partition>,
    poison: Poison,
}

impl Partitions {
    fn get(&self, at: TopicPartition) -> Result<&Partition, LogError> {
        self.layout.index(at).and_then(|index| self.list.get(index)).ok_or_else(|| layout::unknown(at))
    }

    /// From now on every call fails, and whoever waits learns it.
    fn poison(&self, detail: String) {
        self.poison.set(detail);
        for partition in &self.list {
            partition.wake();
        }
    }
}

impl EmbeddedLog {
    /// Opens the log in `dir`, and makes it if there is none. Blocks while journals are checked and
    /// replayed (some hundred MiB at most).
    pub fn open(dir: &Path, options: &LogOptions) -> Result<(Self, OpenReport), OpenError> {
        open::open(dir, options)
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.queue.stop();
        if let Some(committer) = self.committer.take() {
            // A panic there has poisoned the log already; nobody is left to tell.
            let _ = committer.join();
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.partitions.poison.check()?;
        let bytes = self.partitions.layout.check(&records)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.queue.ask(bytes, |reply| Command::Append { records, reply }).await
    }

    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        self.partitions.poison.check()?;
        self.partitions.get(at)?.read(from, max_records, max_bytes)
    }

    async fn wait(&self, from: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        let waited: Vec<(&Partition, u64)> = from
            .iter()
            .map(|(at, from)| Ok((self.partitions.get(*at)?, *from)))
            .collect::<Result<_, LogError>>()?;
        if waited.is_empty() {
            return Err(invalid("waiting for no partition would never end".to_owned()));
        }
        loop {
            // Listen first, then look: what is published in between is heard.
            let mut heard: Vec<_> = waited.iter().map(|(partition, _)| Box::pin(partition.grows())).collect();
            for growing in &mut heard {
                Pin::as_mut(growing).enable();
            }
            self.partitions.poison.check()?;
            if waited.iter().any(|(partition, from)| partition.end() > *from) {
                return Ok(());
            }
            select_all(heard).await;
        }
    }

    async fn end(&self, at: TopicPartition) -> Result<u64, LogError> {
        self.partitions.poison.check()?;
        Ok(self.partitions.get(at)?.end())
    }

    async fn claim(&self, group: &str, partitions: &[TopicPartition]) -> Result<Box<dyn Claim>, LogError> {
        self.partitions.poison.check()?;
        let claim = EmbeddedClaim::take(&self.queue, self.partitions.layout, group, partitions).await?;
        Ok(Box::new(claim))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use eschaton_ports::Topic;
    use futures::future::join;

    use super::*;

    #[tokio::test]
    async fn a_failed_log_answers_nothing_but_that() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = EmbeddedLog::open(dir.path(), &LogOptions::new(1)).unwrap();
        let at = TopicPartition { topic: Topic::Ledger, partition: 0 };
        let record = || NewRecord { to: at, at_ms: 0, id: None, trace: None, payload: Bytes::new() };
        log.append(vec![record()]).await.unwrap();
        let mut claim = log.claim("g", &[at]).await.unwrap();

        let fatal = |result: Result<(), LogError>| assert!(matches!(result, Err(LogError::Fatal { .. })));
        let waited = [(at, 1)];
        let (waited, ()) = join(log.wait(&waited), async { log.partitions.poison("disk".into()) }).await;
        fatal(waited);
        fatal(log.append(vec![record()]).await.map(drop));
        fatal(log.read(at, 0, 1, 1).await.map(drop));
        fatal(log.end(at).await.map(drop));
        fatal(log.claim("g", &[at]).await.map(drop));
        fatal(claim.commit(Vec::new(), &[(at, 1)]).await.map(drop));
    }

    #[test]
    fn partitions_have_numbers_of_their_own() {
        for shards in [1, 4, 256] {
            let layout = Layout::new(shards);
            assert!(layout.all().enumerate().all(|(number, at)| layout.index(at) == Some(number)));
            assert_eq!(layout.index(TopicPartition { topic: Topic::Decisions, partition: shards }), None);
        }
    }
}
