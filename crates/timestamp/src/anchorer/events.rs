//! What each record does.

use bytes::Bytes;
use eschaton_ots::tree::Hash;
use eschaton_ots::{Header, Timestamp};
use eschaton_types::pb::log::{AnchorChange, AnchorEvent};

use super::anchor::{ATTEMPTS_MAX, Attempt, Block};
use super::wants::live;
use super::{Anchor, AnchorInput, Anchored, Anchorer, event};
use crate::TimestampError;
use crate::block::BlockBranch;
use crate::planted::PlantedBug;
use crate::rows::{RootPlace, anchor_key, encode, root_key};
use crate::transaction::Transaction;

impl Anchorer {
    pub(super) fn apply(
        &mut self,
        now: u64,
        input: &AnchorInput,
        out: &mut Anchored,
    ) -> Result<(), TimestampError> {
        match input {
            AnchorInput::Closed { shard, interval, root, closed_ms } => {
                self.closed(now, (*shard, *interval), root, *closed_ms, out)?;
            }
            AnchorInput::Tick => {}
            AnchorInput::Fee(sat_per_kvb) => self.fee = Some(*sat_per_kvb),
            AnchorInput::Signed { anchor, raw, fee_sat, vbytes } => {
                self.signed(*anchor, raw, *fee_sat, *vbytes, out);
            }
            AnchorInput::Mempool { txid, present } => {
                let forgets = self.planted.has(PlantedBug::ForgetsDropped) && !present;
                self.change_attempt(txid, out, |attempt| attempt.seen = *present || forgets);
            }
            AnchorInput::Tip(height) => self.tip = *height,
            AnchorInput::Confirmed { txid, height, header, branch } => {
                self.confirmed(txid, *height, header, branch, out);
            }
            AnchorInput::Disconnected(height) => self.disconnected(*height, out),
            AnchorInput::Conflicted { txid, by, height } => {
                // Replacing one another is what the transactions of one anchor are for.
                let has =
                    |anchor: &Anchor, txid| anchor.attempts.iter().any(|of| of.transaction.txid() == txid);
                let own = self.anchors.values().any(|anchor| has(anchor, *txid) && has(anchor, *by));
                if !own && *height > 0 {
                    self.change_attempt(txid, out, |attempt| attempt.conflict_height = Some(*height));
                }
            }
            AnchorInput::Upstream { anchor, timestamp } => self.upstream(*anchor, timestamp, out),
            AnchorInput::Bump { anchor, sat_per_kvb } => match self.anchors.get_mut(anchor) {
                Some(found) if found.block.is_none() && found.wished_sat_per_kvb != *sat_per_kvb => {
                    found.wished_sat_per_kvb = *sat_per_kvb;
                    self.write(*anchor, out);
                }
                Some(_) => {}
                None => out.events.push(refused(*anchor, "it is not followed: planned never, or buried")),
            },
        }
        Ok(())
    }

    fn write(&self, number: u64, out: &mut Anchored) {
        if let Some(anchor) = self.anchors.get(&number) {
            out.changes.push((anchor_key(number), encode(&anchor.to_row())));
        }
    }

    fn closed(
        &mut self,
        now: u64,
        (shard, interval): (u32, u64),
        root: &Hash,
        closed_ms: u64,
        out: &mut Anchored,
    ) -> Result<(), TimestampError> {
        let broken = |detail: String| TimestampError::Invariant { id: "T1", detail };
        let next = usize::try_from(shard).ok().and_then(|shard| self.next_interval.get_mut(shard));
        let next = next.ok_or_else(|| broken(format!("interval of shard {shard}, which does not exist")))?;
        if interval < *next && !self.planted.has(PlantedBug::NoIntervalDeduplication) {
            return Ok(());
        }
        if interval > *next {
            return Err(broken(format!(
                "interval {interval} of shard {shard} follows {next}, some are lost"
            )));
        }
        *next = (*next).max(interval.checked_add(1).ok_or(TimestampError::Full { what: "intervals" })?);
        let index = self.open.push(root, &[])?;
        if index == 0 {
            // Its own time may be behind the log's, never ahead of it.
            self.oldest_ms = closed_ms.min(now);
        }
        let place = RootPlace { anchor: self.open_number, index, shard, interval };
        out.changes.push((root_key(root), place.to_row()));
        Ok(())
    }

    fn signed(&mut self, number: u64, raw: &Bytes, fee_sat: u64, vbytes: u32, out: &mut Anchored) {
        let transaction = match self.acceptable(number, raw, fee_sat) {
            Ok(Some(transaction)) => transaction,
            Ok(None) => return,
            Err(why) => return out.events.push(refused(number, &why)),
        };
        let txid = transaction.txid();
        let attempt = Attempt {
            raw: raw.clone(),
            transaction,
            fee_sat,
            vbytes,
            signed_tip: self.tip,
            seen: false,
            conflict_height: None,
        };
        let dead = self.dead();
        let mut again = false;
        if let Some(anchor) = self.anchors.get_mut(&number) {
            again = !anchor.attempts.is_empty() && live(anchor, &dead).is_empty();
            anchor.attempts.push(attempt);
            anchor.wished_sat_per_kvb = 0;
        }
        if !self.planted.has(PlantedBug::SignedUnwritten) {
            self.write(number, out);
        }
        out.events.push(about(number, AnchorChange::Signed, &txid, 0));
        if again {
            out.events.push(about(number, AnchorChange::Reanchored, &txid, 0));
        }
    }

    /// The transaction, if it may stand for the anchor; none if it is there already.
    fn acceptable(&self, number: u64, raw: &Bytes, fee_sat: u64) -> Result<Option<Transaction>, String> {
        let anchor = self.anchors.get(&number).ok_or("it is not followed: planned never, or buried")?;
        let transaction = Transaction::parse(raw).map_err(|error| error.to_string())?;
        transaction.around(&anchor.root).map_err(|error| error.to_string())?;
        let txid = transaction.txid();
        if anchor.attempts.iter().any(|attempt| attempt.transaction.txid() == txid) {
            return Ok(None);
        }
        if anchor.block.is_some() {
            return Err("it is in a block already; release what the new transaction spends".to_owned());
        }
        if anchor.attempts.len() >= ATTEMPTS_MAX {
            return Err("it has as many transactions as it may; wait for one to confirm".to_owned());
        }
        let dead = self.dead();
        for attempt in live(anchor, &dead) {
            // Both could get into the chain, and the intervals would be anchored and paid for twice.
            if !attempt.conflicts_with(&transaction) && !self.planted.has(PlantedBug::IndependentBump) {
                return Err(
                    "it does not spend what the transaction before it spends; build it anew".to_owned()
                );
            }
            if fee_sat <= attempt.fee_sat {
                return Err(
                    "it does not pay more than the transaction before it; no node would take it".to_owned()
                );
            }
        }
        for (other, attempt) in self.watched().filter(|(other, _)| *other != number) {
            let alive = !dead.contains(&attempt.transaction.txid());
            if alive && attempt.conflicts_with(&transaction) && !self.planted.has(PlantedBug::SharedInputs) {
                return Err(format!("it spends an output that anchor {other} spends; build it anew"));
            }
            let unconfirmed = self.anchors.get(&other).is_some_and(|other| {
                other.block.as_ref().is_none_or(|block| block.txid != attempt.transaction.txid())
            });
            let spends = transaction.inputs().iter().any(|input| input.txid == attempt.transaction.txid());
            if unconfirmed && spends {
                return Err(format!(
                    "it spends an unconfirmed output of anchor {other}; spend confirmed ones"
                ));
            }
        }
        Ok(Some(transaction))
    }

    fn change_attempt(&mut self, txid: &Hash, out: &mut Anchored, change: impl Fn(&mut Attempt)) {
        let mut written = None;
        for anchor in self.anchors.values_mut() {
            for attempt in anchor.attempts.iter_mut().filter(|of| of.transaction.txid() == *txid) {
                let before = attempt.clone();
                change(attempt);
                if *attempt != before {
                    written = Some(anchor.number);
                }
            }
        }
        if let Some(number) = written {
            self.write(number, out);
        }
    }

    fn confirmed(
        &mut self,
        txid: &Hash,
        height: u64,
        header: &Header,
        branch: &BlockBranch,
        out: &mut Anchored,
    ) {
        let holds = |anchor: &&mut Anchor| anchor.attempts.iter().any(|of| of.transaction.txid() == *txid);
        let Some(anchor) = self.anchors.values_mut().find(holds) else { return };
        let number = anchor.number;
        if let Err(error) = branch.check(txid, height, header) {
            return out.events.push(refused(number, &error.to_string()));
        }
        let block = Block { txid: *txid, height, header: *header, branch: branch.clone() };
        match &anchor.block {
            Some(known) if *known == block => return,
            // Another of its transactions that does not conflict with the one that counts: both stay in the chain,
            // and the earlier is the proof.
            Some(known) if known.txid != *txid => {
                let new = anchor.attempts.iter().find(|of| of.transaction.txid() == *txid);
                if let (Some(new), Some(counts)) = (new, anchor.confirmed())
                    && !counts.conflicts_with(&new.transaction)
                {
                    return;
                }
            }
            _ => {}
        }
        anchor.block = Some(block);
        // In a block is in the chain, so whoever spent an input elsewhere is not.
        for attempt in anchor.attempts.iter_mut().filter(|of| of.transaction.txid() == *txid) {
            (attempt.conflict_height, attempt.seen) = (None, true);
        }
        self.tip = self.tip.max(height);
        self.write(number, out);
        out.events.push(about(number, AnchorChange::Confirmed, txid, height));
    }

    fn disconnected(&mut self, height: u64, out: &mut Anchored) {
        self.tip = self.tip.min(height.saturating_sub(1));
        if self.planted.has(PlantedBug::ForgetsReorganisation) {
            return;
        }
        let mut changed = Vec::new();
        for anchor in self.anchors.values_mut() {
            let gone = anchor.block.take_if(|block| block.height >= height);
            let mut touched = gone.is_some();
            for attempt in &mut anchor.attempts {
                touched |= attempt.conflict_height.take_if(|at| *at >= height).is_some();
                if let Some(block) = gone.as_ref().filter(|block| block.txid == attempt.transaction.txid()) {
                    attempt.seen = false;
                    // A fee is raised once it has waited again.
                    attempt.signed_tip = height.saturating_sub(1);
                    let txid = block.txid;
                    out.events.push(about(anchor.number, AnchorChange::Reorganised, &txid, block.height));
                }
            }
            if touched {
                changed.push(anchor.number);
            }
        }
        changed.into_iter().for_each(|number| self.write(number, out));
    }

    fn upstream(&mut self, number: u64, timestamp: &Bytes, out: &mut Anchored) {
        let Some(anchor) = self.anchors.get_mut(&number) else {
            return out.events.push(refused(number, "it is not followed: planned never, or buried"));
        };
        let merged = Timestamp::from_answer(&anchor.root, timestamp).and_then(|answer| {
            let mut known = match &anchor.upstream[..] {
                [] => Timestamp::new(),
                known => Timestamp::from_answer(&anchor.root, known)?,
            };
            // What is kept must be readable again within an answer's limit.
            let new = known.merge(&answer)?;
            let bytes = known.to_bytes()?;
            Timestamp::from_answer(&anchor.root, &bytes)?;
            Ok((new, bytes, known.finished().is_some()))
        });
        match merged {
            Ok((true, bytes, proven)) => {
                anchor.upstream = bytes.into();
                let is_final = self.config.upstream_only && proven && !anchor.is_final;
                anchor.is_final |= is_final;
                self.write(number, out);
                out.events.push(event(number, AnchorChange::Upstream));
                if is_final {
                    out.events.push(event(number, AnchorChange::Final));
                }
            }
            Ok((false, ..)) => {}
            Err(error) => out.events.push(refused(number, &error.to_string())),
        }
    }

    /// What follows from the chain's height: anchors become final, and the oldest are followed no longer.
    pub(super) fn settle(&mut self, out: &mut Anchored) {
        let certain = if self.planted.has(PlantedBug::HastyFinal) { 1 } else { self.config.final_blocks };
        let tip = self.tip;
        let deep = |block: &Block, blocks: u64| tip.saturating_add(1) >= block.height.saturating_add(blocks);
        let mut finals = Vec::new();
        for anchor in self.anchors.values_mut().filter(|anchor| !anchor.is_final) {
            if let Some(block) = anchor.block.as_ref().filter(|block| deep(block, certain)) {
                finals.push((anchor.number, block.txid, block.height));
                anchor.is_final = true;
            }
        }
        for (number, txid, height) in finals {
            self.write(number, out);
            out.events.push(about(number, AnchorChange::Final, &txid, height));
        }
        loop {
            let followed = self.anchors.len();
            let Some(oldest) = self.anchors.first_entry() else { return };
            // Without a chain nothing goes deeper. The other calendars have time until there is no room.
            let crowded = followed > self.config.followed_max / 2;
            let buried = match &oldest.get().block {
                Some(block) => deep(block, self.config.buried_blocks),
                None => self.config.upstream_only && crowded,
            };
            if !buried || !oldest.get().is_final {
                return;
            }
            let gone: Vec<Hash> = oldest.get().attempts.iter().map(|of| of.transaction.txid()).collect();
            let number = *oldest.key();
            // Forgotten, it could no longer tell that what spends from its replaced transactions is dead.
            let depended_on = self.anchors.values().any(|other| {
                other.number != number
                    && !other.is_final
                    && other.attempts.iter().any(|attempt| gone.iter().any(|txid| attempt.spends_from(txid)))
            });
            if depended_on {
                return;
            }
            self.anchors.remove(&number);
        }
    }
}

fn about(anchor: u64, change: AnchorChange, txid: &Hash, height: u64) -> AnchorEvent {
    AnchorEvent { txid: Bytes::copy_from_slice(txid), height, ..event(anchor, change) }
}

fn refused(anchor: u64, why: &str) -> AnchorEvent {
    AnchorEvent { message: why.to_owned(), ..event(anchor, AnchorChange::Refused) }
}
