use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use eschaton_ports::{LogError, NewRecord, Position};
use fjall::{Database, Keyspace, PersistMode, Slice};
use tokio::sync::mpsc;

use super::Partitions;
use super::chunk;
use super::queue::{Command, Fence, Grant, OWNERS_MAX, Reply, Request, invalid};
use crate::journal::{MARK_KEY, Mark};

/// One sync serves as many requests as wait, up to these.
const GROUP_REQUESTS: usize = 256;
const GROUP_BYTES: usize = 8 << 20;

const OWNER_PREFIX: &[u8] = b"owner/";

/// A partition as a group consumes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    /// The newest claim; 0 before the first.
    pub(super) epoch: u64,
    /// The next offset to consume.
    pub(super) next: u64,
}

/// By group and partition number.
pub(super) type Owners = HashMap<(Arc<str>, usize), Owner>;

/// The only writer, on a thread of its own: gathers requests, writes one batch, syncs it, and only then
/// shows it to readers and answers. A failure ends it, so staging changes its own state at once.
pub(super) struct Committer {
    pub(super) db: Database,
    pub(super) meta: Keyspace,
    pub(super) partitions: Arc<Partitions>,
    pub(super) mark: Mark,
    /// Of the last batch.
    pub(super) sequence: u64,
    /// Of the last claim.
    pub(super) epoch: u64,
    /// By partition number, staged records included.
    pub(super) ends: Vec<u64>,
    pub(super) owners: Owners,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) closing: Arc<AtomicBool>,
    /// See [`super::LogOptions::commit_interval`].
    pub(super) commit_interval: Duration,
}

/// What one batch will hold, and whom to tell.
#[derive(Default)]
struct Group {
    /// Partition number, offset of the first record, records.
    records: HashMap<usize, (u64, Vec<NewRecord>)>,
    owners: BTreeSet<(Arc<str>, usize)>,
    published: Vec<(Reply<Vec<Position>>, Vec<Position>)>,
    claimed: Vec<(Reply<Grant>, Grant)>,
}

impl Committer {
    /// Runs until the log closes. Requests left in the queue are dropped, which their callers see.
    #[allow(
        clippy::disallowed_methods,
        reason = "paces real disk writes on a thread of its own; nothing is decided by it"
    )]
    pub(super) fn run(mut self) {
        let _fall = Fall(Arc::clone(&self.partitions));
        let mut begun: Option<Instant> = None;
        while !self.closing.load(Ordering::Acquire) {
            let Some(first) = self.requests.blocking_recv() else { break };
            if let Some(wait) = begun.and_then(|begun| self.commit_interval.checked_sub(begun.elapsed())) {
                std::thread::sleep(wait);
            }
            begun = Some(Instant::now());
            let mut group = Group::default();
            // The shares of the queue come back when the group is written.
            let mut shares = Vec::new();
            let (mut next, mut requests, mut bytes) = (Some(first), 0, 0);
            while let Some(Request { command, bytes: weight, _share }) = next {
                requests += 1;
                bytes += weight;
                shares.push(_share);
                self.stage(&mut group, command);
                let more = requests < GROUP_REQUESTS && bytes < GROUP_BYTES;
                next = if more { self.requests.try_recv().ok() } else { None };
            }
            if let Err(detail) = self.write(group) {
                self.partitions.poison(detail);
                break;
            }
        }
    }

    fn stage(&mut self, group: &mut Group, command: Command) {
        match command {
            Command::Append { records, reply } => {
                let positions = self.place(group, records);
                group.published.push((reply, positions));
            }
            Command::Claim { group: name, partitions, reply } => {
                match self.grant(group, &name, &partitions) {
                    Ok(grant) => group.claimed.push((reply, grant)),
                    Err(error) => answer(reply, Err(error)),
                }
            }
            Command::Commit { fence, outputs, advance, reply } => match self.advance(&fence, &advance) {
                Ok(()) => {
                    let moved = advance.iter().map(|(number, _)| (Arc::clone(&fence.group), *number));
                    group.owners.extend(moved);
                    let positions = self.place(group, outputs);
                    group.published.push((reply, positions));
                }
                Err(error) => answer(reply, Err(error)),
            },
            Command::Stop => {}
        }
    }

    /// Gives records their offsets. Their partitions were checked when they were taken in.
    fn place(&mut self, group: &mut Group, records: Vec<NewRecord>) -> Vec<Position> {
        let mut positions = Vec::with_capacity(records.len());
        for record in records {
            let at = record.to;
            let number = self.partitions.layout.index(at);
            if let Some((number, end)) = number.and_then(|n| Some((n, self.ends.get_mut(n)?))) {
                positions.push(Position { at, offset: *end });
                group.records.entry(number).or_insert_with(|| (*end, Vec::new())).1.push(record);
                *end += 1;
            }
        }
        positions
    }

    fn grant(&mut self, group: &mut Group, name: &Arc<str>, partitions: &[usize]) -> Result<Grant, LogError> {
        let known = |number: &&usize| self.owners.contains_key(&(Arc::clone(name), **number));
        let new = partitions.len() - partitions.iter().filter(known).count();
        if self.owners.len() + new > OWNERS_MAX {
            return Err(invalid(format!(
                "positions of over {OWNERS_MAX} groups' partitions; use fewer groups"
            )));
        }
        self.epoch += 1;
        let next = partitions
            .iter()
            .map(|number| {
                let key = (Arc::clone(name), *number);
                group.owners.insert(key.clone());
                let owner = self.owners.entry(key).or_default();
                owner.epoch = self.epoch;
                owner.next
            })
            .collect();
        Ok(Grant { epoch: self.epoch, next })
    }

    /// Moves a claim's positions, all or none.
    fn advance(&mut self, fence: &Fence, advance: &[(usize, u64)]) -> Result<(), LogError> {
        for number in &*fence.partitions {
            let owner = self.owners.get(&(Arc::clone(&fence.group), *number));
            if owner.is_none_or(|owner| owner.epoch != fence.epoch) {
                return Err(LogError::Fenced { group: fence.group.to_string() });
            }
        }
        for (number, next) in advance {
            let end = self.ends.get(*number).copied().unwrap_or(0);
            if *next > end {
                return Err(invalid(format!(
                    "position {next} is beyond the end {end} of what can be consumed"
                )));
            }
        }
        for (number, next) in advance {
            let owner = self.owners.entry((Arc::clone(&fence.group), *number)).or_default();
            owner.next = owner.next.max(*next);
        }
        Ok(())
    }

    /// Makes a group durable, then shows it, then answers. The error says what failed: whether the
    /// group is on disk is then unknown until the next opening.
    fn write(&mut self, group: Group) -> Result<(), String> {
        let Group { records, owners, published, claimed } = group;
        if !records.is_empty() || !owners.is_empty() {
            self.sequence += 1;
            let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
            batch.insert(&self.meta, MARK_KEY, self.mark.value(self.sequence));
            let mut grown = Vec::with_capacity(records.len());
            for (number, (base, records)) in records {
                let Some(partition) = self.partitions.list.get(number) else { continue };
                let mut chunks = Vec::new();
                for (chunk, row) in chunk::encode(base, records) {
                    batch.insert(&partition.keyspace, chunk.base.to_be_bytes(), Slice::from(&row[..]));
                    chunks.push(Arc::new(chunk));
                }
                grown.push((partition, chunks));
            }
            for key in owners {
                if let Some(owner) = self.owners.get(&key) {
                    batch.insert(&self.meta, owner_key(&key), owner_value(*owner));
                }
            }
            batch.commit().map_err(|error| format!("writing a batch: {error:?}"))?;
            for (partition, chunks) in grown {
                partition.publish(chunks);
            }
        }
        for (reply, positions) in published {
            answer(reply, Ok(positions));
        }
        for (reply, grant) in claimed {
            answer(reply, Ok(grant));
        }
        Ok(())
    }
}

/// Poisons the log should the committer panic: nothing would ever be acknowledged again.
struct Fall(Arc<Partitions>);

impl Drop for Fall {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("its committer stopped by a defect".to_owned());
        }
    }
}

/// Whoever asked may have gone; what was done stays done.
fn answer<T>(reply: Reply<T>, result: Result<T, LogError>) {
    let _ = reply.send(result);
}

/// `owner/`, partition number u32, group's name.
fn owner_key((group, number): &(Arc<str>, usize)) -> Vec<u8> {
    let number = u32::try_from(*number).unwrap_or(u32::MAX);
    [OWNER_PREFIX, &number.to_be_bytes(), group.as_bytes()].concat()
}

/// Epoch u64, next offset u64.
fn owner_value(owner: Owner) -> Vec<u8> {
    [owner.epoch.to_be_bytes(), owner.next.to_be_bytes()].concat()
}

/// Reads all owners back. The error says what is wrong.
pub(super) fn read_owners(meta: &Keyspace) -> Result<Owners, String> {
    let mut owners = Owners::new();
    for row in meta.prefix(OWNER_PREFIX) {
        let (key, value) = row.into_inner().map_err(|error| format!("{error:?}"))?;
        let (key, value) = (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
        let read = read_owner(&key, value).ok_or_else(|| format!("row {} is broken", hex::encode(&key)))?;
        owners.insert(read.0, read.1);
    }
    Ok(owners)
}

fn read_owner(key: &[u8], mut value: Bytes) -> Option<((Arc<str>, usize), Owner)> {
    let (number, group) = key.strip_prefix(OWNER_PREFIX)?.split_first_chunk()?;
    let number = usize::try_from(u32::from_be_bytes(*number)).ok()?;
    let group = std::str::from_utf8(group).ok()?.into();
    let owner = Owner { epoch: value.try_get_u64().ok()?, next: value.try_get_u64().ok()? };
    value.is_empty().then_some(((group, number), owner))
}
