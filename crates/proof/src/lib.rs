//! The light client's verifying library: from one verifier key and bytes of anyone it establishes
//! facts about the log and the outputs. No IO, no clock, no trust in the sender.
//!
//! Every input is bounded before it is parsed and has exactly one valid form, so a proof with any
//! byte changed is refused; the one exception is a note's signature lines of other signers (C2SP
//! signed-note), which carry no fact and are not looked at.

mod error;
mod leaf;
mod note;

pub mod checkpoint;
pub mod map;
pub mod tlog;
pub mod verify;

pub use checkpoint::CheckpointBody;
pub use error::ProofError;
pub use leaf::{Created, LeafValue, Spend};
pub use map::{MapProof, Terminal};
pub use note::{NOTE_BYTES_MAX, NoteSigner, SignedCheckpoint, VerifierKey};
pub use verify::{
    OutputFact, PROOF_BYTES_MAX, Verified, verify_consistency, verify_inclusion, verify_output,
};

/// A hash of either tree: SHA-256 in the log, BLAKE3 in the map.
pub type Hash = [u8; 32];

/// Hashes as one run of bytes, for messages.
pub fn concat(hashes: &[Hash]) -> bytes::Bytes {
    hashes.concat().into()
}

/// A run of at most `max` hashes.
fn hashes(bytes: &[u8], max: usize, what: &'static str) -> Result<Vec<Hash>, ProofError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() > max || !rest.is_empty() { Err(error::malformed(what)) } else { Ok(hashes.to_vec()) }
}

fn bytes32(bytes: &[u8], what: &'static str) -> Result<Hash, ProofError> {
    bytes.try_into().map_err(|_| error::malformed(what))
}
