//! Who owned which shard when.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eschaton_node::{NodeConfig, open_engines};
use tokio::task::JoinHandle;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);
const GROUP: &str = "conflict-resolver";

/// Owners by shard at one moment; nobody: the shard is between two.
pub(crate) type Owners = Vec<Option<String>>;

/// Looks at the group again and again.
pub(crate) struct Watch {
    seen: Arc<Mutex<Vec<(Instant, Owners)>>>,
    looking: JoinHandle<anyhow::Result<()>>,
}

impl Watch {
    pub(crate) fn start(config: &NodeConfig) -> Self {
        let seen: Arc<Mutex<Vec<(Instant, Owners)>>> = Arc::default();
        let (config, shown) = (config.clone(), seen.clone());
        let looking = tokio::spawn(async move {
            let (log, _) = open_engines(&config, "loadtest").await?;
            loop {
                let mut owners: Owners = (0..config.shards).map(|_| None).collect();
                for owner in log.owners(GROUP).await? {
                    for shard in owner.partitions {
                        if let Some(slot) = owners.get_mut(usize::try_from(shard)?) {
                            *slot = Some(owner.name.clone());
                        }
                    }
                }
                note(&shown, owners);
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { seen, looking }
    }

    /// What was seen, in order. Fails if looking has failed.
    pub(crate) async fn end(self) -> anyhow::Result<Vec<(Instant, Owners)>> {
        if self.looking.is_finished() {
            self.looking.await??;
        } else {
            self.looking.abort();
        }
        Ok(std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Remembers a change.
fn note(seen: &Mutex<Vec<(Instant, Owners)>>, owners: Owners) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.last().is_none_or(|(_, last)| *last != owners) {
        seen.push((Instant::now(), owners));
    }
}

/// Shards whose owner at any moment from `from` to `to` was not the one that they had at `from`.
pub(crate) fn moved(seen: &[(Instant, Owners)], from: Instant, to: Instant) -> BTreeSet<u32> {
    let Some(before) = seen.iter().take_while(|(at, _)| *at <= from).last().map(|(_, owners)| owners) else {
        return BTreeSet::new();
    };
    let meanwhile = seen.iter().filter(|(at, _)| *at > from && *at <= to);
    meanwhile
        .flat_map(|(_, owners)| (0u32..).zip(owners.iter().zip(before)))
        .filter(|(_, (now, before))| now != before)
        .map(|(shard, _)| shard)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_had_another_owner_for_a_moment_has_moved() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let owners =
            |names: [&str; 3]| names.map(|name| (!name.is_empty()).then(|| name.to_owned())).to_vec();
        let seen = [
            (at(0), owners(["a", "a", "b"])),
            (at(100), owners(["a", "", "b"])),
            (at(200), owners(["a", "c", "b"])),
            (at(900), owners(["c", "c", "b"])),
        ];
        assert_eq!(moved(&seen, at(50), at(150)), BTreeSet::from([1]));
        assert_eq!(moved(&seen, at(250), at(800)), BTreeSet::new());
        assert_eq!(moved(&seen, at(150), at(1_000)), BTreeSet::from([0, 1]));
    }
}
