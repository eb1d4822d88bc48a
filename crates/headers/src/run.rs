use bitcoin::block::Header;

use crate::chain::AHEAD_MAX_S;
use crate::difficulty::{RETARGET_BLOCKS, Span, retarget};
use crate::{HeaderChain, HeaderError, Params, check_proof_of_work};

/// Headers in order, each following on the one before, as a file of headers has them. Keeps none of them.
///
/// From genesis on every rule is checked, and only from there is a run worth what its work is worth. A run that
/// begins higher rests on its first header: checked are work, links, and the difficulty as far as the run itself
/// tells it.
pub struct HeaderRun {
    params: Params,
    /// Height of the next header.
    next: u32,
    rules: Rules,
}

enum Rules {
    /// Height 0 has not come yet, or has.
    All(Box<HeaderChain>),
    Some {
        last: Option<Header>,
        /// Times that periods are measured from: the one before, and the latest.
        measured: [Option<u32>; 2],
    },
}

impl HeaderRun {
    /// A run whose first header has height `from`.
    pub fn new(params: Params, from: u32) -> Self {
        let rules = match from {
            0 => Rules::All(Box::new(HeaderChain::new(params.clone()))),
            _ => Rules::Some { last: None, measured: [None; 2] },
        };
        Self { params, next: from, rules }
    }

    /// Whether every rule is checked, because the run begins at genesis.
    pub fn from_genesis(&self) -> bool {
        matches!(self.rules, Rules::All(_))
    }

    /// Checks the next header and gives its height. `now` is the caller's time in seconds since 1970.
    ///
    /// # Errors
    /// Which rule it breaks; [`HeaderError::Orphan`] when it does not follow on the one before. The run does not go on
    /// then.
    pub fn add(&mut self, header: Header, now: u32) -> Result<u32, HeaderError> {
        let (height, hash) = (self.next, header.block_hash());
        let orphan = HeaderError::Orphan { hash, parent: header.prev_blockhash };
        match &mut self.rules {
            Rules::All(chain) if height == 0 => {
                if hash != chain.tip().hash {
                    return Err(HeaderError::Checkpoint { hash, height });
                }
            }
            Rules::All(chain) => {
                if header.prev_blockhash != chain.tip().hash {
                    return Err(orphan);
                }
                chain.add(header, now)?;
            }
            Rules::Some { last, measured } => {
                if let Some(last) = last {
                    if header.prev_blockhash != last.block_hash() {
                        return Err(orphan);
                    }
                    follows(&self.params, height, &header, last, *measured)?;
                }
                if header.time > now.saturating_add(AHEAD_MAX_S) {
                    return Err(HeaderError::TimeTooNew { hash, time: header.time, now });
                }
                check_proof_of_work(&self.params, &header)?;
                // Litecoin measures a period from the block before it.
                let mark = if self.params.whole_period { RETARGET_BLOCKS - 1 } else { 0 };
                if height % RETARGET_BLOCKS == mark {
                    *measured = [measured[1], Some(header.time)];
                }
                *last = Some(header);
            }
        }
        self.next = height.checked_add(1).ok_or(HeaderError::Malformed)?;
        Ok(height)
    }
}

/// The difficulty of a header on this parent, as far as it follows from what is known.
fn follows(
    params: &Params,
    height: u32,
    header: &Header,
    parent: &Header,
    measured: [Option<u32>; 2],
) -> Result<(), HeaderError> {
    if params.min_difficulty_blocks {
        // Depends on blocks that may lie below the run.
        return Ok(());
    }
    let expected = if !height.is_multiple_of(RETARGET_BLOCKS) || params.no_retargeting {
        Some(parent.bits)
    } else {
        let first = if params.whole_period { measured[0] } else { measured[1] };
        first.and_then(|first_time| {
            retarget(params, Span { first_time, last_time: parent.time, bits: parent.bits })
        })
    };
    // Without the period's beginning: at most four times as easy.
    let easiest =
        || parent.target().max_transition_threshold_unchecked().min(params.limit).to_compact_lossy();
    let wrong = match expected {
        Some(expected) => (header.bits != expected).then_some(expected),
        None => (header.target() > parent.target().max_transition_threshold_unchecked()).then(easiest),
    };
    match wrong {
        Some(expected) => Err(HeaderError::Difficulty {
            hash: header.block_hash(),
            found: header.bits.to_consensus(),
            expected: expected.to_consensus(),
        }),
        None => Ok(()),
    }
}
