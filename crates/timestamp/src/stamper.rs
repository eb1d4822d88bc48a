//! Digests in intervals: one shard's open tree, and the closing of it at its tick.

use std::collections::HashMap;

use bytes::Bytes;
use eschaton_ots::tree::Hash;
use eschaton_ots::{Nonce, commitment};
use eschaton_types::pb::log::{self as log, stamp_input::Kind};
use eschaton_types::pb::state::{IntervalRow, StamperRow};
use prost::Message;

use crate::TimestampError;
use crate::planted::{Planted, PlantedBug};
use crate::rows::{
    Place, RowChange, RowKey, Rows, TreeId, corrupt, decode, digest_key, encode, fetch, interval_key,
    stamper_key,
};
use crate::tree::{LEAVES_MAX, TreeBuilder};

/// Most digests of one record.
pub const RECORD_DIGESTS_MAX: usize = 1 << 16;

/// What a stamper is set to. Part of its rules: every owner of a shard must use the same values, or replay
/// would close other intervals.
#[derive(Clone, Copy, Debug)]
pub struct StamperConfig {
    /// This shard.
    pub shard: u32,
    /// How long an interval is open after its first digest, in milliseconds of log time.
    pub interval_ms: u64,
    /// Most digests of an interval; at most 2^20.
    pub interval_max: u32,
}

impl StamperConfig {
    /// A tenth of a second and a million digests.
    pub fn new(shard: u32) -> Self {
        Self { shard, interval_ms: 100, interval_max: 1 << 20 }
    }
}

/// One digest of a record, with the nonce that hides it from its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Fresh random bytes.
    pub nonce: Nonce,
    /// As it was submitted, 1 to 64 bytes.
    pub digest: Bytes,
}

/// What a stamper consumes, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StampInput {
    /// Digests to stamp.
    Digests(Vec<Item>),
    /// Time passes.
    Tick,
}

impl StampInput {
    /// From a record's payload.
    ///
    /// # Errors
    /// [`TimestampError::Record`].
    pub fn decode(payload: &Bytes) -> Result<Self, TimestampError> {
        let damaged = |detail: &str| TimestampError::Record { detail: detail.to_owned() };
        let message = log::StampInput::decode(payload.clone()).map_err(|e| damaged(&e.to_string()))?;
        Ok(match message.kind.ok_or_else(|| damaged("stamp input of an unknown kind"))? {
            Kind::Tick(log::Tick {}) => Self::Tick,
            Kind::Digests(digests) if digests.items.len() > RECORD_DIGESTS_MAX => {
                return Err(damaged("too many digests"));
            }
            Kind::Digests(digests) => Self::Digests(
                digests
                    .items
                    .into_iter()
                    .map(|item| {
                        let nonce = *item.first_chunk().ok_or_else(|| damaged("digest without nonce"))?;
                        let item = Item { nonce, digest: item.slice(nonce.len()..) };
                        digest_key(&item.digest).map(|_| item)
                    })
                    .collect::<Result<_, _>>()?,
            ),
        })
    }

    /// The record's payload.
    pub fn encode(&self) -> Bytes {
        let kind = match self {
            Self::Tick => Kind::Tick(log::Tick {}),
            Self::Digests(items) => Kind::Digests(log::Digests {
                items: items.iter().map(|item| [&item.nonce[..], &item.digest].concat().into()).collect(),
            }),
        };
        encode(&log::StampInput { kind: Some(kind) })
    }
}

/// Where a submitted digest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its interval and leaf.
    pub place: Place,
    /// It was there before: an earlier submission's place.
    pub repeated: bool,
}

/// What a step of a stamper brings about, once it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamped {
    /// Rows to write.
    pub changes: Vec<RowChange>,
    /// Where the record's digests are, in its order.
    pub placed: Vec<Placed>,
    /// Intervals that were closed: records for the anchorer, and the moment at which those who wait are answered.
    pub closed: Vec<log::IntervalClosed>,
}

/// One shard's intervals. Invariant T1 (an acknowledged digest is in exactly one anchored interval): a digest that
/// has a place is not placed again, and an interval is closed and announced in one step.
#[derive(Clone, Debug)]
pub struct Stamper {
    config: StamperConfig,
    interval: u64,
    /// When the open interval got its first digest.
    opened_ms: Option<u64>,
    tree: TreeBuilder,
    planted: Planted,
}

impl Stamper {
    /// First of what [`Self::load`] reads: the head, and then the rows of the open interval.
    ///
    /// # Errors
    /// [`TimestampError::CorruptRow`].
    pub fn rows_for_load(
        config: &StamperConfig,
        head: Option<&Bytes>,
    ) -> Result<Vec<RowKey>, TimestampError> {
        let key = stamper_key(config.shard);
        let Some(head) = head else { return Ok(vec![key]) };
        let head: StamperRow = decode(&key, head)?;
        let id = TreeId::Interval { shard: config.shard, interval: head.interval };
        Ok([vec![key], TreeBuilder::rows_for_load(id, head.count)].concat())
    }

    /// A stamper as its rows hold it; one that never stepped has none.
    ///
    /// # Errors
    /// [`TimestampError::MissingRow`], [`TimestampError::CorruptRow`].
    pub fn load(config: StamperConfig, rows: Rows<'_>) -> Result<Self, TimestampError> {
        Self::load_with(config, rows, Planted::NOTHING)
    }

    /// As [`Self::load`], with a bug.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "planted-bugs")]
    pub fn load_planted(
        config: StamperConfig,
        rows: Rows<'_>,
        bug: Option<PlantedBug>,
    ) -> Result<Self, TimestampError> {
        Self::load_with(config, rows, Planted::new(bug))
    }

    fn load_with(config: StamperConfig, rows: Rows<'_>, planted: Planted) -> Result<Self, TimestampError> {
        let key = stamper_key(config.shard);
        let head = rows(&key).map(|row| decode::<StamperRow>(&key, &row)).transpose()?.unwrap_or_default();
        let id = TreeId::Interval { shard: config.shard, interval: head.interval };
        let tree = TreeBuilder::load(id, head.count, rows)?;
        if head.opened_ms.is_some() != (head.count > 0) {
            return Err(corrupt(&key));
        }
        Ok(Self { config, interval: head.interval, opened_ms: head.opened_ms, tree, planted })
    }

    /// Which one it is.
    pub(crate) fn shard(&self) -> u32 {
        self.config.shard
    }

    /// Log time at which the open interval is due, if it has digests.
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.opened_ms.map(|opened| opened.saturating_add(self.config.interval_ms))
    }

    /// Digests in the open interval.
    pub fn open_digests(&self) -> u32 {
        self.tree.count()
    }

    /// The rows that [`Self::step`] reads for this input.
    ///
    /// # Errors
    /// [`TimestampError::Digest`].
    pub fn touches(&self, input: &StampInput) -> Result<Vec<RowKey>, TimestampError> {
        match input {
            StampInput::Tick => Ok(Vec::new()),
            StampInput::Digests(items) => items.iter().map(|item| digest_key(&item.digest)).collect(),
        }
    }

    /// One record. What fell due comes first: who arrives after an interval's end is in the next.
    ///
    /// # Errors
    /// A defect or damage; the stamper must not be used after it.
    pub fn step(&mut self, rows: Rows<'_>, now: u64, input: &StampInput) -> Result<Stamped, TimestampError> {
        let mut stamped = Stamped::default();
        if self.next_timer_ms().is_some_and(|due| due <= now) {
            self.close(now, &mut stamped)?;
        }
        if let StampInput::Digests(items) = input {
            let mut placed_here: HashMap<RowKey, Place> = HashMap::new();
            for item in items {
                let key = digest_key(&item.digest)?;
                let known = match placed_here.get(&key) {
                    Some(place) => Some(*place),
                    None => rows(&key).map(|row| Place::from_row(&key, &row)).transpose()?,
                };
                if let Some(place) = known.filter(|_| !self.planted.has(PlantedBug::NoDigestDeduplication)) {
                    stamped.placed.push(Placed { place, repeated: true });
                    continue;
                }
                let place = self.place(item, now)?;
                stamped.placed.push(Placed { place, repeated: false });
                stamped.changes.push((key.clone(), place.to_row()));
                placed_here.insert(key, place);
                if self.tree.count() >= self.config.interval_max.min(LEAVES_MAX) {
                    self.close(now, &mut stamped)?;
                }
            }
        }
        if !stamped.placed.is_empty() || !stamped.closed.is_empty() {
            if !self.planted.has(PlantedBug::LastRowUnwritten) {
                stamped.changes.extend(self.tree.take_changes());
            }
            stamped.changes.push(self.head());
        }
        Ok(stamped)
    }

    fn place(&mut self, item: &Item, now: u64) -> Result<Place, TimestampError> {
        let leaf: Hash = commitment(&item.digest, &item.nonce);
        let index = self.tree.push(&leaf, &item.nonce)?;
        self.opened_ms.get_or_insert(now);
        Ok(Place { interval: self.interval, index })
    }

    fn close(&mut self, now: u64, stamped: &mut Stamped) -> Result<(), TimestampError> {
        let (shard, interval) = (self.config.shard, self.interval);
        let opened_ms = self.opened_ms.take().unwrap_or(now);
        self.interval = interval.checked_add(1).ok_or(TimestampError::Full { what: "intervals" })?;
        let next = TreeBuilder::new(TreeId::Interval { shard, interval: self.interval });
        let tree = std::mem::replace(&mut self.tree, next);
        let count = tree.count();
        let (root, mut changes) = tree.close()?;
        if self.planted.has(PlantedBug::LastRowUnwritten) {
            changes.pop();
        }
        stamped.changes.extend(changes);
        let root = Bytes::copy_from_slice(&root);
        let row = IntervalRow { count, root: root.clone(), opened_ms, closed_ms: now };
        stamped.changes.push((interval_key(shard, interval), encode(&row)));
        stamped.closed.push(log::IntervalClosed { shard, interval, root, count, closed_ms: now });
        Ok(())
    }

    fn head(&self) -> RowChange {
        let row = StamperRow { interval: self.interval, opened_ms: self.opened_ms, count: self.tree.count() };
        (stamper_key(self.config.shard), encode(&row))
    }
}

/// An interval's row, for who looks it up.
///
/// # Errors
/// [`TimestampError::Open`] when it is not closed, [`TimestampError::CorruptRow`].
pub fn interval_row(shard: u32, interval: u64, rows: Rows<'_>) -> Result<IntervalRow, TimestampError> {
    let key = interval_key(shard, interval);
    match fetch(rows, &key) {
        Ok(row) => decode(&key, &row),
        Err(_) => Err(TimestampError::Open),
    }
}
