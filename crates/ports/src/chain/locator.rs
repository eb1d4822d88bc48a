use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::BlockRef;

/// Blocks below the newest that are all kept; reorganisations up to this depth are found exactly.
const DENSE: u32 = 144;
/// What [`Locator::to_bytes`] gives at most: the dense part, and one block for each doubling of a 32-bit height.
pub const LOCATOR_BYTES_MAX: usize = 1 + (DENSE as usize + 34) * 36;
const VERSION: u8 = 1;

/// Bytes that are no locator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes are no chain locator: {0}; follow from a locator made anew")]
pub struct LocatorError(&'static str);

/// Where a follower is, so that it finds the fork again whatever happened while it was away: the newest block,
/// every one of the last 144, and ever fewer below, each twice as far down as the one before.
///
/// Persist it together with what was made of the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// Ascending heights. Never empty.
    blocks: Vec<BlockRef>,
}

impl Locator {
    /// To begin after this block; usually genesis. To begin elsewhere use [`super::locate`]: a locator of one block that
    /// is abandoned leads back to genesis.
    pub fn at(block: BlockRef) -> Self {
        Self { blocks: vec![block] }
    }

    /// From blocks of one chain, ascending; none if there are none or they do not ascend.
    pub fn from_blocks(blocks: impl IntoIterator<Item = BlockRef>) -> Option<Self> {
        let blocks: Vec<BlockRef> = blocks.into_iter().collect();
        let ascending = blocks.windows(2).all(|pair| pair[0].height < pair[1].height);
        if blocks.is_empty() || !ascending {
            return None;
        }
        let mut locator = Self { blocks };
        locator.thin();
        Some(locator)
    }

    /// The block that was seen last.
    pub fn newest(&self) -> BlockRef {
        self.blocks[self.blocks.len() - 1]
    }

    /// All blocks, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = BlockRef> + '_ {
        self.blocks.iter().rev().copied()
    }

    /// The heights to keep when `tip` is the newest, descending.
    pub(super) fn heights(tip: u32) -> Vec<u32> {
        let mut heights: Vec<u32> = (0..=DENSE).map_while(|down| tip.checked_sub(down)).collect();
        let mut down = DENSE;
        while let Some(next) = down.checked_mul(2).and_then(|next| tip.checked_sub(next)) {
            heights.push(next);
            down *= 2;
        }
        if heights.last() != Some(&0) {
            heights.push(0);
        }
        heights
    }

    /// The next block was connected.
    pub fn push(&mut self, block: BlockRef) {
        self.rewind(block.height.saturating_sub(1));
        self.blocks.push(block);
        self.thin();
    }

    /// Blocks above this height count no longer. The lowest block stays whatever its height.
    pub fn rewind(&mut self, height: u32) {
        let keep = self.blocks.partition_point(|block| block.height <= height);
        self.blocks.truncate(keep.max(1));
    }

    /// Keeps of each doubling the lowest block, so that what is kept wanders down with it instead of vanishing.
    fn thin(&mut self) {
        let tip = self.newest().height;
        let doubling = |block: &BlockRef| match tip.saturating_sub(block.height) / DENSE {
            0 => None,
            far => Some(far.ilog2()),
        };
        let mut last = None;
        self.blocks.retain(|block| {
            let class = doubling(block);
            let keep = block.height == 0 || class.is_none() || class != last;
            last = class;
            keep
        });
    }

    /// Version, then height (4 bytes, big-endian) and hash (32 bytes, in internal order) of each block, ascending. At most
    /// [`LOCATOR_BYTES_MAX`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for block in &self.blocks {
            bytes.extend(block.height.to_be_bytes());
            bytes.extend(block.hash.to_byte_array());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LocatorError> {
        if bytes.len() > LOCATOR_BYTES_MAX {
            return Err(LocatorError("too many of them"));
        }
        let Some((&VERSION, rest)) = bytes.split_first() else { return Err(LocatorError("unknown version")) };
        let (entries, rest) = rest.as_chunks::<36>();
        if !rest.is_empty() {
            return Err(LocatorError("cut off"));
        }
        let blocks = entries.iter().map(|entry| {
            let mut height = [0; 4];
            let mut hash = [0; 32];
            height.copy_from_slice(&entry[..4]);
            hash.copy_from_slice(&entry[4..]);
            BlockRef { height: u32::from_be_bytes(height), hash: BlockHash::from_byte_array(hash) }
        });
        let blocks: Vec<BlockRef> = blocks.collect();
        if blocks.is_empty() || blocks.windows(2).any(|pair| pair[0].height >= pair[1].height) {
            return Err(LocatorError("blocks do not ascend"));
        }
        Ok(Self { blocks })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn block(height: u32) -> BlockRef {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&height.to_be_bytes());
        BlockRef { height, hash: BlockHash::from_byte_array(hash) }
    }

    #[test]
    fn keeps_recent_blocks_all_and_old_ones_by_doublings() {
        let mut locator = Locator::at(block(0));
        for height in 1..100_000 {
            locator.push(block(height));
            let blocks = &locator.blocks;
            assert_eq!(blocks[0].height, 0);
            let dense = blocks.iter().filter(|block| block.height + DENSE > height).count();
            assert_eq!(dense, usize::try_from(height.min(DENSE - 1)).unwrap() + 1);
            // A fork at any depth is found at no more than about four times that depth.
            for pair in blocks.windows(2) {
                let (low, high) = (height - pair[0].height, height - pair[1].height);
                assert!(pair[0].height == 0 || low <= 4 * high.max(DENSE), "{low} after {high} at {height}");
            }
            assert!(locator.to_bytes().len() <= LOCATOR_BYTES_MAX);
        }
        assert!(locator.blocks.len() > 144 + 8, "{}", locator.blocks.len());
    }

    #[test]
    fn rewinds_and_goes_on() {
        let mut locator = Locator::from_blocks((0..500).map(block)).unwrap();
        locator.rewind(480);
        assert_eq!(locator.newest(), block(480));
        locator.push(block(481));
        assert_eq!(locator.newest(), block(481));
        locator.rewind(1);
        assert!(locator.newest().height <= 1);
    }

    #[test]
    fn one_form_only() {
        let locator = Locator::from_blocks((0..500).map(block)).unwrap();
        let bytes = locator.to_bytes();
        assert_eq!(Locator::from_bytes(&bytes), Ok(locator));
        assert!(Locator::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert!(Locator::from_bytes(&[]).is_err() && Locator::from_bytes(&[VERSION]).is_err());
        let mut swapped = vec![VERSION];
        swapped.extend(&bytes[37..73]);
        swapped.extend(&bytes[1..37]);
        assert!(Locator::from_bytes(&swapped).is_err());
        assert!(Locator::from_bytes(&vec![VERSION; LOCATOR_BYTES_MAX + 36]).is_err());
    }

    #[test]
    fn heights_reach_from_the_tip_to_genesis() {
        for tip in [0, 1, 143, 144, 145, 288, 1_000, 800_000, u32::MAX] {
            let heights = Locator::heights(tip);
            assert_eq!((heights[0], heights[heights.len() - 1]), (tip, 0));
            assert!(heights.windows(2).all(|pair| pair[0] > pair[1]), "{heights:?}");
            // A byte of version before them.
            assert!(heights.len() * 36 < LOCATOR_BYTES_MAX, "{}", heights.len());
        }
    }
}
