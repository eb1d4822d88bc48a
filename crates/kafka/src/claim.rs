//! A claim as its owner sees it. The transactions happen on a thread of the claim's own.

mod outcome;
mod thread;
mod transaction;

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use async_trait::async_trait;
use eschaton_ports::{Claim, LogError, NewRecord, Position, TopicPartition};
use tokio::sync::oneshot;

use crate::error::{invalid, unavailable};
use crate::layout::{GROUP_NAME_BYTES_MAX, Layout};
use crate::metrics;
use crate::read::Reader;

pub(crate) use thread::{Opening, Place, open};

/// A commit on its way to the claim's thread.
pub(crate) struct Request {
    outputs: Vec<NewRecord>,
    /// Positions to write.
    offsets: Vec<(TopicPartition, u64)>,
    reply: oneshot::Sender<Result<Vec<Position>, LogError>>,
}

/// Ownership of a group's partitions, until a newer claim of the same partitions is made.
pub(crate) struct KafkaClaim {
    pub(crate) group: String,
    pub(crate) layout: Arc<Layout>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) positions: Vec<(TopicPartition, u64)>,
    pub(crate) thread: SyncSender<Request>,
    /// A commit that was not answered for so long is given up.
    pub(crate) patience: Duration,
    /// One was: what becomes of it is open, and nothing more may be asked.
    pub(crate) void: bool,
}

/// How much longer than its time-out a commit may take: its thread looks at the time between the client's calls.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Refuses what cannot be claimed.
pub(crate) fn check(layout: &Layout, group: &str, partitions: &[TopicPartition]) -> Result<(), LogError> {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if group.is_empty() || group.len() > GROUP_NAME_BYTES_MAX || !group.chars().all(name) {
        return Err(invalid(format!(
            "a group's name has 1 to {GROUP_NAME_BYTES_MAX} of letters, digits, '.', '_' and '-'"
        )));
    }
    if partitions.is_empty() {
        return Err(invalid("a claim on no partition owns nothing".to_owned()));
    }
    for (index, at) in partitions.iter().enumerate() {
        layout.index(*at)?;
        if partitions.iter().take(index).any(|other| other == at) {
            return Err(invalid(format!("partition {at} is claimed twice at once")));
        }
    }
    Ok(())
}

#[async_trait]
impl Claim for KafkaClaim {
    fn positions(&self) -> Vec<(TopicPartition, u64)> {
        self.positions.clone()
    }

    async fn commit(
        &mut self,
        outputs: Vec<NewRecord>,
        advance: &[(TopicPartition, u64)],
    ) -> Result<Vec<Position>, LogError> {
        self.layout.check(&outputs)?;
        let mut positions = self.positions.clone();
        for (at, next) in advance {
            let Some((_, position)) = positions.iter_mut().find(|(claimed, _)| claimed == at) else {
                return Err(invalid(format!("partition {at} is not part of this claim")));
            };
            if next < position {
                return Err(invalid(format!("position of {at} cannot go back from {position} to {next}")));
            }
            *position = *next;
        }
        // A transaction that holds nothing does not reach the broker; positions that do not move do.
        let offsets = if outputs.is_empty() { positions.clone() } else { advance.to_vec() };
        let (reply, answer) = oneshot::channel();
        let gone = || unavailable("the claim has ended", "claim again");
        if self.void {
            return Err(gone());
        }
        // The thread holds one request at a time, and `&mut self` lets only one be sent.
        self.thread.try_send(Request { outputs, offsets, reply }).map_err(|_| gone())?;
        // librdkafka does not keep the time that it is given: writing positions was seen to wait for minutes after a
        // rebalance. The thread ends when the call does; what it may publish until then, the next claim finishes or aborts.
        let Ok(answer) = tokio::time::timeout(self.patience, answer).await else {
            self.void = true;
            metrics::transaction("unknown");
            tracing::warn!(
                group = self.group,
                "kafka client holds a commit for longer than it may; the claim is void"
            );
            return Err(unavailable("the claim is void, claim again", "a commit was not answered in time"));
        };
        let published = answer.map_err(|_| gone())??;
        self.positions = positions;
        for position in &published {
            self.reader.promise(position.at, position.offset + 1);
        }
        for (at, next) in &self.positions {
            if let Some(end) = self.reader.followed_end(*at) {
                metrics::lag(&self.group, *at, end.saturating_sub(*next));
            }
        }
        Ok(published)
    }
}
