use std::collections::HashSet;

use bytes::Bytes;
use eschaton_ots::tree::Hash;

use super::Anchorer;
use super::anchor::{ATTEMPTS_MAX, Anchor, Attempt};
use crate::planted::PlantedBug;
use crate::transaction::Outpoint;

/// What the world should be made to do. Told from the rows alone, so that after a restart it is told again; doing
/// it twice is harmless, for what comes of it returns as a record that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Build and sign a transaction with an `OP_RETURN` output of `root`, and put it on the log. It spends
    /// confirmed outputs that no other anchor spends.
    Build {
        /// For which anchor.
        anchor: u64,
        /// What it must carry.
        root: Hash,
        /// What it pays, satoshi for 1,000 virtual bytes.
        sat_per_kvb: u64,
    },
    /// As `Build`, instead of a transaction that is too cheap (BIP 125).
    Replace {
        /// For which anchor.
        anchor: u64,
        /// What it must carry.
        root: Hash,
        /// What it pays, satoshi for 1,000 virtual bytes.
        sat_per_kvb: u64,
        /// More than this must be paid in all.
        above_sat: u64,
        /// It must spend this one, so that it conflicts with all before it.
        spend: Outpoint,
    },
    /// Hand this to the node: it is durable, and not in the node's mempool as far as is known.
    Broadcast {
        /// Of which anchor.
        anchor: u64,
        /// Its id.
        txid: Hash,
        /// The bytes.
        raw: Bytes,
    },
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alert {
    /// The fee is above the cap.
    #[error(
        "a timely transaction costs {sat_per_kvb} sat/kvB, the cap is {cap}; anchors wait, raise the cap or wait"
    )]
    FeeAboveCap {
        /// What is needed.
        sat_per_kvb: u64,
        /// What is allowed.
        cap: u64,
    },
    /// Nobody told what a transaction costs.
    #[error("there is no fee estimate yet; anchors wait, see whether the chain's node is there")]
    NoFee,
    /// As many anchors are followed as may be.
    #[error("{followed} anchors are followed, which is the limit; none is planned until one is buried")]
    Backlog {
        /// How many.
        followed: usize,
    },
    /// A transaction was replaced as often as it may be.
    #[error("anchor {anchor} has {attempts} transactions, which is the limit; it waits for one to confirm")]
    Attempts {
        /// Which.
        anchor: u64,
        /// How many.
        attempts: usize,
    },
    /// Another transaction spends an anchor's input.
    #[error(
        "an input of anchor {anchor} is spent elsewhere at height {height}; who else uses this wallet's keys?"
    )]
    Conflict {
        /// Which.
        anchor: u64,
        /// In which block.
        height: u64,
    },
    /// A final anchor is in no block any more.
    #[error(
        "anchor {anchor} was final and its block is gone; the chain was reorganised deeper than the settings foresee"
    )]
    DeepReorganisation {
        /// Which.
        anchor: u64,
    },
}

/// The least by which a replacement raises the fee, satoshi for 1,000 virtual bytes: the network's own rule.
const STEP_SAT_PER_KVB: u64 = 1_000;

/// How many times later a transaction is replaced that pays what the node says is enough.
const PATIENCE: u64 = 6;

impl Anchorer {
    /// What should be done now. Bounded: at most one thing for each anchor in flight.
    pub fn wants(&self) -> Vec<Want> {
        let dead = self.dead();
        let mut wants = Vec::new();
        for anchor in self.in_flight() {
            let live = live(anchor, &dead);
            let Some(newest) = live.last() else {
                wants.extend(self.affordable(self.fee).map(|sat_per_kvb| Want::Build {
                    anchor: anchor.number,
                    root: anchor.root,
                    sat_per_kvb,
                }));
                continue;
            };
            if let Some(replace) = self.replacement(anchor, &live, &dead) {
                wants.push(replace);
            } else if !newest.seen {
                let (txid, raw) = (newest.transaction.txid(), newest.raw.clone());
                wants.push(Want::Broadcast { anchor: anchor.number, txid, raw });
            }
        }
        wants
    }

    /// What an operator should know now.
    pub fn alerts(&self) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let paid = !self.config.upstream_only;
        let waits = paid && (self.open.count() > 0 || self.in_flight().next().is_some());
        match self.fee {
            None if waits => alerts.push(Alert::NoFee),
            Some(sat_per_kvb) if waits && sat_per_kvb > self.config.fee_cap_sat_per_kvb => {
                alerts.push(Alert::FeeAboveCap { sat_per_kvb, cap: self.config.fee_cap_sat_per_kvb });
            }
            _ => {}
        }
        if self.anchors.len() >= self.config.followed_max {
            alerts.push(Alert::Backlog { followed: self.anchors.len() });
        }
        for anchor in self.anchors.values() {
            if anchor.block.is_none() && anchor.is_final && paid {
                alerts.push(Alert::DeepReorganisation { anchor: anchor.number });
            }
            if anchor.block.is_none() && anchor.attempts.len() >= ATTEMPTS_MAX {
                alerts.push(Alert::Attempts { anchor: anchor.number, attempts: anchor.attempts.len() });
            }
            let conflict = anchor.attempts.iter().filter_map(|attempt| attempt.conflict_height).max();
            if let Some(height) = conflict.filter(|_| anchor.block.is_none()) {
                alerts.push(Alert::Conflict { anchor: anchor.number, height });
            }
        }
        alerts
    }

    /// Transactions to follow on the chain: all of every anchor that is not buried, replaced and given up ones too,
    /// for a chain may still take any of them.
    pub fn watched(&self) -> impl Iterator<Item = (u64, &Attempt)> {
        self.anchors
            .values()
            .flat_map(|anchor| anchor.attempts.iter().map(|attempt| (anchor.number, attempt)))
    }

    /// Anchors that have or want a transaction and are in no block, the oldest first, as many as are allowed. One
    /// with a transaction always counts, else a reorganisation could hide it.
    fn in_flight(&self) -> impl Iterator<Item = &Anchor> {
        let unconfirmed = || self.anchors.values().filter(|anchor| anchor.block.is_none());
        let started = unconfirmed().filter(|anchor| !anchor.attempts.is_empty());
        let room = self.config.in_flight_max.saturating_sub(started.clone().count());
        started.chain(unconfirmed().filter(|anchor| anchor.attempts.is_empty()).take(room))
    }

    /// A fee, if it is known and may be paid.
    fn affordable(&self, fee: Option<u64>) -> Option<u64> {
        fee.filter(|fee| *fee <= self.config.fee_cap_sat_per_kvb)
    }

    fn replacement(&self, anchor: &Anchor, live: &[&Attempt], dead: &HashSet<Hash>) -> Option<Want> {
        let (first, newest) = (live.first()?, live.last()?);
        let late = self.tip >= newest.signed_tip.saturating_add(self.config.bump_blocks);
        let wished = anchor.wished_sat_per_kvb > newest.sat_per_kvb();
        // Replacing takes its outputs away from whoever spends them.
        let depended_on = self.anchors.values().filter(|other| other.number != anchor.number).any(|other| {
            other.attempts.iter().any(|attempt| {
                !dead.contains(&attempt.transaction.txid())
                    && anchor.attempts.iter().any(|of| attempt.spends_from(&of.transaction.txid()))
            })
        });
        if !(late || wished) || depended_on || anchor.attempts.len() >= ATTEMPTS_MAX {
            return None;
        }
        // A conflict that is not certain yet is waited out: the replacement would conflict too.
        if live.iter().any(|attempt| attempt.conflict_height.is_some()) {
            return None;
        }
        let paid = newest.sat_per_kvb();
        let needed = self.fee?.max(anchor.wished_sat_per_kvb);
        // It pays what the node says is enough: blocks may just have come quickly, or the node may be wrong.
        let patience = self.config.bump_blocks.saturating_mul(PATIENCE);
        if needed <= paid && !wished && self.tip < newest.signed_tip.saturating_add(patience) {
            return None;
        }
        let raised = paid.saturating_add(STEP_SAT_PER_KVB.max(paid / 8));
        let sat_per_kvb = self.affordable(Some(needed.max(raised)))?;
        let above_sat = live.iter().map(|attempt| attempt.fee_sat).max().unwrap_or(0);
        let spend = *first.transaction.inputs().first()?;
        Some(Want::Replace { anchor: anchor.number, root: anchor.root, sat_per_kvb, above_sat, spend })
    }

    /// Transactions that cannot get into the chain any more, unless it is reorganised deeper than what counts as
    /// final: another spent an input that long ago, or what they spend from cannot get in either.
    pub(crate) fn dead(&self) -> HashSet<Hash> {
        let certain = if self.planted.has(PlantedBug::HastyReanchor) { 1 } else { self.config.final_blocks };
        let deep = |height: u64| self.tip.saturating_add(1) >= height.saturating_add(certain);
        let mut dead = HashSet::new();
        for anchor in self.anchors.values() {
            let settled = anchor.block.as_ref().filter(|block| deep(block.height));
            for attempt in &anchor.attempts {
                let lost = settled.is_some_and(|block| block.txid != attempt.transaction.txid())
                    && anchor.confirmed().is_some_and(|winner| winner.conflicts_with(&attempt.transaction));
                if lost || attempt.conflict_height.is_some_and(deep) {
                    dead.insert(attempt.transaction.txid());
                }
            }
        }
        loop {
            let orphans: Vec<Hash> = self
                .watched()
                .filter(|(_, attempt)| !dead.contains(&attempt.transaction.txid()))
                .filter(|(_, attempt)| dead.iter().any(|txid| attempt.spends_from(txid)))
                .map(|(_, attempt)| attempt.transaction.txid())
                .collect();
            if orphans.is_empty() {
                return dead;
            }
            dead.extend(orphans);
        }
    }
}

/// Those of an anchor's transactions that may still get into the chain, in order of signing.
pub(crate) fn live<'a>(anchor: &'a Anchor, dead: &HashSet<Hash>) -> Vec<&'a Attempt> {
    anchor.attempts.iter().filter(|attempt| !dead.contains(&attempt.transaction.txid())).collect()
}
