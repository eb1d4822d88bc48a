use eschaton_ports::{Log, TopicPartition};

use crate::TransferError;
use crate::manifest::GroupPosition;

/// Where groups stand. Claims what it asks for: whoever had it is fenced. Each claim is as its group's workers make it.
pub async fn positions(
    log: &dyn Log,
    claims: &[(&str, Vec<TopicPartition>)],
) -> Result<Vec<GroupPosition>, TransferError> {
    let mut found = Vec::new();
    for (group, partitions) in claims {
        let claim = log.claim(group, partitions).await?;
        found.extend(claim.positions().into_iter().map(|(at, next)| GroupPosition {
            group: (*group).to_owned(),
            topic: at.topic.number(),
            partition: at.partition,
            next,
        }));
    }
    Ok(found)
}

/// Moves groups to where they stood. Repeating it changes nothing; a group that stands further is refused.
pub async fn set_positions(
    log: &dyn Log,
    claims: &[(&str, Vec<TopicPartition>)],
    wanted: &[GroupPosition],
) -> Result<(), TransferError> {
    for (group, partitions) in claims {
        let mut claim = log.claim(group, partitions).await?;
        let mut advance = Vec::new();
        for (at, there) in claim.positions() {
            let next = wanted
                .iter()
                .find(|position| position.group == *group && position.at() == Some(at))
                .map_or(0, |position| position.next);
            if there > next {
                return Err(TransferError::Refused(format!(
                    "group {group} stands at {there} of {at} in the target, and at {next} in the export: something \
                     was at work there; import into an empty one"
                )));
            }
            if next > there {
                advance.push((at, next));
            }
        }
        if !advance.is_empty() {
            claim.commit(Vec::new(), &advance).await?;
        }
    }
    Ok(())
}
