//! One partition's file.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eschaton_ports::{LogRecord, TopicPartition};

use crate::frame::{self, FRAME_HEAD_BYTES, HEAD_BYTES};
use crate::manifest::FileEntry;
use crate::{Progress, TransferError};

/// A partition's file in the export's directory.
pub fn file_name(at: TopicPartition) -> String {
    format!("{}-{}.log", at.topic.name(), at.partition)
}

/// Writes a partition's file, from its beginning or after the last whole frame that is there.
pub struct FileWriter {
    path: PathBuf,
    at: TopicPartition,
    file: File,
    hash: blake3::Hasher,
    bytes: u64,
    records: u64,
    last: Option<LogRecord>,
}

impl FileWriter {
    /// Makes the file, or finds where it ends and cuts off what is not whole.
    pub fn open(dir: &Path, at: TopicPartition, progress: Progress<'_>) -> Result<Self, TransferError> {
        let path = dir.join(file_name(at));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(TransferError::io(&path, "open"))?;
        let length = file.metadata().map_err(TransferError::io(&path, "see the length of"))?.len();
        let mut writer = Self {
            at,
            hash: blake3::Hasher::new(),
            bytes: 0,
            records: 0,
            last: None,
            file: file.try_clone().map_err(TransferError::io(&path, "open"))?,
            path: path.clone(),
        };
        if length >= HEAD_BYTES as u64 {
            let mut reader = FileReader::new(path.clone(), at, &mut file)?;
            writer.note(&frame::head(at));
            // The source has all of it: what is not whole is written again.
            while let Ok(Some((frame, records))) = reader.frame() {
                writer.note(&frame);
                writer.records += records.len() as u64;
                writer.last = records.into_iter().next_back();
                progress(writer.end())?;
            }
            writer.file.set_len(writer.bytes).map_err(TransferError::io(&path, "cut the torn end off"))?;
            writer.file.seek(SeekFrom::End(0)).map_err(TransferError::io(&path, "go to the end of"))?;
        } else {
            writer.file.set_len(0).map_err(TransferError::io(&path, "empty"))?;
            writer
                .file
                .seek(SeekFrom::Start(0))
                .map_err(TransferError::io(&path, "go to the beginning of"))?;
            writer.write(&frame::head(at))?;
        }
        Ok(writer)
    }

    /// The offset after the last record that is in the file.
    pub fn end(&self) -> u64 {
        self.last.as_ref().map_or(0, |record| record.offset + 1)
    }

    /// The last record that is in the file.
    pub fn last(&self) -> Option<&LogRecord> {
        self.last.as_ref()
    }

    /// Adds one frame.
    pub fn append(&mut self, mut records: Vec<LogRecord>) -> Result<(), TransferError> {
        let ahead = records.first().is_none_or(|first| first.offset >= self.end());
        let frame = frame::encode(&records).filter(|_| ahead).ok_or_else(|| {
            let detail = format!("{} gave records that make no frame after offset {}", self.at, self.end());
            TransferError::Refused(format!("{detail}; report this defect"))
        })?;
        self.write(&frame)?;
        self.records += records.len() as u64;
        self.last = records.pop();
        Ok(())
    }

    /// Makes the file durable.
    pub fn finish(self) -> Result<FileEntry, TransferError> {
        self.file.sync_all().map_err(TransferError::io(&self.path, "sync"))?;
        Ok(FileEntry {
            name: file_name(self.at),
            topic: self.at.topic.number(),
            partition: self.at.partition,
            records: self.records,
            end: self.end(),
            bytes: self.bytes,
            blake3: self.hash.finalize().to_hex().to_string(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.file.write_all(bytes).map_err(TransferError::io(&self.path, "write to"))?;
        self.note(bytes);
        Ok(())
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

/// Reads a partition's file, a frame at a time.
pub struct FileReader<R> {
    path: PathBuf,
    reader: BufReader<R>,
    /// Bytes read.
    read: u64,
    /// The least offset that the next record may have.
    next: u64,
}

impl FileReader<File> {
    /// Opens the file and checks its head.
    pub fn open(dir: &Path, at: TopicPartition) -> Result<Self, TransferError> {
        let path = dir.join(file_name(at));
        let file = File::open(&path).map_err(TransferError::io(&path, "open"))?;
        Self::new(path, at, file)
    }
}

impl<R: Read> FileReader<R> {
    pub(crate) fn new(path: PathBuf, at: TopicPartition, reader: R) -> Result<Self, TransferError> {
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let mut head = [0; HEAD_BYTES];
        let read = reader.read_exact(&mut head);
        read.map_err(|error| cut_or_io(&path, error, "its head is cut off".to_owned()))?;
        frame::check_head(at, &head).map_err(|detail| TransferError::damaged(&path, detail))?;
        Ok(Self { path, reader, read: HEAD_BYTES as u64, next: 0 })
    }

    /// The next records; `None` at the end.
    pub fn records(&mut self) -> Result<Option<Vec<LogRecord>>, TransferError> {
        Ok(self.frame()?.map(|(_, records)| records))
    }

    /// The next frame as it stands there, and its records.
    pub(crate) fn frame(&mut self) -> Result<Option<(Bytes, Vec<LogRecord>)>, TransferError> {
        let at = self.read;
        let damaged = |what: &str| format!("{what} in the frame at byte {at}");
        let mut head = [0; FRAME_HEAD_BYTES];
        // The end, or something that is no head any more.
        match self.reader.read(&mut head[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(TransferError::io(&self.path, "read")(error)),
        }
        let cut = || damaged("the file ends");
        self.reader.read_exact(&mut head[1..]).map_err(|error| cut_or_io(&self.path, error, cut()))?;
        let (length, check) = frame::frame_head(head)
            .ok_or_else(|| TransferError::damaged(&self.path, damaged("a length is wrong")))?;
        let mut frame = vec![0; FRAME_HEAD_BYTES + length];
        let (start, body) = frame.split_at_mut(FRAME_HEAD_BYTES);
        start.copy_from_slice(&head);
        self.reader.read_exact(body).map_err(|error| cut_or_io(&self.path, error, cut()))?;
        let frame = Bytes::from(frame);
        let records = frame::decode(&frame.slice(FRAME_HEAD_BYTES..), check)
            .map_err(|wrong| TransferError::damaged(&self.path, damaged(wrong)))?;
        if records.first().is_some_and(|first| first.offset < self.next) {
            return Err(TransferError::damaged(&self.path, damaged("offsets go back")));
        }
        self.next = records.last().map_or(self.next, |last| last.offset.saturating_add(1));
        self.read += frame.len() as u64;
        Ok(Some((frame, records)))
    }

    /// Where it reads, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn cut_or_io(path: &Path, error: std::io::Error, cut: String) -> TransferError {
    match error.kind() {
        ErrorKind::UnexpectedEof => TransferError::damaged(path, cut),
        _ => TransferError::io(path, "read")(error),
    }
}
