use std::collections::{HashMap, VecDeque};

use bitcoin::block::Header;
use bitcoin::{BlockHash, CompactTarget, Work};

use crate::difficulty::{RETARGET_BLOCKS, Span, retarget};
use crate::{HeaderError, Params, check_proof_of_work};

/// The deepest reorganisation that is followed: two weeks of Bitcoin.
pub const REORG_DEPTH_MAX: u32 = 2_016;
/// Blocks of the best chain that are kept: a branch at the greatest depth needs a whole period, one block and eleven times
/// below its fork.
const KEPT: usize = 3 * 2_016;
/// Headers of side branches that are kept.
const SIDE_MAX: usize = 2 * 2_016;
/// Blocks whose median time a new one must exceed.
const MEDIAN_BLOCKS: u32 = 11;
/// How far ahead of the caller a header's time may be, in seconds (`MAX_FUTURE_BLOCK_TIME`).
pub(crate) const AHEAD_MAX_S: u32 = 7_200;
/// BIP 94: how far back a period's first block may jump.
const WARP_MAX_S: u32 = 600;

/// The best chain's last header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Blocks below it.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
    /// Expected hashes for all of the chain from where it is kept by this code, genesis or a given start.
    pub work: Work,
}

/// What became of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was there.
    Known,
    /// It is the new tip. `undone` blocks of the former best chain are no longer in it.
    Best {
        /// 0 when it just follows on the tip.
        undone: u32,
    },
    /// It is of a branch with less work, or with as much and seen later.
    Side,
}

#[derive(Clone, Copy)]
struct Node {
    header: Header,
    height: u32,
    work: Work,
}

/// A chain of checked headers: the one with the most work of those that were given. Keeps the last 6,048 blocks and
/// side branches that may still win.
pub struct HeaderChain {
    params: Params,
    nodes: HashMap<BlockHash, Node>,
    /// The best chain's kept part, ascending.
    best: VecDeque<BlockHash>,
    /// Height of the first of `best`.
    base: u32,
}

impl HeaderChain {
    /// A chain that has genesis alone.
    pub fn new(params: Params) -> Self {
        let genesis = params.genesis;
        let node = Node { header: genesis, height: 0, work: genesis.work() };
        let hash = genesis.block_hash();
        Self { params, nodes: HashMap::from([(hash, node)]), best: VecDeque::from([hash]), base: 0 }
    }

    /// The network's rules.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The best chain's end.
    pub fn tip(&self) -> Tip {
        let hash = self.best[self.best.len() - 1];
        let node = self.nodes[&hash];
        Tip { height: node.height, hash, work: node.work }
    }

    /// The best chain's header at this height, if it is kept.
    pub fn at(&self, height: u32) -> Option<Header> {
        self.hash_at(height).map(|hash| self.nodes[&hash].header)
    }

    /// The hash of the best chain's header at this height, if it is kept.
    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        let index = usize::try_from(height.checked_sub(self.base)?).ok()?;
        self.best.get(index).copied()
    }

    /// Height and depth (1 at the tip) of a block of the best chain that is kept; proofs count only for such.
    pub fn place(&self, hash: BlockHash) -> Option<(u32, u32)> {
        let node = self.nodes.get(&hash)?;
        (self.hash_at(node.height)? == hash).then(|| (node.height, self.tip().height - node.height + 1))
    }

    /// Checks a header and takes it in. `now` is the caller's time in seconds since 1970.
    pub fn add(&mut self, header: Header, now: u32) -> Result<Added, HeaderError> {
        let hash = header.block_hash();
        if self.nodes.contains_key(&hash) {
            return Ok(Added::Known);
        }
        let parent_hash = header.prev_blockhash;
        let parent =
            *self.nodes.get(&parent_hash).ok_or(HeaderError::Orphan { hash, parent: parent_hash })?;
        let tip = self.tip();
        let depth = tip.height.saturating_sub(parent.height);
        if depth > REORG_DEPTH_MAX {
            return Err(HeaderError::TooDeep { hash, depth });
        }
        let height = parent.height + 1;
        self.check(&header, hash, &parent, now)?;
        if parent_hash != tip.hash {
            self.make_room()?;
        }
        let work = parent.work + header.work();
        self.nodes.insert(hash, Node { header, height, work });
        if work <= tip.work {
            return Ok(Added::Side);
        }
        let undone = self.reorganise(hash);
        self.forget();
        Ok(Added::Best { undone })
    }

    fn check(&self, header: &Header, hash: BlockHash, parent: &Node, now: u32) -> Result<(), HeaderError> {
        let height = parent.height + 1;
        if self.params.checkpoints.iter().any(|(at, wanted)| *at == height && *wanted != hash) {
            return Err(HeaderError::Checkpoint { hash, height });
        }
        let expected = self
            .next_bits(header, parent)
            .ok_or(HeaderError::Orphan { hash, parent: header.prev_blockhash })?;
        if header.bits != expected {
            return Err(HeaderError::Difficulty {
                hash,
                found: header.bits.to_consensus(),
                expected: expected.to_consensus(),
            });
        }
        let median = self.median_time(parent);
        if header.time <= median {
            return Err(HeaderError::TimeTooOld { hash, time: header.time, median });
        }
        let warp = parent.header.time.saturating_sub(WARP_MAX_S);
        if self.params.bip94 && height.is_multiple_of(RETARGET_BLOCKS) && header.time < warp {
            return Err(HeaderError::TimeTooOld { hash, time: header.time, median: warp });
        }
        if header.time > now.saturating_add(AHEAD_MAX_S) {
            return Err(HeaderError::TimeTooNew { hash, time: header.time, now });
        }
        // The dearest last: scrypt takes a millisecond.
        check_proof_of_work(&self.params, header)
    }

    /// The difficulty that the rules give a header on this parent (`GetNextWorkRequired`).
    fn next_bits(&self, header: &Header, parent: &Node) -> Option<CompactTarget> {
        let height = parent.height + 1;
        let limit = self.params.limit.to_compact_lossy();
        if !height.is_multiple_of(RETARGET_BLOCKS) {
            if !self.params.min_difficulty_blocks {
                return Some(parent.header.bits);
            }
            if header.time > parent.header.time.saturating_add(2 * self.params.spacing_s) {
                return Some(limit);
            }
            // The last one that was not let off.
            let mut node = *parent;
            while !node.height.is_multiple_of(RETARGET_BLOCKS) && node.header.bits == limit {
                node = *self.nodes.get(&node.header.prev_blockhash)?;
            }
            return Some(node.header.bits);
        }
        if self.params.no_retargeting {
            return Some(parent.header.bits);
        }
        let period_start = height - RETARGET_BLOCKS;
        let first = match self.params.whole_period {
            true => period_start.saturating_sub(1),
            false => period_start,
        };
        let bits = match self.params.bip94 {
            true => self.ancestor(parent, period_start)?.header.bits,
            false => parent.header.bits,
        };
        let first_time = self.ancestor(parent, first)?.header.time;
        retarget(&self.params, Span { first_time, last_time: parent.header.time, bits })
    }

    /// The median time of a block and the ten before it.
    fn median_time(&self, from: &Node) -> u32 {
        let mut times = vec![from.header.time];
        let mut node = *from;
        for _ in 1..MEDIAN_BLOCKS {
            let Some(before) = self.nodes.get(&node.header.prev_blockhash) else { break };
            node = *before;
            times.push(node.header.time);
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// The block of this height below a node, on the node's own branch.
    fn ancestor(&self, from: &Node, height: u32) -> Option<Node> {
        let mut node = *from;
        while node.height > height {
            if self.hash_at(node.height) == Some(node.header.block_hash()) {
                return self.nodes.get(&self.hash_at(height)?).copied();
            }
            node = *self.nodes.get(&node.header.prev_blockhash)?;
        }
        (node.height == height).then_some(node)
    }

    /// Makes this block the tip; gives how many blocks were undone.
    fn reorganise(&mut self, hash: BlockHash) -> u32 {
        let mut branch = Vec::new();
        let mut at = hash;
        while let Some(node) = self.nodes.get(&at) {
            if self.hash_at(node.height) == Some(at) {
                break;
            }
            branch.push(at);
            at = node.header.prev_blockhash;
        }
        let keep = self.nodes.get(&at).map_or(0, |fork| fork.height - self.base + 1);
        let undone = u32::try_from(self.best.len()).unwrap_or(u32::MAX) - keep;
        self.best.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.best.extend(branch.into_iter().rev());
        undone
    }

    /// Forgets the oldest blocks of the best chain.
    fn forget(&mut self) {
        while self.best.len() > KEPT {
            if let Some(hash) = self.best.pop_front() {
                self.nodes.remove(&hash);
                self.base += 1;
            }
        }
    }

    /// Forgets side branches that can no longer win, if there is no room for another header.
    fn make_room(&mut self) -> Result<(), HeaderError> {
        if self.nodes.len() < self.best.len() + SIDE_MAX {
            return Ok(());
        }
        let floor = self.tip().height.saturating_sub(REORG_DEPTH_MAX);
        let (best, base) = (&self.best, self.base);
        self.nodes.retain(|hash, node| {
            let index = usize::try_from(node.height.saturating_sub(base)).unwrap_or(usize::MAX);
            node.height > floor || best.get(index) == Some(hash)
        });
        // A branch whose lower part went is an orphan now and is refused as such.
        if self.nodes.len() < self.best.len() + SIDE_MAX { Ok(()) } else { Err(HeaderError::TooMany) }
    }
}
