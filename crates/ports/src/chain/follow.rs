use std::ops::RangeInclusive;
use std::sync::Arc;

use bitcoin::Block;

use super::{BlockRef, Chain, ChainError, Locator};

/// What happened to the best chain.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// The next block, whose parent is the block of the event before.
    Connected {
        /// Its place.
        at: BlockRef,
        /// All of it.
        block: Arc<Block>,
    },
    /// A reorganisation: of the blocks that were connected, those above `to` count no longer. Some of them may be connected
    /// again when the fork is so deep that the locator has no block right below it.
    Disconnected {
        /// The newest block that still counts.
        to: BlockRef,
        /// The newest that was connected.
        from: BlockRef,
    },
}

/// Gives the blocks after a locator, one at a time, and goes on for ever.
pub struct Follower {
    chain: Arc<dyn Chain>,
    locator: Locator,
}

/// Follows the best chain from where `from` says. A reorganisation that happened since the locator was made, of whatever
/// depth, is the first event.
pub fn follow(chain: Arc<dyn Chain>, from: Locator) -> Follower {
    Follower { chain, locator: from }
}

impl Follower {
    /// Where the follower is: after the last event that it gave. Persist it with what was made of the event.
    pub fn locator(&self) -> &Locator {
        &self.locator
    }

    /// The next event; waits for it. After an error call again; nothing was lost. May be dropped.
    pub async fn next(&mut self) -> Result<ChainEvent, ChainError> {
        loop {
            if let Some(event) = self.try_next().await? {
                return Ok(event);
            }
            self.chain.changed(self.locator.newest().hash).await?;
        }
    }

    /// The next event if there is one already.
    pub async fn try_next(&mut self) -> Result<Option<ChainEvent>, ChainError> {
        let last = self.locator.newest();
        // The tip is asked first: the node may move between the questions, and the links are checked below.
        if self.chain.tip().await?.hash == last.hash {
            return Ok(None);
        }
        if self.chain.hash_at(last.height).await? != Some(last.hash) {
            let to = self.fork().await?;
            if to == last {
                return Ok(None);
            }
            self.locator.rewind(to.height);
            if self.locator.newest() != to {
                self.locator = Locator::at(to);
            }
            return Ok(Some(ChainEvent::Disconnected { to, from: last }));
        }
        let Some(height) = last.height.checked_add(1) else { return Ok(None) };
        let Some(hash) = self.chain.hash_at(height).await? else { return Ok(None) };
        let Some(block) = self.chain.block(hash).await? else { return Ok(None) };
        if block.header.prev_blockhash != last.hash {
            // It moved meanwhile. The next look finds the fork.
            return Ok(None);
        }
        let at = BlockRef { height, hash };
        self.locator.push(at);
        Ok(Some(ChainEvent::Connected { at, block }))
    }

    /// The newest block of the locator that is of the best chain.
    async fn fork(&self) -> Result<BlockRef, ChainError> {
        for block in self.locator.newest_first() {
            if self.chain.hash_at(block.height).await? == Some(block.hash) {
                return Ok(block);
            }
        }
        let genesis = BlockRef { height: 0, hash: self.chain.identity().genesis };
        match self.locator.newest_first().find(|block| block.height == 0) {
            Some(other) if other != genesis => Err(ChainError::Invalid {
                detail: format!(
                    "the locator is of a chain with genesis block {}, this one's is {}; use the locator's own chain",
                    other.hash, genesis.hash
                ),
            }),
            _ => Ok(genesis),
        }
    }
}

/// A locator of the best chain at this height or, when it ends below, at the tip. Asks for about 160 blocks at most.
pub async fn locate(chain: &dyn Chain, height: u32) -> Result<Locator, ChainError> {
    let tip = chain.tip().await?;
    let top = height.min(tip.height);
    let mut blocks = Vec::new();
    for height in Locator::heights(top).into_iter().rev() {
        let hash = chain.hash_at(height).await?.ok_or(ChainError::Reorganised { height })?;
        blocks.push(BlockRef { height, hash });
    }
    Locator::from_blocks(blocks).ok_or(ChainError::Reorganised { height: top })
}

/// Blocks of a range of heights, in order, one at a time.
pub struct Rescan {
    chain: Arc<dyn Chain>,
    next: Option<u32>,
    last: u32,
    parent: Option<BlockRef>,
}

/// Reads the best chain's blocks of these heights. Holds one block at a time.
pub fn rescan(chain: Arc<dyn Chain>, heights: RangeInclusive<u32>) -> Rescan {
    let next = (!heights.is_empty()).then_some(*heights.start());
    Rescan { chain, next, last: *heights.end(), parent: None }
}

impl Rescan {
    /// The next block; none after the range's last. `Reorganised` when the chain changed under what was read, or ends
    /// within the range. After another error call again.
    pub async fn next(&mut self) -> Result<Option<(BlockRef, Arc<Block>)>, ChainError> {
        let Some(height) = self.next else { return Ok(None) };
        let moved = ChainError::Reorganised { height };
        let Some(hash) = self.chain.hash_at(height).await? else { return Err(moved) };
        let Some(block) = self.chain.block(hash).await? else { return Err(moved) };
        if self.parent.is_some_and(|parent| parent.hash != block.header.prev_blockhash) {
            return Err(ChainError::Reorganised { height: height.saturating_sub(1) });
        }
        let at = BlockRef { height, hash };
        self.parent = Some(at);
        self.next = height.checked_add(1).filter(|next| *next <= self.last);
        Ok(Some((at, block)))
    }
}
