//! What the anchorer is told of the chain: pure. The chain is looked at whole each time, and the difference to what the
//! anchorer knows becomes records, so nothing that was missed while nobody looked is missed for ever.

use std::collections::BTreeMap;

use eschaton_timestamp::anchorer::Attempt;
use eschaton_timestamp::block::BlockBranch;
use eschaton_timestamp::{Anchor, AnchorInput, Anchorer};

/// Double SHA-256, internal byte order.
pub type Hash = [u8; 32];

/// Where one of the anchors' transactions is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a block of the best chain.
    Block {
        /// Its height.
        height: u64,
        /// Its header.
        header: [u8; 80],
        /// The transaction's way to its Merkle root.
        branch: BlockBranch,
    },
    /// Another transaction, in a block of the best chain, spends one of its inputs, or spends what an input came from.
    Conflict {
        /// Which.
        by: Hash,
        /// Height of its block.
        height: u64,
    },
    /// In no block; whether the node's mempool holds it.
    Mempool(bool),
    /// In no block; the node was not asked.
    Nowhere,
}

/// The chain as one look found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Height of the best chain.
    pub tip: u64,
    /// All transactions of [`Anchorer::watched`], by id.
    pub places: BTreeMap<Hash, Place>,
}

/// A deliberate defect, to see that the tests find it.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// A block that is gone is not told.
    KeepsLostBlocks,
    /// After a reorganisation what is still in the chain is not told again.
    ForgetsSurvivors,
    /// A conflict that is gone with its block stays.
    KeepsConflicts,
    /// A transaction that the mempool dropped is not told.
    ForgetsDrops,
    /// Only the newest of an anchor's transactions is looked at.
    NewestOnly,
    /// The tip is told, confirmations are not.
    TipOnly,
}

#[cfg(feature = "planted-bugs")]
pub(crate) type Planted = Option<PlantedBug>;

/// What to tell the anchorer, in this order. Empty: it knows all that was found.
pub fn tell(anchorer: &Anchorer, found: &Found) -> Vec<AnchorInput> {
    told(
        anchorer,
        found,
        #[cfg(feature = "planted-bugs")]
        None,
    )
}

/// As [`tell`], with a bug.
#[cfg(feature = "planted-bugs")]
pub fn tell_planted(anchorer: &Anchorer, found: &Found, bug: PlantedBug) -> Vec<AnchorInput> {
    told(anchorer, found, Some(bug))
}

/// Whether this bug is planted; never without the feature.
macro_rules! planted {
    ($bug:ident, $name:ident) => {{
        #[cfg(feature = "planted-bugs")]
        let has = $bug == Some(PlantedBug::$name);
        #[cfg(not(feature = "planted-bugs"))]
        let has = false;
        has
    }};
}

fn told(
    anchorer: &Anchorer,
    found: &Found,
    #[cfg(feature = "planted-bugs")] bug: Planted,
) -> Vec<AnchorInput> {
    let place = |attempt: &Attempt| found.places.get(&attempt.transaction.txid()).unwrap_or(&Place::Nowhere);
    let mut told = Vec::new();

    // First what is gone: the anchorer forgets everything from there on, and is told again below what still holds.
    let mut gone = (found.tip < anchorer.tip()).then(|| found.tip.saturating_add(1));
    let mut lost = |height: u64| gone = Some(gone.map_or(height, |gone| gone.min(height)));
    for anchor in anchorer.anchors() {
        for attempt in &anchor.attempts {
            let place = place(attempt);
            if !planted!(bug, KeepsLostBlocks) && counts(anchor, attempt) && !in_known_block(anchor, place) {
                anchor.block.iter().for_each(|block| lost(block.height));
            }
            if let Some(height) = attempt.conflict_height {
                let holds = match place {
                    Place::Conflict { height: now, by } => *now == height && !own(anchor, by),
                    // That it is in a block is told below, and ends the conflict.
                    Place::Block { .. } => true,
                    Place::Mempool(_) | Place::Nowhere => false,
                };
                if !holds && !planted!(bug, KeepsConflicts) {
                    lost(height);
                }
            }
        }
    }
    told.extend(gone.map(AnchorInput::Disconnected));
    let forgot = |height: u64| gone.is_some_and(|gone| height >= gone) && !planted!(bug, ForgetsSurvivors);

    for anchor in anchorer.anchors() {
        let known = anchor.block.as_ref().filter(|block| !forgot(block.height));
        let newest = anchor.attempts.last().map(|attempt| attempt.transaction.txid());
        for attempt in &anchor.attempts {
            let txid = attempt.transaction.txid();
            if planted!(bug, NewestOnly) && newest != Some(txid) {
                continue;
            }
            match place(attempt) {
                Place::Block { .. } if planted!(bug, TipOnly) => {}
                // Told, or another one of its transactions is the proof already: both may be in the chain.
                Place::Block { .. } if known.is_some() => {}
                Place::Block { height, header, branch } => told.push(AnchorInput::Confirmed {
                    txid,
                    height: *height,
                    header: *header,
                    branch: branch.clone(),
                }),
                Place::Conflict { by, height } => {
                    let told_before = attempt.conflict_height == Some(*height) && !forgot(*height);
                    if !told_before && !own(anchor, by) {
                        told.push(AnchorInput::Conflicted { txid, by: *by, height: *height });
                    }
                    if attempt.seen && !own(anchor, by) {
                        told.push(AnchorInput::Mempool { txid, present: false });
                    }
                }
                Place::Mempool(present) => {
                    let forgets = planted!(bug, ForgetsDrops) && !present;
                    // What was in a lost block counts as unseen, once it is told that the block is gone.
                    let lost = counts(anchor, attempt) && known.is_none();
                    let seen = attempt.seen && !lost;
                    if known.is_none() && seen != *present && !forgets {
                        told.push(AnchorInput::Mempool { txid, present: *present });
                    }
                }
                Place::Nowhere => {}
            }
        }
    }
    if anchorer.tip() != found.tip || gone.is_some() {
        told.push(AnchorInput::Tip(found.tip));
    }
    told
}

/// Whether this transaction is the anchor's proof.
fn counts(anchor: &Anchor, attempt: &Attempt) -> bool {
    anchor.block.as_ref().is_some_and(|block| block.txid == attempt.transaction.txid())
}

fn in_known_block(anchor: &Anchor, place: &Place) -> bool {
    match (place, &anchor.block) {
        (Place::Block { height, header, .. }, Some(block)) => {
            *height == block.height && *header == block.header
        }
        _ => false,
    }
}

/// Replacing one another is what the transactions of one anchor are for.
fn own(anchor: &Anchor, by: &Hash) -> bool {
    anchor.attempts.iter().any(|attempt| attempt.transaction.txid() == *by)
}
