//! Anchors and their life: intervals join the open anchor → it is planned when due → signed (on the log before
//! anybody broadcasts it) → broadcast → replaced while it is too cheap → confirmed → final → buried; a
//! reorganisation takes it back, a certain conflict makes it build anew.

mod anchor;
mod config;
mod events;
mod input;
mod wants;

use std::collections::BTreeMap;

use bytes::Bytes;
use eschaton_types::pb::log::{AnchorChange, AnchorEvent};
use eschaton_types::pb::state::AnchorerRow;

pub use anchor::{ATTEMPTS_MAX, Anchor, Attempt, Block};
pub use config::AnchorerConfig;
pub use input::AnchorInput;
pub use wants::{Alert, Want};

use crate::TimestampError;
use crate::planted::Planted;
#[cfg(feature = "planted-bugs")]
use crate::planted::PlantedBug;
use crate::rows::{
    RowChange, RowKey, Rows, TreeId, anchor_key, anchorer_key, corrupt, decode, encode, fetch,
};
use crate::tree::{LEAVES_MAX, TreeBuilder};

const DAY_MS: u64 = 86_400_000;

/// What a step brings about, once it is committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchored {
    /// Rows to write.
    pub changes: Vec<RowChange>,
    /// Records to publish.
    pub events: Vec<AnchorEvent>,
}

/// The anchors of all shards. Invariant T1 (an acknowledged digest is in exactly one anchored interval, and its proof
/// completes): an interval gets its place in the open anchor in the step that reads it, intervals of a shard come
/// in order and each counts once, and an anchor is followed until it is deep in the chain.
#[derive(Clone, Debug)]
pub struct Anchorer {
    config: AnchorerConfig,
    open: TreeBuilder,
    open_number: u64,
    oldest_ms: u64,
    planned_ms: u64,
    next_interval: Vec<u64>,
    fee: Option<u64>,
    tip: u64,
    /// Anchors that are planned and not buried.
    anchors: BTreeMap<u64, Anchor>,
    planted: Planted,
}

impl Anchorer {
    /// First of what [`Self::load`] reads: the head, then the followed anchors and the rows of the open one's tree.
    ///
    /// # Errors
    /// [`TimestampError::CorruptRow`].
    pub fn rows_for_load(head: Option<&Bytes>) -> Result<Vec<RowKey>, TimestampError> {
        let key = anchorer_key();
        if head.is_none() {
            return Ok(vec![key]);
        }
        let head = Self::head_of(head)?;
        let anchors = (head.first..head.open).map(anchor_key).collect();
        Ok([vec![key], anchors, TreeBuilder::rows_for_load(TreeId::Anchor(head.open), head.count)].concat())
    }

    /// The anchorer as its rows hold it; one that never stepped has none.
    ///
    /// # Errors
    /// [`TimestampError::MissingRow`], [`TimestampError::CorruptRow`].
    pub fn load(config: AnchorerConfig, rows: Rows<'_>) -> Result<Self, TimestampError> {
        Self::load_with(config, rows, Planted::NOTHING)
    }

    /// As [`Self::load`], with a bug.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "planted-bugs")]
    pub fn load_planted(
        config: AnchorerConfig,
        rows: Rows<'_>,
        bug: Option<PlantedBug>,
    ) -> Result<Self, TimestampError> {
        Self::load_with(config, rows, Planted::new(bug))
    }

    fn load_with(config: AnchorerConfig, rows: Rows<'_>, planted: Planted) -> Result<Self, TimestampError> {
        let key = anchorer_key();
        let head = Self::head_of(rows(&key).as_ref())?;
        let mut anchors = BTreeMap::new();
        for number in head.first..head.open {
            let row = fetch(rows, &anchor_key(number))?;
            anchors.insert(number, Anchor::from_row(number, &row)?);
        }
        let mut next_interval = head.next_interval;
        let shards = usize::try_from(config.shards).map_err(|_| corrupt(&key))?;
        if next_interval.len() > shards {
            return Err(corrupt(&key));
        }
        next_interval.resize(shards, 0);
        Ok(Self {
            open: TreeBuilder::load(TreeId::Anchor(head.open), head.count, rows)?,
            open_number: head.open,
            oldest_ms: head.oldest_ms,
            planned_ms: head.planned_ms,
            next_interval,
            fee: head.fee_sat_per_kvb,
            tip: head.tip,
            anchors,
            config,
            planted,
        })
    }

    /// An anchor that is planned and not buried; older ones have their row alone.
    pub fn anchor(&self, number: u64) -> Option<&Anchor> {
        self.anchors.get(&number)
    }

    /// Anchors that are planned and not buried, the oldest first.
    pub fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.values()
    }

    /// Intervals that wait for the next anchor, and since when the oldest does.
    pub fn waiting(&self) -> (u32, u64) {
        (self.open.count(), self.oldest_ms)
    }

    /// What the row of [`anchorer_key`] says; one that never stepped has none.
    ///
    /// # Errors
    /// [`TimestampError::CorruptRow`].
    pub fn head_of(row: Option<&Bytes>) -> Result<AnchorerRow, TimestampError> {
        row.map_or(Ok(AnchorerRow::default()), |row| decode(&anchorer_key(), row))
    }

    /// What the followed anchors cost that were planned within the last day, satoshi. They are followed for 144 blocks,
    /// which take about as long.
    pub fn day_cost_sat(&self, now_ms: u64) -> u64 {
        let recent =
            self.anchors.values().filter(|anchor| anchor.planned_ms >= now_ms.saturating_sub(DAY_MS));
        recent.filter_map(Anchor::counting).fold(0, |sum, attempt| sum.saturating_add(attempt.fee_sat))
    }

    /// Height of the chain.
    pub fn tip(&self) -> u64 {
        self.tip
    }

    /// Log time at which an anchor is due, if anything waits for one.
    pub fn next_timer_ms(&self) -> Option<u64> {
        (self.open.count() > 0)
            .then(|| self.planned_ms.saturating_add(self.config.anchor_ms).max(self.oldest_ms))
    }

    /// One record. Records that do not fit (late, repeated, or from a node that lies) change nothing.
    ///
    /// # Errors
    /// A defect or damage; the anchorer must not be used after it.
    pub fn step(&mut self, now: u64, input: &AnchorInput) -> Result<Anchored, TimestampError> {
        let head = self.head();
        let mut out = Anchored::default();
        self.apply(now, input, &mut out)?;
        self.settle(&mut out);
        self.plan_if_due(now, &mut out)?;
        out.changes.extend(self.open.take_changes());
        let new_head = self.head();
        if new_head != head {
            out.changes.push((anchorer_key(), encode(&new_head)));
        }
        Ok(out)
    }

    fn head(&self) -> AnchorerRow {
        AnchorerRow {
            open: self.open_number,
            count: self.open.count(),
            oldest_ms: self.oldest_ms,
            first: self.anchors.keys().next().copied().unwrap_or(self.open_number),
            planned_ms: self.planned_ms,
            next_interval: self.next_interval.clone(),
            fee_sat_per_kvb: self.fee,
            tip: self.tip,
        }
    }

    /// Closes the open anchor when it is due and there is something to pay for it. While the fee is above the cap
    /// it stays open, so that one transaction serves all who wait.
    fn plan_if_due(&mut self, now: u64, out: &mut Anchored) -> Result<(), TimestampError> {
        let full = self.open.count() >= LEAVES_MAX;
        let due = self.next_timer_ms().is_some_and(|due| due <= now);
        let free = self.config.upstream_only;
        let affordable = free || self.fee.is_some_and(|fee| fee <= self.config.fee_cap_sat_per_kvb);
        let waiting = self.anchors.values().filter(|anchor| anchor.block.is_none()).count();
        let in_flight = free || waiting < self.config.in_flight_max;
        let room = in_flight && self.anchors.len() < self.config.followed_max;
        if !(full || (due && affordable && room)) {
            return Ok(());
        }
        let number = self.open_number;
        self.open_number = number.checked_add(1).ok_or(TimestampError::Full { what: "anchors" })?;
        let tree = std::mem::replace(&mut self.open, TreeBuilder::new(TreeId::Anchor(self.open_number)));
        let count = tree.count();
        let (root, changes) = tree.close()?;
        out.changes.extend(changes);
        (self.planned_ms, self.oldest_ms) = (now, 0);
        let anchor = Anchor {
            number,
            count,
            root,
            planned_ms: now,
            attempts: Vec::new(),
            block: None,
            is_final: false,
            upstream: Bytes::new(),
            wished_sat_per_kvb: 0,
        };
        out.events.push(event(number, AnchorChange::Planned));
        out.changes.push((anchor_key(number), encode(&anchor.to_row())));
        self.anchors.insert(number, anchor);
        Ok(())
    }
}

/// An event without transaction.
pub(crate) fn event(anchor: u64, change: AnchorChange) -> AnchorEvent {
    AnchorEvent { anchor, change: change.into(), ..AnchorEvent::default() }
}
