//! fjall's journals, checked before fjall opens them.
//!
//! fjall cuts a journal at the first place it cannot parse and goes on as if the rest had never been
//! written; only a wrong checksum makes it refuse. Both are wrong for acknowledged data: the first loses
//! it silently, the second stops a node whose last, unacknowledged batch is torn. So: every batch
//! that we commit begins with a mark, a row whose value is a secret of the directory and a sequence.
//! A batch that does not check out, with no mark of another batch after it, is the last one; a log syncs
//! each batch before the next, so only that one can be unacknowledged, and it is cut off and kept.
//! A mark after the damage means that the damaged batch was acknowledged. A payload cannot fake a mark,
//! for nobody outside knows the secret.
//!
//! Format (fjall 3, `journal/entry.rs`), integers little-endian: a batch is
//! `1, items u32, seqno u64`, its items, `3, xxh3 of the items u64, "FJL" 3`; an item is
//! `2, type u8, compression u8, keyspace u64, key length u16, value length u32, stored length u32`, key,
//! value. New journals are 64 MiB of zeros. The checksum leaves out the seqno, which decides which of two
//! versions of a row is the newer and what counts as flushed: it must grow from batch to batch.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::home::{OpenError, sync_dir};

/// The row that every batch writes first.
pub(crate) const MARK_KEY: &[u8] = b"mark";
const SECRET_BYTES: usize = 16;

const BATCH_HEAD: usize = 1 + 4 + 8;
const ITEM_HEAD: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
const BATCH_TAIL: usize = 1 + 8 + 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Where the secret stands, counted from its batch's start.
const SECRET_AT: usize = BATCH_HEAD + ITEM_HEAD + MARK_KEY.len();
/// The engine counts seqnos up one by one, for batches and for its own doings in between.
const SEQNO_STEP_MAX: u64 = 1 << 32;
/// Not reached in a thousand years; the engine panics at twice this.
const SEQNO_MAX: u64 = 1 << 62;
/// How many cut-off tails are kept for inquiry.
const CUTS_KEPT: u64 = 8;

/// The directory's secret.
#[derive(Clone, Copy)]
pub(crate) struct Mark([u8; SECRET_BYTES]);

impl Mark {
    #[allow(clippy::disallowed_methods, reason = "the directory's secret is made once, and replay reads it")]
    pub(crate) fn new() -> io::Result<Self> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        Ok(Self(secret))
    }

    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut secret = [0; SECRET_BYTES];
        hex::decode_to_slice(text, &mut secret).ok()?;
        Some(Self(secret))
    }

    /// The value of batch `sequence`'s mark.
    pub(crate) fn value(self, sequence: u64) -> Vec<u8> {
        [&self.0[..], &sequence.to_be_bytes()].concat()
    }

    /// A mark's sequence, if the mark is this directory's.
    pub(crate) fn sequence(self, value: &[u8]) -> Option<u64> {
        let sequence = value.strip_prefix(&self.0)?;
        Some(u64::from_be_bytes(sequence.try_into().ok()?))
    }
}

/// What may be cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// The last batch: each was synced before the next.
    LastBatch,
    /// Everything from the damage on: nothing was promised.
    Tail,
}

/// A journal's end that was torn, and was cut off so that the engine goes on from the last whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalCut {
    /// The journal.
    pub journal: PathBuf,
    /// Its bytes up to the last that was not zero, before.
    pub bytes_before: u64,
    /// Its bytes after: all whole batches.
    pub bytes_after: u64,
    /// The bytes cut off are kept here (of the newest eight cuts).
    pub kept: PathBuf,
}

/// What the journals hold.
#[derive(Default)]
pub(crate) struct Scan {
    /// Sequence of the last whole batch; `None` if the journals are empty.
    pub(crate) last_sequence: Option<u64>,
    pub(crate) cut: Option<JournalCut>,
}

/// Checks all journals in `engine`; cuts the newest one's torn end off and keeps it in `keep_in`.
/// Changes nothing when it fails.
pub(crate) fn check(
    engine: &Path,
    keep_in: &Path,
    mark: &Mark,
    tolerance: Tolerance,
    remedy: &'static str,
) -> Result<Scan, OpenError> {
    let journals = journals(engine).map_err(OpenError::io(engine, "list the journals of"))?;
    let mut scan = Scan::default();
    let mut seqno = None;
    for (index, path) in journals.iter().enumerate() {
        let damaged = |detail: String| OpenError::Damaged { path: path.clone(), detail, remedy };
        let content = read(path, mark, &mut seqno).map_err(OpenError::io(path, "read journal"))?;
        if let (Some(before), Some(first)) = (scan.last_sequence, content.first_sequence)
            && first != before + 1
        {
            return Err(damaged(format!("it goes on with batch {first} after batch {before}")));
        }
        if let Some((before, after)) = content.gap {
            return Err(damaged(format!("it goes on with batch {after} after batch {before}")));
        }
        scan.last_sequence = content.last_sequence.or(scan.last_sequence);
        let Some(rest) = content.rest else { continue };
        if index + 1 < journals.len() {
            return Err(damaged(format!("batch at byte {} of a finished journal is broken", content.good)));
        }
        if tolerance == Tolerance::LastBatch && rest.later_batch {
            return Err(damaged(format!(
                "batch at byte {} is broken, and acknowledged batches follow it",
                content.good
            )));
        }
        scan.cut = Some(cut(path, content.good, rest.end, keep_in)?);
    }
    Ok(scan)
}

/// Whether an engine's directory holds any row.
pub(crate) fn holds_data(engine: &Path) -> io::Result<bool> {
    for path in journals(engine)? {
        if non_zero_end(&mut File::open(path)?, 0)?.is_some() {
            return Ok(true);
        }
    }
    let keyspaces = engine.join("keyspaces");
    if !keyspaces.exists() {
        return Ok(false);
    }
    for keyspace in fs::read_dir(keyspaces)? {
        let keyspace = keyspace?;
        let tables = keyspace.path().join("tables");
        // Keyspace 0 holds fjall's own settings.
        if keyspace.file_name() != "0" && tables.exists() && fs::read_dir(tables)?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The journal that is being written, if there is one.
pub(crate) fn newest(engine: &Path) -> io::Result<Option<PathBuf>> {
    Ok(journals(engine)?.pop())
}

/// Journals, oldest first.
fn journals(engine: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            found.push((number.ok_or_else(|| io::Error::other("a journal's name is not a number"))?, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

struct Content {
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    /// Two whole batches in a row whose sequences are not.
    gap: Option<(u64, u64)>,
    /// Bytes of whole batches.
    good: u64,
    /// What is after them, unless all zeros.
    rest: Option<Rest>,
}

struct Rest {
    /// After the last byte that is not zero.
    end: u64,
    /// A batch begins after the one that is broken, or the seqnos do not grow: more than the last batch
    /// is in question.
    later_batch: bool,
}

/// Reads one journal; `seqno` is the last batch's, from journal to journal.
fn read(path: &Path, mark: &Mark, seqno: &mut Option<u64>) -> io::Result<Content> {
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
    let mut content = Content { first_sequence: None, last_sequence: None, gap: None, good: 0, rest: None };
    let mut shrinks = false;
    while let Some(Batch { bytes, seqno: its_seqno, sequence }) = batch(&mut reader, mark)? {
        shrinks = seqno.is_some_and(|before| its_seqno <= before);
        let most = seqno.map_or(SEQNO_MAX, |before| before.saturating_add(SEQNO_STEP_MAX));
        if shrinks || its_seqno > most {
            break;
        }
        *seqno = Some(its_seqno);
        if let Some(last) = content.last_sequence
            && sequence != last + 1
        {
            content.gap.get_or_insert((last, sequence));
        }
        content.first_sequence.get_or_insert(sequence);
        content.last_sequence = Some(sequence);
        content.good += bytes;
    }
    let mut file = reader.into_inner();
    if let Some(end) = non_zero_end(&mut file, content.good)? {
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(content.good))?;
        file.take(end - content.good).read_to_end(&mut rest)?;
        let later_batch =
            rest.windows(SECRET_BYTES).enumerate().any(|(at, window)| at != SECRET_AT && window == mark.0);
        content.rest = Some(Rest { end, later_batch: later_batch || shrinks });
    }
    Ok(content)
}

/// A whole batch.
struct Batch {
    bytes: u64,
    seqno: u64,
    sequence: u64,
}

/// `None` if what is here is not a whole batch.
fn batch(reader: &mut impl Read, mark: &Mark) -> io::Result<Option<Batch>> {
    let mut bytes = 0;
    let Some(head) = part::<BATCH_HEAD>(reader, &mut bytes)? else { return Ok(None) };
    let [1, a, b, c, d, seqno @ ..] = head else { return Ok(None) };
    let items = u32::from_le_bytes([a, b, c, d]);
    let seqno = u64::from_le_bytes(seqno);
    let mut hash = Xxh3::new();
    let mut sequence = None;
    let mut data = Vec::new();
    for item in 0..items {
        let Some(head) = part::<ITEM_HEAD>(reader, &mut bytes)? else { return Ok(None) };
        let [2, _, 0, _, _, _, _, _, _, _, _, k0, k1, v0, v1, v2, v3, s0, s1, s2, s3] = head else {
            return Ok(None);
        };
        let key = u64::from(u16::from_le_bytes([k0, k1]));
        let value = u32::from_le_bytes([v0, v1, v2, v3]);
        if value != u32::from_le_bytes([s0, s1, s2, s3]) {
            return Ok(None);
        }
        let length = key + u64::from(value);
        data.clear();
        // `take` and not a buffer of that length: a damaged length must not be believed.
        if reader.by_ref().take(length).read_to_end(&mut data)? as u64 != length {
            return Ok(None);
        }
        bytes += length;
        hash.update(&head);
        hash.update(&data);
        if item == 0 {
            sequence = data.strip_prefix(MARK_KEY).and_then(|value| mark.sequence(value));
        }
    }
    let Some(tail) = part::<BATCH_TAIL>(reader, &mut bytes)? else { return Ok(None) };
    let whole = tail[0] == 3 && tail[1..9] == hash.digest().to_le_bytes() && tail[9..] == TRAILER;
    Ok(sequence.filter(|_| whole).map(|sequence| Batch { bytes, seqno, sequence }))
}

fn part<const N: usize>(reader: &mut impl Read, bytes: &mut u64) -> io::Result<Option<[u8; N]>> {
    let mut part = [0; N];
    match reader.read_exact(&mut part) {
        Ok(()) => {
            *bytes += N as u64;
            Ok(Some(part))
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the bytes from `from` on stop being other than zero; `None` if they are all zero.
fn non_zero_end(file: &mut File, from: u64) -> io::Result<Option<u64>> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut block = Vec::with_capacity(ZEROS.len());
    let (mut at, mut end) = (from, None);
    file.seek(SeekFrom::Start(from))?;
    loop {
        block.clear();
        let length = file.take(ZEROS.len() as u64).read_to_end(&mut block)?;
        if length == 0 {
            return Ok(end);
        }
        // Comparing whole blocks first keeps the 64 MiB of zeros cheap.
        if block != ZEROS[..length]
            && let Some(last) = block.iter().rposition(|byte| *byte != 0)
        {
            end = Some(at + last as u64 + 1);
        }
        at += length as u64;
    }
}

/// Keeps the bytes `good..end` aside and cuts the journal to `good`.
fn cut(path: &Path, good: u64, end: u64, keep_in: &Path) -> Result<JournalCut, OpenError> {
    let mut journal =
        OpenOptions::new().read(true).write(true).open(path).map_err(OpenError::io(path, "open journal"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kept_before = kept_cuts(keep_in).map_err(OpenError::io(keep_in, "list"))?;
    let number = kept_before.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
    for (_, old) in kept_before.iter().filter(|(old, _)| old + CUTS_KEPT <= number) {
        fs::remove_file(old).map_err(OpenError::io(old, "remove"))?;
    }
    let kept = keep_in.join(format!("{name}.cut-{number}"));
    let mut copy = File::create_new(&kept).map_err(OpenError::io(&kept, "create"))?;
    journal.seek(SeekFrom::Start(good)).map_err(OpenError::io(path, "read journal"))?;
    io::copy(&mut (&journal).take(end - good), &mut copy).map_err(OpenError::io(&kept, "write"))?;
    copy.flush().and_then(|()| copy.sync_all()).map_err(OpenError::io(&kept, "sync"))?;
    sync_dir(keep_in).map_err(OpenError::io(keep_in, "sync directory"))?;
    journal
        .set_len(good)
        .and_then(|()| journal.sync_all())
        .map_err(OpenError::io(path, "cut the torn end off journal"))?;
    Ok(JournalCut { journal: path.to_owned(), bytes_before: end, bytes_after: good, kept })
}

fn kept_cuts(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut cuts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.extension().and_then(|e| e.to_str()?.strip_prefix("cut-")?.parse().ok());
        cuts.extend(number.map(|number| (number, path)));
    }
    Ok(cuts)
}
