//! What an export consists of.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use eschaton_ports::{Topic, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::TransferError;
use crate::file::file_name;
use crate::frame::FORMAT;

/// The manifest's file.
pub const MANIFEST: &str = "manifest.json";
/// Far above what 256 shards need.
const BYTES_MAX: u64 = 16 << 20;

/// A whole export. Without it a directory holds one that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// Whose.
    pub ledger: Ledger,
    /// One for each partition, in the order of topics and partitions.
    pub files: Vec<FileEntry>,
    /// Where each group stands.
    pub positions: Vec<GroupPosition>,
    /// What the rows were, made from these records.
    pub state: State,
}

/// What a ledger is known by, fixed at its first start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// main, test or dev.
    pub network: String,
    /// Shards.
    pub shards: u32,
    /// Origin of its checkpoints.
    pub origin: String,
    /// The key that verifies them.
    pub verifier_key: String,
}

/// One partition's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// In the export's directory.
    pub name: String,
    /// The topic's number.
    pub topic: u32,
    /// The partition.
    pub partition: u32,
    /// Records in it.
    pub records: u64,
    /// The offset after the last record; more than `records` when there are gaps.
    pub end: u64,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its bytes, hexadecimal.
    pub blake3: String,
}

/// The next offset that a group consumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPosition {
    /// The group.
    pub group: String,
    /// The topic's number.
    pub topic: u32,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub next: u64,
}

/// The rows of a store, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// How many rows there are.
    pub rows: u64,
    /// BLAKE3 over all of them, hexadecimal.
    pub hash: String,
    /// The file with hashes of runs of rows, which name a difference, and its BLAKE3.
    pub runs: String,
    /// BLAKE3 of that file, hexadecimal.
    pub runs_blake3: String,
}

/// The manifest and its own check.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<M> {
    manifest: M,
    blake3: String,
}

impl FileEntry {
    /// Its partition, when the file's name is that partition's.
    pub fn at(&self) -> Option<TopicPartition> {
        let topic = Topic::ALL.into_iter().find(|topic| topic.number() == self.topic)?;
        let at = TopicPartition { topic, partition: self.partition };
        (file_name(at) == self.name).then_some(at)
    }

    /// Whether offsets are missing.
    pub fn has_gaps(&self) -> bool {
        self.records != self.end
    }
}

impl GroupPosition {
    /// Its partition.
    pub fn at(&self) -> Option<TopicPartition> {
        let topic = Topic::ALL.into_iter().find(|topic| topic.number() == self.topic)?;
        Some(TopicPartition { topic, partition: self.partition })
    }
}

impl Manifest {
    /// All partitions of a ledger, in the order of the manifest.
    pub fn partitions(shards: u32) -> impl Iterator<Item = TopicPartition> {
        Topic::ALL.into_iter().flat_map(move |topic| {
            (0..topic.partitions(shards)).map(move |partition| TopicPartition { topic, partition })
        })
    }

    /// Writes it, durably and as a whole.
    pub fn write(&self, dir: &Path) -> Result<(), TransferError> {
        let (path, draft) = (dir.join(MANIFEST), dir.join("manifest.json.new"));
        let sealed = Sealed { manifest: self, blake3: self.own_hash(&path)? };
        let text = serde_json::to_vec_pretty(&sealed)
            .map_err(|error| TransferError::io(&path, "write")(error.into()))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&draft)
            .map_err(TransferError::io(&draft, "make"))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(TransferError::io(&draft, "write"))?;
        fs::rename(&draft, &path).map_err(TransferError::io(&path, "put in place"))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(TransferError::io(dir, "sync"))
    }

    /// Reads it; `None` when there is none. Refuses another format, a damaged one, and one that lacks partitions.
    pub fn read(dir: &Path) -> Result<Option<Self>, TransferError> {
        let path = dir.join(MANIFEST);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TransferError::io(&path, "open")(error)),
        };
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text).map_err(TransferError::io(&path, "read"))?;
        let damaged = |detail: &str| TransferError::damaged(&path, detail);
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        // Before anything else is read from it: another format may have other fields.
        let format = value.get("manifest").and_then(|manifest| manifest.get("format"));
        match format.and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(TransferError::Refused(format!(
                    "{} has format {format}, and this program knows {FORMAT}; use the program that wrote it",
                    path.display()
                )));
            }
            None => return Err(damaged("it names no format")),
        }
        let sealed: Sealed<Self> =
            serde_json::from_value(value).map_err(|error| damaged(&error.to_string()))?;
        if sealed.manifest.own_hash(&path)? != sealed.blake3 {
            return Err(damaged("its check sum is wrong"));
        }
        let expected: Vec<_> = Self::partitions(sealed.manifest.ledger.shards).map(Some).collect();
        let found: Vec<_> = sealed.manifest.files.iter().map(FileEntry::at).collect();
        // Exports from before there were timestamps end with the ledger's own topics.
        let ledgers = expected.iter().flatten().filter(|at| at.topic <= Topic::Checkpoints).count();
        if expected != found && expected.get(..ledgers) != Some(&found[..]) {
            return Err(damaged("it does not name the files of its partitions"));
        }
        Ok(Some(sealed.manifest))
    }

    fn own_hash(&self, path: &Path) -> Result<String, TransferError> {
        let text = serde_json::to_vec(self).map_err(|error| TransferError::io(path, "make")(error.into()))?;
        Ok(blake3::hash(&text).to_hex().to_string())
    }
}
