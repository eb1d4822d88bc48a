//! Who has which partitions of a group, as its coordinator tells.

use std::time::Duration;

use bytes::Buf;
use eschaton_ports::{LogError, Owner};
use rdkafka::consumer::Consumer as _;
use rdkafka::groups::GroupInfo;

use crate::context::Consumer;
use crate::error::{unavailable, words};
use crate::layout::Layout;

/// The members of a group in the cluster. Blocks until the brokers have answered.
pub(crate) fn owners(
    asker: &Consumer,
    layout: &Layout,
    group: &str,
    timeout: Duration,
) -> Result<Vec<Owner>, LogError> {
    let list = asker
        .fetch_group_list(Some(group), timeout)
        .map_err(|error| unavailable(&format!("asking for the members of {group}"), words(&error)))?;
    let members = list.groups().iter().filter(|found| found.name() == group).flat_map(GroupInfo::members);
    let mut owners = members
        .map(|member| {
            let partitions =
                partitions(layout, member.assignment().unwrap_or_default()).ok_or_else(|| {
                    LogError::Fatal { detail: format!("group {group} is used by a program of another kind") }
                })?;
            Ok(Owner { name: member.client_id().to_owned(), partitions })
        })
        .collect::<Result<Vec<_>, LogError>>()?;
    owners.sort_by(|one, other| (&one.partitions, &one.name).cmp(&(&other.partitions, &other.name)));
    Ok(owners)
}

/// Reads an assignment of the consumer protocol: version i16, then topics, each a string (length i16) and partitions
/// (i32 each); arrays have an i32 length. A member that waits for its first assignment has no bytes.
fn partitions(layout: &Layout, mut bytes: &[u8]) -> Option<Vec<u32>> {
    let mut partitions = Vec::new();
    if bytes.is_empty() {
        return Some(partitions);
    }
    bytes.try_get_i16().ok()?;
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        for _ in 0..bytes.try_get_i32().ok()? {
            let partition = bytes.try_get_i32().ok()?;
            let at = std::str::from_utf8(name).ok().and_then(|name| layout.parse(name, partition));
            partitions.extend(at.map(|at| at.partition));
        }
    }
    partitions.sort_unstable();
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;
    use crate::KafkaConfig;

    #[test]
    fn an_assignment_is_read_and_damage_refused() {
        let layout = Layout::new(&KafkaConfig::new("a:1", 4));
        let mut bytes = Vec::new();
        bytes.put_i16(1);
        bytes.put_i32(2);
        for (name, numbers) in [("eschaton.ledger", &[3, 1][..]), ("foreign", &[0])] {
            bytes.put_i16(i16::try_from(name.len()).unwrap_or(0));
            bytes.put_slice(name.as_bytes());
            bytes.put_i32(i32::try_from(numbers.len()).unwrap_or(0));
            numbers.iter().for_each(|number| bytes.put_i32(*number));
        }
        let whole = bytes.len();
        bytes.put_i32(0);
        assert_eq!(partitions(&layout, &bytes), Some(vec![1, 3]), "user data follows");
        assert_eq!(partitions(&layout, &[]), Some(Vec::new()));
        for cut in 1..whole {
            assert_eq!(partitions(&layout, &bytes[..cut]), None, "cut at {cut}");
        }
    }
}
