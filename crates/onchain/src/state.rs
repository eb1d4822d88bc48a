//! What the wallet keeps, as changes that add up.

use std::collections::{BTreeMap, BTreeSet};

use bdk_wallet::ChangeSet;
use bdk_wallet::chain::Merge;
use bitcoin::{BlockHash, OutPoint};
use serde::{Deserialize, Serialize};

/// Recent blocks that are all kept, as a chain locator keeps them.
const BLOCKS_KEPT: u32 = 144;

/// A change, or the sum of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Blocks, transactions and addresses.
    pub(crate) bdk: ChangeSet,
    /// Outputs with the tag of whom they are reserved for, or none when they are free again.
    pub(crate) reserved: Vec<(OutPoint, Option<u64>)>,
}

impl Change {
    pub(crate) fn is_empty(&self) -> bool {
        self.bdk.is_empty() && self.reserved.is_empty()
    }

    /// Adds a later change to this sum.
    pub(crate) fn merge(&mut self, later: Self) {
        self.bdk.merge(later.bdk);
        let mut reserved: BTreeMap<_, _> = std::mem::take(&mut self.reserved).into_iter().collect();
        reserved.extend(later.reserved);
        self.reserved = reserved.into_iter().collect();
    }

    /// Outputs that are reserved, and for whom.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = (OutPoint, u64)> + '_ {
        self.reserved.iter().filter_map(|(outpoint, tag)| Some((*outpoint, (*tag)?)))
    }

    /// The blocks above this height are of no chain any more.
    pub(crate) fn disconnected(&self, height: u32) -> Self {
        let mut change = Self::default();
        let above = self.bdk.local_chain.blocks.range(height.saturating_add(1)..);
        let above = above.filter(|(_, hash)| hash.is_some());
        change.bdk.local_chain.blocks = above.map(|(height, _)| (*height, None)).collect();
        change
    }

    /// What BDK should know: without places in blocks that are of the best chain no longer. BDK would take their transactions
    /// for ones that wait in a mempool, and what they spend for spent.
    pub(crate) fn for_bdk(&self) -> ChangeSet {
        let mut bdk = self.bdk.clone();
        let blocks = &bdk.local_chain.blocks;
        bdk.tx_graph.anchors.retain(|(anchor, _)| {
            blocks.get(&anchor.block_id.height).copied().flatten() == Some(anchor.block_id.hash)
        });
        bdk
    }

    /// Forgets blocks that nothing rests on: of those far below the tip only the first, those with transactions of ours,
    /// and ever fewer others, so that a fork is found.
    pub(crate) fn compact(&mut self) {
        self.reserved.retain(|(_, tag)| tag.is_some());
        self.bdk = self.for_bdk();
        self.bdk.local_chain.blocks.retain(|_, hash| hash.is_some());
        let blocks = &mut self.bdk.local_chain.blocks;
        let Some((&tip, _)) = blocks.last_key_value() else { return };
        let ours: BTreeSet<(u32, BlockHash)> = self
            .bdk
            .tx_graph
            .anchors
            .iter()
            .map(|(anchor, _)| (anchor.block_id.height, anchor.block_id.hash))
            .collect();
        let mut doubling = None;
        blocks.retain(|height, hash| {
            let deep = tip.saturating_sub(*height) / BLOCKS_KEPT;
            let class = (deep > 0).then(|| deep.ilog2());
            let first_of_class = class != doubling;
            doubling = class;
            *height == 0
                || class.is_none()
                || first_of_class
                || hash.is_some_and(|hash| ours.contains(&(*height, hash)))
        });
    }
}
