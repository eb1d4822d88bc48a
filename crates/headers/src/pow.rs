use bitcoin::block::Header;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{CompactTarget, Target};

use crate::{HeaderError, Params, ProofOfWork};

/// The hash that is compared with the target, as a little-endian number.
pub fn proof_of_work_hash(kind: ProofOfWork, header: &Header) -> [u8; 32] {
    match kind {
        ProofOfWork::Sha256d => header.block_hash().to_byte_array(),
        ProofOfWork::Scrypt => {
            let bytes = serialize(header);
            let mut hash = [0; 32];
            // N = 2^10 is a power of two above 1 and r, p are small, so neither call can fail; if it did, the largest
            // number would stand for no work at all.
            let made = scrypt::Params::new(10, 1, 1)
                .is_ok_and(|params| scrypt::scrypt(&bytes, &bytes, &params, &mut hash).is_ok());
            if made { hash } else { [0xff; 32] }
        }
    }
}

/// The target that a header claims; none if it is no positive number of at most 256 bits (Bitcoin Core, `CheckProofOfWork`).
pub(crate) fn claimed_target(bits: CompactTarget) -> Option<Target> {
    let bits = bits.to_consensus();
    let (size, mantissa) = (bits >> 24, bits & 0x007f_ffff);
    let negative = bits & 0x0080_0000 != 0;
    let overflow =
        mantissa != 0 && (size > 34 || (mantissa > 0xff && size > 33) || (mantissa > 0xffff && size > 32));
    if mantissa == 0 || negative || overflow {
        return None;
    }
    let target = Target::from_compact(CompactTarget::from_consensus(bits));
    (target != Target::ZERO).then_some(target)
}

/// Whether a header's hash is at or below the target that it claims, and that target is allowed on this network. Says
/// nothing of whether the claim is the right one at its height; [`crate::HeaderChain`] does.
pub fn check_proof_of_work(params: &Params, header: &Header) -> Result<(), HeaderError> {
    let refused = || HeaderError::Work { hash: header.block_hash() };
    let target = claimed_target(header.bits).ok_or_else(refused)?;
    if target > params.limit {
        return Err(refused());
    }
    let hash = proof_of_work_hash(params.proof_of_work, header);
    if Target::from_le_bytes(hash) > target {
        return Err(refused());
    }
    Ok(())
}
