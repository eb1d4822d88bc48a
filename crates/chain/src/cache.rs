use std::sync::Arc;

use bitcoin::{Block, BlockHash};
use hashlink::LruCache;
use parking_lot::Mutex;

/// The blocks that were asked for last, up to a number of bytes.
pub(crate) struct Blocks {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Sum over all blocks, as they were received.
    bytes: usize,
    blocks: LruCache<BlockHash, (usize, Arc<Block>)>,
}

impl Blocks {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::new(Kept { bytes: 0, blocks: LruCache::new_unbounded() }) }
    }

    pub(crate) fn get(&self, hash: &BlockHash) -> Option<Arc<Block>> {
        self.kept.lock().blocks.get(hash).map(|(_, block)| block.clone())
    }

    /// Keeps a block that came as this many bytes, and forgets the ones longest unused. One that fills more than half is
    /// not kept.
    pub(crate) fn put(&self, hash: BlockHash, bytes: usize, block: &Arc<Block>) {
        if bytes > self.bytes_max / 2 {
            return;
        }
        let Kept { bytes: sum, blocks } = &mut *self.kept.lock();
        *sum += bytes;
        if let Some((replaced, _)) = blocks.insert(hash, (bytes, block.clone())) {
            *sum -= replaced;
        }
        while *sum > self.bytes_max {
            let Some((_, (bytes, _))) = blocks.remove_lru() else { break };
            *sum -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn keeps_what_was_used_last_within_its_bound() {
        let blocks = Blocks::new(100);
        let block = Arc::new(bitcoin::constants::genesis_block(bitcoin::Network::Regtest));
        let hash = |number| BlockHash::from_byte_array([number; 32]);
        for number in 0..10 {
            blocks.put(hash(number), 30, &block);
            assert!(blocks.get(&hash(0)).is_some());
        }
        let kept: Vec<u8> = (0..10).filter(|number| blocks.get(&hash(*number)).is_some()).collect();
        assert_eq!(kept, [0, 8, 9]);
        blocks.put(hash(20), 51, &block);
        assert!(blocks.get(&hash(20)).is_none());
        blocks.put(hash(9), 40, &block);
        blocks.put(hash(9), 10, &block);
        let kept = blocks.kept.lock();
        assert_eq!(kept.bytes, kept.blocks.iter().map(|(_, (bytes, _))| bytes).sum::<usize>());
    }
}
