use std::sync::Arc;

use async_trait::async_trait;
use eschaton_ports::{Claim, LogError, NewRecord, Position, TopicPartition};

use super::layout::{self, Layout};
use super::queue::{Command, Fence, GROUP_NAME_BYTES_MAX, Queue, invalid};

/// Ownership of a group's partitions, until a newer claim takes one of them.
pub(super) struct EmbeddedClaim {
    queue: Queue,
    layout: Layout,
    fence: Fence,
    /// In the order of the fence's partitions.
    positions: Vec<(TopicPartition, u64)>,
}

impl EmbeddedClaim {
    pub(super) async fn take(
        queue: &Queue,
        layout: Layout,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Self, LogError> {
        if group.is_empty() || group.len() > GROUP_NAME_BYTES_MAX {
            return Err(invalid(format!(
                "a group's name has 1 to {GROUP_NAME_BYTES_MAX} bytes, not {}",
                group.len()
            )));
        }
        let mut numbers = Vec::with_capacity(partitions.len());
        for at in partitions {
            let number = layout.index(*at).ok_or_else(|| layout::unknown(*at))?;
            if numbers.contains(&number) {
                return Err(invalid(format!("partition {at} is claimed twice at once")));
            }
            numbers.push(number);
        }
        if numbers.is_empty() {
            return Err(invalid("a claim on no partition owns nothing".to_owned()));
        }
        let group: Arc<str> = group.into();
        let asked = (Arc::clone(&group), numbers.clone());
        let grant =
            queue.ask(0, |reply| Command::Claim { group: asked.0, partitions: asked.1, reply }).await?;
        Ok(Self {
            queue: queue.clone(),
            layout,
            fence: Fence { group, partitions: numbers.into(), epoch: grant.epoch },
            positions: partitions.iter().copied().zip(grant.next).collect(),
        })
    }
}

#[async_trait]
impl Claim for EmbeddedClaim {
    fn positions(&self) -> Vec<(TopicPartition, u64)> {
        self.positions.clone()
    }

    async fn commit(
        &mut self,
        outputs: Vec<NewRecord>,
        advance: &[(TopicPartition, u64)],
    ) -> Result<Vec<Position>, LogError> {
        let bytes = self.layout.check(&outputs)?;
        let mut positions = self.positions.clone();
        let mut moves = Vec::with_capacity(advance.len());
        for (at, next) in advance {
            let index = positions.iter().position(|(claimed, _)| claimed == at);
            let (Some(position), Some(number)) =
                (index.and_then(|i| positions.get_mut(i)), self.layout.index(*at))
            else {
                return Err(invalid(format!("partition {at} is not part of this claim")));
            };
            if *next < position.1 {
                return Err(invalid(format!(
                    "position of {at} cannot go back from {} to {next}",
                    position.1
                )));
            }
            position.1 = *next;
            moves.push((number, *next));
        }
        let fence = self.fence.clone();
        let published =
            self.queue.ask(bytes, |reply| Command::Commit { fence, outputs, advance: moves, reply }).await?;
        self.positions = positions;
        Ok(published)
    }
}
