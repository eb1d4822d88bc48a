use crate::attestation::{Attestation, Chain};
use crate::timestamp::{Pending, Timestamp};
use crate::{DetachedFile, FileHash, Op, OtsError};

/// A block's header as it is hashed: version, previous, Merkle root, time, bits, nonce.
pub type Header = [u8; 80];

/// An attestation that holds: the message was there before this block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// On which chain.
    pub chain: Chain,
    /// The block's height.
    pub height: u64,
    /// The block's own time, seconds since 1970. Miners set it: it may be off by about two hours.
    pub time: u32,
    /// The operations that lead from the digest to the block's Merkle root.
    pub path: Vec<Op>,
}

/// An attestation that a header contradicts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The proof leads to something else than the block's Merkle root.
    #[error(
        "the proof does not lead to the Merkle root of {chain} block {height}; the file or the proof was changed"
    )]
    WrongRoot {
        /// On which chain.
        chain: Chain,
        /// The block's height.
        height: u64,
    },
    /// What is attested is not even as long as a Merkle root.
    #[error(
        "{found} bytes are attested by {chain} block {height}, a Merkle root has 32; the proof is damaged"
    )]
    NoRoot {
        /// On which chain.
        chain: Chain,
        /// The block's height.
        height: u64,
        /// Bytes of the message.
        found: usize,
    },
}

/// What headers say of a timestamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Attestations that hold, in canonical order.
    pub held: Vec<Held>,
    /// Attestations that a header contradicts.
    pub failed: Vec<Failed>,
    /// Blocks whose header the caller does not have.
    pub unchecked: Vec<(Chain, u64)>,
    /// Calendars that promise more.
    pub pending: Vec<Pending>,
    /// Tags of attestations that are not known here.
    pub unknown: Vec<[u8; 8]>,
}

impl Report {
    /// The earliest attestation that holds, if the digest is proven at all. One that a header contradicts
    /// spoils the whole: such a timestamp was damaged or forged, and who cares can take it apart.
    ///
    /// Of one chain the lowest block is the earliest, for its order is certain and its clocks are not. Of two
    /// chains it is the one whose block has the earlier time, and Bitcoin's where they are the same.
    pub fn earliest(&self) -> Option<&Held> {
        if !self.failed.is_empty() {
            return None;
        }
        let lowest =
            |chain| self.held.iter().filter(move |held| held.chain == chain).min_by_key(|held| held.height);
        let chains = [lowest(Chain::Bitcoin), lowest(Chain::Litecoin)];
        // The first of several equals.
        chains.into_iter().flatten().min_by_key(|held| held.time)
    }

    /// Proven, and nothing in it is open: every byte of it was checked.
    pub fn is_complete(&self) -> bool {
        self.earliest().is_some()
            && self.unchecked.is_empty()
            && self.pending.is_empty()
            && self.unknown.is_empty()
    }
}

/// Why a timestamp was not judged at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError<E> {
    /// The timestamp cannot be executed on this message.
    #[error(transparent)]
    Timestamp(#[from] OtsError),
    /// The proof is of another digest.
    #[error(
        "the proof is of digest {proven}, the file has {given}; the file was changed or the proof is another's"
    )]
    OtherDigest {
        /// Hexadecimal, of the proof.
        proven: String,
        /// Hexadecimal, of the file.
        given: String,
    },
    /// The proof is of the digest by another hash: whoever claims that names another document.
    #[error(
        "the proof is of a {proven} digest, the file's was made with {given}; hash the file as the proof says"
    )]
    OtherHash {
        /// Name, of the proof.
        proven: &'static str,
        /// Name, of the file's.
        given: &'static str,
    },
    /// The source of headers failed.
    #[error(transparent)]
    Headers(E),
}

/// Judges a timestamp of `message`. `header` gives the header at a height of the best chain, or none if it
/// is not known; that the headers are a chain with proof of work is the caller's part.
///
/// # Errors
/// [`VerifyError::Timestamp`] when it cannot be executed, [`VerifyError::Headers`] with the caller's own.
pub fn verify<E>(
    message: &[u8],
    timestamp: &Timestamp,
    mut header: impl FnMut(Chain, u64) -> Result<Option<Header>, E>,
) -> Result<Report, VerifyError<E>> {
    let mut report = Report { pending: timestamp.pending(message)?, ..Report::default() };
    let mut failure = None;
    timestamp.visit(message, |path, message, attestation| match attestation {
        Attestation::Pending(_) => {}
        Attestation::Unknown(unknown) => report.unknown.push(unknown.tag()),
        Attestation::Block { chain, height } => {
            let (chain, height) = (*chain, *height);
            match header(chain, height) {
                Err(error) => failure = failure.take().or(Some(error)),
                Ok(None) => report.unchecked.push((chain, height)),
                Ok(Some(_)) if message.len() != 32 => {
                    report.failed.push(Failed::NoRoot { chain, height, found: message.len() });
                }
                Ok(Some(header)) if header[36..68] != *message => {
                    report.failed.push(Failed::WrongRoot { chain, height });
                }
                Ok(Some(header)) => {
                    let time = u32::from_le_bytes([header[68], header[69], header[70], header[71]]);
                    let path = path.iter().map(|op| (*op).clone()).collect();
                    report.held.push(Held { chain, height, time, path });
                }
            }
        }
    })?;
    match failure {
        Some(error) => Err(VerifyError::Headers(error)),
        None => Ok(report),
    }
}

/// Judges an `.ots` file against the digest that the caller made of the document with `hash`.
///
/// # Errors
/// [`VerifyError::OtherHash`], [`VerifyError::OtherDigest`] when it is another document's; those of [`verify`].
pub fn verify_file<E>(
    hash: FileHash,
    digest: &[u8],
    file: &DetachedFile,
    header: impl FnMut(Chain, u64) -> Result<Option<Header>, E>,
) -> Result<Report, VerifyError<E>> {
    if file.hash() != hash {
        return Err(VerifyError::OtherHash { proven: file.hash().op().name(), given: hash.op().name() });
    }
    if file.digest() != digest {
        return Err(VerifyError::OtherDigest {
            proven: hex::encode(file.digest()),
            given: hex::encode(digest),
        });
    }
    verify(digest, file.timestamp(), header)
}
