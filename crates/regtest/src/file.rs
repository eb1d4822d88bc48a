use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::RegtestError;

/// Begins every file: name and version of the form.
const MAGIC: &[u8; 8] = b"escreg\0\x01";
/// Longest block, in bytes.
const BLOCK_BYTES_MAX: u32 = 4_000_000;

/// Blocks in the order in which they came, appended and flushed to the disk: each is length (4 bytes, big-endian), CRC-32 of
/// the bytes, bytes.
pub(crate) struct BlockFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl BlockFile {
    /// Opens or makes the file `blocks` of this directory and gives its blocks. A torn last write is cut off: it was
    /// never acknowledged. Anything else that is wrong is damage.
    pub(crate) fn open(dir: &Path, bytes_max: u64) -> Result<(Self, Vec<Vec<u8>>), RegtestError> {
        let path = dir.join("blocks");
        let io = |source| RegtestError::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(io)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => RegtestError::Locked { path: dir.to_owned() },
            TryLockError::Error(source) => io(source),
        })?;
        let length = file.metadata().map_err(io)?.len();
        if length > bytes_max {
            return Err(RegtestError::Full { bytes_max });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            file.set_len(0).map_err(io)?;
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            file.write_all(MAGIC).map_err(io)?;
            file.sync_all().map_err(io)?;
            // The name must be on the disk too.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
            bytes = MAGIC.to_vec();
        }
        let damaged = |at: usize, detail: &str| RegtestError::Damaged {
            path: path.clone(),
            at: at as u64,
            detail: detail.to_owned(),
        };
        if !bytes.starts_with(MAGIC) {
            return Err(damaged(0, "it is no chain file of this version"));
        }
        let mut blocks = Vec::new();
        let mut at = MAGIC.len();
        while at < bytes.len() {
            match frame(&bytes[at..]) {
                Frame::Whole(block) => {
                    blocks.push(block.to_vec());
                    at += 8 + block.len();
                }
                // A write that was cut reaches to the end of the file; damage in the middle has blocks after it.
                Frame::Torn => break,
                Frame::Wrong(detail) => return Err(damaged(at, detail)),
            }
        }
        if at < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - at, "cut a torn last block off");
            file.set_len(at as u64).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok((Self { path, file, length: at as u64 }, blocks))
    }

    /// Bytes that the file has with one more block of this length.
    pub(crate) fn length_with(&self, block: usize) -> u64 {
        self.length + 8 + block as u64
    }

    /// Appends a block; it is on the disk when this returns. After an error the file's end is unknown: append no more.
    pub(crate) fn append(&mut self, block: &[u8]) -> Result<(), RegtestError> {
        let io = |source| RegtestError::Io { path: self.path.clone(), source };
        let length = u32::try_from(block.len()).ok().filter(|length| *length <= BLOCK_BYTES_MAX);
        let length = length.ok_or_else(|| RegtestError::Block { detail: "it is too long".to_owned() })?;
        let mut frame = Vec::with_capacity(8 + block.len());
        frame.extend(length.to_be_bytes());
        frame.extend(crc32fast::hash(block).to_be_bytes());
        frame.extend(block);
        self.file.write_all(&frame).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.length = self.length_with(block.len());
        Ok(())
    }
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
        return if bytes.iter().all(|byte| *byte == 0) {
            Frame::Torn
        } else {
            Frame::Wrong("a block of no bytes")
        };
    }
    if length > BLOCK_BYTES_MAX {
        return Frame::Wrong("a block that is too long");
    }
    let Some(block) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
        return Frame::Torn;
    };
    match crc32fast::hash(block) == crc {
        true => Frame::Whole(block),
        false if block.len() == rest.len() => Frame::Torn,
        false => Frame::Wrong("a checksum does not fit"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn open(dir: &Path) -> Result<(BlockFile, Vec<Vec<u8>>), RegtestError> {
        BlockFile::open(dir, 1 << 20)
    }

    #[test]
    fn a_torn_end_is_cut_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, blocks) = open(dir.path()).unwrap();
        assert!(blocks.is_empty());
        assert!(matches!(open(dir.path()), Err(RegtestError::Locked { .. })));
        for block in [b"one".as_slice(), b"two", b"three"] {
            file.append(block).unwrap();
        }
        drop(file);
        let path = dir.path().join("blocks");
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let (mut file, blocks) = open(dir.path()).unwrap();
            let expected = [19, 30, 43].iter().filter(|length| **length <= end).count();
            assert_eq!(blocks.len(), expected, "cut at {end}");
            file.append(b"again").unwrap();
            drop(file);
            assert_eq!(open(dir.path()).unwrap().1.last().unwrap(), b"again");
        }
        for at in 0..30 {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 1;
            std::fs::write(&path, &spoilt).unwrap();
            match open(dir.path()) {
                Err(RegtestError::Damaged { .. }) => {}
                // A length that now reaches beyond the end cannot be told from a torn write, and costs what follows: here
                // the bit that makes 3 a number above what is left.
                Ok((_, blocks)) => {
                    assert!((8..12).contains(&at) || (19..23).contains(&at), "{at}: {blocks:?}")
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
