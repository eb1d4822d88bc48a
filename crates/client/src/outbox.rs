//! Signed payments that are not known to be decided.
//!
//! The bytes are durable here before a node sees them. After a crash or a lost answer the same bytes
//! are handed in again, and a ledger spends an output once: so a payment is never made twice. An entry
//! leaves when the payment is accepted, or can never be.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eschaton_types::{OutPoint, Transaction, TxId};
use serde::{Deserialize, Serialize};

use crate::Submitted;
use crate::files::{self, FileError, Kind, io_error};

/// The most undecided payments of one wallet.
pub const ENTRIES_MAX: usize = 1_000;
const VERSION: u32 = 1;
const ENTRY: Kind = Kind {
    what: "outbox entry",
    advice: "another command has settled it; look with `eschaton tx show`",
    // A transaction in hexadecimal, and room for the rest.
    max: 256 * 1024,
};

/// Why the outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// An entry that cannot be read. It is left alone, for it may be a payment.
    #[error("outbox entry {} is damaged: {detail}; move it away once you know what became of its payment", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The bound on entries.
    #[error(
        "{ENTRIES_MAX} payments are undecided, the most at once; settle them with `eschaton pay --resume`"
    )]
    Full,
}

/// A signed payment.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is handed in.
    pub transaction: Transaction,
    /// What the payer asked for, as one line: tells a repeated command from a new payment.
    pub request: String,
    /// When it was signed, milliseconds since 1970 by this machine's clock.
    pub created_at_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    version: u32,
    txid: String,
    transaction: String,
    request: String,
    created_at_ms: u64,
}

/// What an answer means for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Paid; the entry leaves.
    Paid,
    /// Can never be accepted; the entry leaves and its outputs are free.
    Never,
    /// Not decided, or turned down for a reason that passes: whoever has the bytes may hand them in
    /// again and be accepted. The entry stays and its outputs stay reserved.
    Open,
}

/// Reasons that hold for ever once they hold: what the input was spent by, what it is, what the
/// transaction says. All others may pass, and then the same bytes would be accepted.
const LASTING: [&str; 7] = [
    "REASON_SPENT",
    "REASON_WRONG_PRODUCT",
    "REASON_UNBALANCED",
    "REASON_OVERFLOW",
    "REASON_EXPIRED",
    "REASON_NOT_AUTHORISED",
    "REASON_SUPPLY_EXCEEDED",
];

impl Verdict {
    /// Of an answer to the entry's own bytes.
    pub fn of(answer: &Submitted) -> Self {
        match answer {
            Submitted::Accepted { .. } => Self::Paid,
            Submitted::Rejected { reason, .. } if LASTING.contains(&reason.as_str()) => Self::Never,
            Submitted::Invalid { .. } => Self::Never,
            Submitted::Rejected { .. } | Submitted::Pending => Self::Open,
        }
    }
}

/// A folder with a file for each entry.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    /// In this folder, which is made on first use.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stores an entry; it is durable on return. To be called under the wallet's lock, together with
    /// the choice of outputs.
    pub fn put(&self, entry: &Entry) -> Result<(), OutboxError> {
        files::private_folder(&self.folder)?;
        if self.paths()?.len() >= ENTRIES_MAX {
            return Err(OutboxError::Full);
        }
        let file = EntryFile {
            version: VERSION,
            txid: entry.transaction.txid.to_string(),
            transaction: hex::encode(&entry.transaction.bytes),
            request: entry.request.clone(),
            created_at_ms: entry.created_at_ms,
        };
        let path = self.path_of(&entry.transaction.txid);
        let bytes = serde_json::to_vec(&file)
            .map_err(|error| OutboxError::Damaged { path: path.clone(), detail: error.to_string() })?;
        Ok(files::create(&path, &bytes)?)
    }

    /// All entries, oldest first. One that is damaged is an error and not passed over: its outputs
    /// must not be spent again unnoticed.
    pub fn entries(&self) -> Result<Vec<Entry>, OutboxError> {
        let mut entries = Vec::new();
        for path in self.paths()? {
            match read(&path) {
                Ok(entry) => entries.push(entry),
                // Another command settled it since the folder was listed.
                Err(OutboxError::File(FileError::Missing { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by_key(|entry| (entry.created_at_ms, entry.transaction.txid));
        Ok(entries)
    }

    /// Outputs that entries spend: not to be chosen again.
    pub fn reserved(entries: &[Entry]) -> HashSet<OutPoint> {
        entries
            .iter()
            .flat_map(|entry| entry.transaction.body.consumed())
            .map(|input| input.outpoint)
            .collect()
    }

    /// Removes an entry unless its payment is open. Removing twice is fine.
    pub fn settle(&self, txid: &TxId, verdict: Verdict) -> Result<(), OutboxError> {
        match verdict {
            Verdict::Paid | Verdict::Never => self.forget(txid),
            Verdict::Open => Ok(()),
        }
    }

    /// Removes an entry whatever became of its payment, which may still be accepted if a node has it.
    pub fn forget(&self, txid: &TxId) -> Result<(), OutboxError> {
        if self.folder.is_dir() { Ok(files::remove(&self.path_of(txid))?) } else { Ok(()) }
    }

    fn path_of(&self, txid: &TxId) -> PathBuf {
        self.folder.join(format!("{txid}.json"))
    }

    fn paths(&self) -> Result<Vec<PathBuf>, OutboxError> {
        let listing = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing.map_err(io_error("list", &self.folder))?,
        };
        let mut paths = Vec::new();
        for item in listing {
            let path = item.map_err(io_error("list", &self.folder))?.path();
            // Anything else is an entry that was never finished, and so never handed in.
            if path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

fn read(path: &Path) -> Result<Entry, OutboxError> {
    let damaged = |detail: String| OutboxError::Damaged { path: path.to_owned(), detail };
    let bytes = files::read_private(path, &ENTRY)?;
    let file: EntryFile = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if file.version != VERSION {
        return Err(damaged(format!("version {} is not {VERSION}", file.version)));
    }
    let bytes = hex::decode(&file.transaction).map_err(|error| damaged(error.to_string()))?;
    let transaction = Transaction::decode(Bytes::from(bytes)).map_err(|error| damaged(error.to_string()))?;
    if transaction.txid.to_string() != file.txid {
        return Err(damaged("its transaction has another id".to_owned()));
    }
    Ok(Entry { transaction, request: file.request, created_at_ms: file.created_at_ms })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use eschaton_types::{Amount, Body, Input, Key, Network, Output, Product};

    use super::*;

    fn entry(n: u8, created_at_ms: u64) -> Entry {
        let key = Key::from_secret([n; 32]).unwrap();
        let outpoint = OutPoint { txid: TxId([n; 32]), index: 0 };
        let input = Input::spend(outpoint, key.address(), Product::Native);
        let output = Output::pay(key.address(), Product::Native, Amount::new(5).unwrap());
        let body = Body::plain(Network::Dev, vec![input], vec![output]);
        Entry { transaction: body.signed(&[key]).unwrap(), request: format!("request {n}"), created_at_ms }
    }

    fn rejected(reason: &str) -> Submitted {
        Submitted::Rejected { reason: reason.to_owned(), message: String::new(), spent_by: None, at_ms: 1 }
    }

    #[test]
    fn a_crash_before_the_answer_leaves_the_very_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(folder.path().join("w.outbox"));
        assert!(outbox.entries().unwrap().is_empty());
        let (late, early) = (entry(1, 20), entry(2, 10));
        outbox.put(&late).unwrap();
        outbox.put(&early).unwrap();
        // What a crash leaves of an entry that was being written.
        fs::write(outbox.folder().join("half.json.00.tmp"), "{").unwrap();
        let again = Outbox::new(outbox.folder().to_owned()).entries().unwrap();
        let bytes: Vec<_> = again.iter().map(|entry| entry.transaction.bytes.clone()).collect();
        assert_eq!(bytes, [early.transaction.bytes.clone(), late.transaction.bytes.clone()]);
        assert_eq!(again[0].request, "request 2");
        let reserved = Outbox::reserved(&again);
        assert!(reserved.contains(&OutPoint { txid: TxId([1; 32]), index: 0 }) && reserved.len() == 2);
        assert!(matches!(outbox.put(&late), Err(OutboxError::File(FileError::Exists { .. }))));
    }

    #[test]
    fn entries_leave_when_paid_or_never_payable_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(folder.path().join("w.outbox"));
        let one = entry(1, 1);
        let txid = one.transaction.txid;
        outbox.put(&one).unwrap();
        for open in [
            Submitted::Pending,
            rejected("REASON_OVERLOADED"),
            rejected("REASON_TIMED_OUT"),
            rejected("REASON_NOT_YET_VALID"),
            rejected("REASON_UNKNOWN_INPUT"),
            rejected("REASON_CONFLICT_LOST"),
            rejected("REASON_OF_THE_FUTURE"),
        ] {
            outbox.settle(&txid, Verdict::of(&open)).unwrap();
            assert_eq!(outbox.entries().unwrap().len(), 1, "{open:?}");
        }
        for closed in [
            Submitted::Accepted { at_ms: 1 },
            rejected("REASON_SPENT"),
            rejected("REASON_EXPIRED"),
            Submitted::Invalid { message: String::new() },
        ] {
            outbox.settle(&txid, Verdict::of(&closed)).unwrap();
            assert!(outbox.entries().unwrap().is_empty(), "{closed:?}");
            outbox.settle(&txid, Verdict::of(&closed)).unwrap();
            outbox.put(&one).unwrap();
        }
    }

    #[test]
    fn a_damaged_entry_is_an_error_not_a_free_output() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(folder.path().join("w.outbox"));
        let one = entry(1, 1);
        outbox.put(&one).unwrap();
        let path = outbox.path_of(&one.transaction.txid);
        let text = fs::read_to_string(&path).unwrap();
        let other = entry(2, 1).transaction.txid.to_string();
        for changed in [
            text[..text.len() / 2].to_owned(),
            text.replace(&one.transaction.txid.to_string(), &other),
            text.replace("\"version\":1", "\"version\":2"),
        ] {
            fs::write(&path, changed).unwrap();
            assert!(matches!(outbox.entries(), Err(OutboxError::Damaged { .. })));
        }
    }
}
