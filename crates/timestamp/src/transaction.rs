//! As much of a Bitcoin-like transaction as an anchor needs: its bytes without witnesses, its id, what it spends,
//! and where a root stands in it (Bitcoin's serialization, BIP 144 for witnesses).

use bytes::Bytes;
use eschaton_ots::tree::Hash;
use sha2::{Digest, Sha256};

use crate::TransactionError;

/// Most bytes of an anchor's transaction without witnesses: twice what the reference implementation takes, and
/// little of a proof.
pub const TRANSACTION_BYTES_MAX: usize = 2_000;
/// Most bytes with witnesses, so that what is parsed is bounded.
pub const RAW_BYTES_MAX: usize = 16_000;

/// What a transaction spends: id in internal byte order, and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outpoint {
    /// The transaction that made it.
    pub txid: Hash,
    /// Which of its outputs.
    pub index: u32,
}

/// A parsed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Without witnesses: what the id is the hash of.
    stripped: Bytes,
    txid: Hash,
    inputs: Vec<Outpoint>,
    /// Where payloads of `OP_RETURN <32 bytes>` outputs begin.
    payloads: Vec<usize>,
}

/// Double SHA-256.
pub fn sha256d(bytes: &[u8]) -> Hash {
    Sha256::digest(Sha256::digest(bytes)).into()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], TransactionError> {
        let end = self.at.checked_add(count).ok_or(TransactionError::Malformed { field })?;
        let taken = self.bytes.get(self.at..end).ok_or(TransactionError::Malformed { field })?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], TransactionError> {
        self.take(N, field)?.try_into().map_err(|_| TransactionError::Malformed { field })
    }

    /// Bitcoin's compact size, in shortest form. More than the bytes that are left is refused at once.
    fn size(&mut self, field: &'static str) -> Result<usize, TransactionError> {
        let wrong = TransactionError::Malformed { field };
        let (size, least) = match self.array::<1>(field)?[0] {
            0xfd => (u64::from(u16::from_le_bytes(self.array(field)?)), 0xfd),
            0xfe => (u64::from(u32::from_le_bytes(self.array(field)?)), 1 << 16),
            0xff => (u64::from_le_bytes(self.array(field)?), 1 << 32),
            small => (u64::from(small), 0),
        };
        let size = usize::try_from(size).ok().filter(|_| size >= least).ok_or(wrong.clone())?;
        if size > self.bytes.len() { Err(wrong) } else { Ok(size) }
    }
}

impl Transaction {
    /// Parses a whole transaction, with or without witnesses.
    ///
    /// # Errors
    /// [`TransactionError::Malformed`], [`TransactionError::TooLarge`].
    pub fn parse(raw: &[u8]) -> Result<Self, TransactionError> {
        if raw.len() > RAW_BYTES_MAX {
            return Err(TransactionError::TooLarge { found: raw.len(), max: RAW_BYTES_MAX });
        }
        let malformed = |field| TransactionError::Malformed { field };
        let mut reader = Reader { bytes: raw, at: 0 };
        let version = reader.take(4, "the version")?;
        // No inputs and flag 1: witnesses follow. Other flags are other extensions, such as Litecoin's MWEB.
        let witnesses = raw.get(4..6) == Some(&[0, 1]);
        if witnesses {
            reader.take(2, "the flag")?;
        }
        let body = reader.at;
        let mut inputs = Vec::new();
        for _ in 0..reader.size("the number of inputs")? {
            let txid = reader.array("an input")?;
            let index = u32::from_le_bytes(reader.array("an input")?);
            let script = reader.size("an input's script")?;
            reader.take(script, "an input's script")?;
            reader.take(4, "an input's sequence")?;
            inputs.push(Outpoint { txid, index });
        }
        if inputs.is_empty() {
            return Err(malformed("the inputs"));
        }
        // Offsets in the stripped bytes, from which the flag is missing.
        let (mut payloads, flag) = (Vec::new(), body - 4);
        for _ in 0..reader.size("the number of outputs")? {
            reader.take(8, "an output's value")?;
            let script = reader.size("an output's script")?;
            let script = reader.take(script, "an output's script")?;
            // OP_RETURN and a push of 32 bytes, nothing else.
            if script.len() == 34 && script.starts_with(&[0x6a, 0x20]) {
                payloads.push(reader.at - 32 - flag);
            }
        }
        let body = raw.get(body..reader.at).ok_or(malformed("the outputs"))?;
        if witnesses {
            for _ in &inputs {
                for _ in 0..reader.size("a witness")? {
                    let item = reader.size("a witness")?;
                    reader.take(item, "a witness")?;
                }
            }
        }
        let lock_time = reader.take(4, "the lock time")?;
        if reader.at != raw.len() {
            return Err(malformed("its end"));
        }
        let stripped = [version, body, lock_time].concat();
        if stripped.len() > TRANSACTION_BYTES_MAX {
            return Err(TransactionError::TooLarge { found: stripped.len(), max: TRANSACTION_BYTES_MAX });
        }
        let txid = sha256d(&stripped);
        Ok(Self { stripped: stripped.into(), txid, inputs, payloads })
    }

    /// Id, in internal byte order: explorers show it backwards.
    pub fn txid(&self) -> Hash {
        self.txid
    }

    /// What it spends.
    pub fn inputs(&self) -> &[Outpoint] {
        &self.inputs
    }

    /// What stands before and after `root`, which is the payload of an `OP_RETURN` output.
    ///
    /// # Errors
    /// [`TransactionError::NoCommitment`].
    pub fn around(&self, root: &Hash) -> Result<(Bytes, Bytes), TransactionError> {
        let at = self.payloads.iter().find(|at| self.stripped.get(**at..**at + 32) == Some(&root[..]));
        let at = *at.ok_or_else(|| TransactionError::NoCommitment { root: hex::encode(root) })?;
        Ok((self.stripped.slice(..at), self.stripped.slice(at + 32..)))
    }
}
