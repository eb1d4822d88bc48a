//! One file of frames: length (4 bytes, big-endian), CRC-32 of the bytes, bytes. Appended and flushed; written anew beside
//! it and renamed when it has grown.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::WalletError;

/// Name and version of the form.
const MAGIC: &[u8; 8] = b"escwal\0\x01";
/// Longest frame: far above any wallet's whole state.
const FRAME_BYTES_MAX: u32 = 1 << 30;

pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Held for as long as the wallet is open. Beside the journal, because that one is replaced.
    _lock: File,
    length: u64,
}

impl Journal {
    /// Opens or makes the file and gives its frames. A torn last frame is cut off: it was never acknowledged.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Vec<u8>>), WalletError> {
        let io = |source| WalletError::Io { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(io)?;
        }
        let lock = private().create(true).truncate(false).open(beside(path, ".lock")).map_err(io)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WalletError::Locked { path: path.to_owned() },
            TryLockError::Error(source) => io(source),
        })?;
        let mut file = private().create(true).truncate(false).open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            file.set_len(0).map_err(io)?;
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            file.write_all(MAGIC).map_err(io)?;
            file.sync_all().map_err(io)?;
            sync_dir(path).map_err(io)?;
            bytes = MAGIC.to_vec();
        }
        let damaged = |at: usize, detail: &str| WalletError::Damaged {
            path: path.to_owned(),
            at: at as u64,
            detail: detail.to_owned(),
        };
        if !bytes.starts_with(MAGIC) {
            return Err(damaged(0, "it is no wallet file of this version"));
        }
        let (mut frames, mut at) = (Vec::new(), MAGIC.len());
        while at < bytes.len() {
            match frame(&bytes[at..]) {
                Frame::Whole(frame) => {
                    frames.push(frame.to_vec());
                    at += 8 + frame.len();
                }
                Frame::Torn => break,
                Frame::Wrong(detail) => return Err(damaged(at, detail)),
            }
        }
        if at < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - at, "cut a torn last write off");
            file.set_len(at as u64).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok((Self { path: path.to_owned(), file, _lock: lock, length: at as u64 }, frames))
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends a frame; it is on the disk when this returns. After an error the file's end is unknown: append no more.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), WalletError> {
        let frame = framed(bytes).ok_or_else(|| self.failed(io::ErrorKind::FileTooLarge.into()))?;
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        written.map_err(|error| self.failed(error))?;
        self.length += frame.len() as u64;
        Ok(())
    }

    /// Puts a file with this one frame in the place of all. A crash leaves the old or the new one.
    pub(crate) fn replace(&mut self, bytes: &[u8]) -> Result<(), WalletError> {
        let frame = framed(bytes).ok_or_else(|| self.failed(io::ErrorKind::FileTooLarge.into()))?;
        let new = beside(&self.path, ".new");
        let write = || {
            let mut file = private().create(true).truncate(true).open(&new)?;
            file.write_all(MAGIC)?;
            file.write_all(&frame)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            sync_dir(&self.path)?;
            Ok(file)
        };
        self.file = write().map_err(|error| self.failed(error))?;
        self.length = (MAGIC.len() + frame.len()) as u64;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> WalletError {
        WalletError::Io { path: self.path.clone(), source }
    }
}

/// Addresses and amounts are nobody else's business.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

fn framed(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| (1..=FRAME_BYTES_MAX).contains(length))?;
    Some([&length.to_be_bytes()[..], &crc32fast::hash(bytes).to_be_bytes(), bytes].concat())
}

enum Frame<'a> {
    Whole(&'a [u8]),
    Torn,
    Wrong(&'static str),
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Frame::Torn };
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, crc) = (number(0), number(4));
    // A file may be lengthened before its bytes are written: zeros to the end are a torn write too.
    if length == 0 {
        let zeros = bytes.iter().all(|byte| *byte == 0);
        return if zeros { Frame::Torn } else { Frame::Wrong("a frame of no bytes") };
    }
    if length > FRAME_BYTES_MAX {
        return Frame::Wrong("a frame that is too long");
    }
    let Some(frame) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
        return Frame::Torn;
    };
    match (crc32fast::hash(frame) == crc, frame.len() == rest.len()) {
        (true, _) => Frame::Whole(frame),
        // The last one: its bytes did not all reach the disk.
        (false, true) => Frame::Torn,
        (false, false) => Frame::Wrong("its checksum is another"),
    }
}
