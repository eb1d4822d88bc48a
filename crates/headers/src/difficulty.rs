use bitcoin::{CompactTarget, Target};

use crate::{Params, pow::claimed_target};

/// Blocks between changes of the difficulty.
pub const RETARGET_BLOCKS: u32 = 2_016;

/// What a change of the difficulty looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Time of the block that the period is measured from.
    pub first_time: u32,
    /// Time of the last block before the change.
    pub last_time: u32,
    /// The difficulty to change: of the last block, or with BIP 94 of the period's first.
    pub bits: CompactTarget,
}

/// The difficulty of a period by the one before: target × time taken / time wanted, at most by a factor of four, at most
/// the limit (`CalculateNextWorkRequired` of Bitcoin Core and Litecoin Core). None if `bits` is no target.
pub fn retarget(params: &Params, span: Span) -> Option<CompactTarget> {
    if params.no_retargeting {
        return Some(span.bits);
    }
    let wanted = u64::from(RETARGET_BLOCKS) * u64::from(params.spacing_s);
    // A period may seem to have run backwards: times only exceed a median.
    let taken = u64::from(span.last_time.saturating_sub(span.first_time)).clamp(wanted / 4, wanted * 4);
    let target = scale(claimed_target(span.bits)?, taken, wanted);
    Some(target.min(params.limit).to_compact_lossy())
}

/// `target * taken / wanted`, the largest target if it does not fit. Litecoin Core shifts large targets right by one for
/// the multiplication, for its numbers have 256 bits; the lost bit is below those that the compact form keeps.
fn scale(target: Target, taken: u64, wanted: u64) -> Target {
    let bytes = target.to_le_bytes();
    let (limbs, _) = bytes.as_chunks::<4>();
    let mut product: Vec<u64> = Vec::with_capacity(limbs.len() + 2);
    let mut carry = 0_u64;
    for limb in limbs {
        // `taken` is below 2^32: four times two weeks in seconds.
        let sum = u64::from(u32::from_le_bytes(*limb)) * taken + carry;
        product.push(sum & 0xffff_ffff);
        carry = sum >> 32;
    }
    product.push(carry);
    let mut remainder = 0_u64;
    for limb in product.iter_mut().rev() {
        let value = remainder << 32 | *limb;
        *limb = value / wanted;
        remainder = value % wanted;
    }
    if product.last() != Some(&0) {
        return Target::MAX;
    }
    let mut scaled = [0; 32];
    for (bytes, limb) in scaled.chunks_exact_mut(4).zip(&product) {
        bytes.copy_from_slice(&u32::try_from(*limb).unwrap_or(u32::MAX).to_le_bytes());
    }
    Target::from_le_bytes(scaled)
}
