//! The bytes of a row: all records that one group commit gave one partition, up to about a MiB.
//!
//! `crc32 of the rest u32, format u8, records u32`, then per record
//! `flags u8, at_ms u64, [id: topic u8, partition u32, offset u64, index u32], [trace: id u128, span u64,
//! flags u8], length u32, payload`; integers little-endian; flag 1 says id, flag 2 says trace. The key is
//! the first record's offset, u64 big-endian.
//!
//! Format 1 is dense: the row begins where the one before ends, and its records follow one another. Format 2, which
//! only an import writes, has gaps: after `records` stands `before u64`, where the row before ends, and each record
//! begins with `skipped u64`, the offsets that are passed over before it (of the first record 0, for `before` tells).
//! So a gap that was meant is told from a row that is lost.

use bytes::{Buf, BufMut, Bytes};
use eschaton_ports::{LogRecord, NewRecord, RecordId, Topic, TopicPartition, TraceContext};

/// Rows are split above this.
const CHUNK_BYTES: usize = 1 << 20;
const DENSE: u8 = 1;
const SPARSE: u8 = 2;
const HEAD_BYTES: usize = 4 + 1 + 4;
const RECORD_BYTES_MIN: usize = 1 + 8 + 4;
const ID_BYTES: usize = 1 + 4 + 8 + 4;
const TRACE_BYTES: usize = 16 + 8 + 1;
const HAS_ID: u8 = 1;
const HAS_TRACE: u8 = 2;

/// A row's records, sharing the row's bytes.
pub(super) struct Chunk {
    /// Offset of the first record.
    pub(super) base: u64,
    /// Where the row before ends; `base` unless there is a gap.
    pub(super) before: u64,
    pub(super) records: Vec<LogRecord>,
    /// What it holds in memory.
    pub(super) bytes: usize,
}

impl Chunk {
    /// Offset after the last record.
    pub(super) fn end(&self) -> u64 {
        self.records.last().map_or(self.base, |record| record.offset + 1)
    }

    /// The records from `offset` on.
    pub(super) fn from(&self, offset: u64) -> &[LogRecord] {
        let skip = self.records.partition_point(|record| record.offset < offset);
        self.records.get(skip..).unwrap_or_default()
    }

    /// Whether an offset lies in this row, or in the gap before it.
    pub(super) fn covers(&self, offset: u64) -> bool {
        (self.before..self.end()).contains(&offset)
    }

    fn new(base: u64, before: u64, records: Vec<LogRecord>, row_bytes: usize) -> Self {
        let bytes = row_bytes + records.len() * size_of::<LogRecord>();
        Self { base, before, records, bytes }
    }
}

/// Makes rows of records that begin at offset `base`.
pub(super) fn encode(base: u64, records: Vec<NewRecord>) -> Vec<(Chunk, Bytes)> {
    let mut chunks = Vec::with_capacity(1);
    let mut part: Vec<NewRecord> = Vec::with_capacity(records.len());
    let (mut at, mut bytes) = (base, HEAD_BYTES);
    for record in records {
        let length = encoded_bytes(&record);
        if !part.is_empty() && bytes + length > CHUNK_BYTES {
            let chunk = encode_one(at, std::mem::take(&mut part), bytes);
            (at, bytes) = (chunk.0.end(), HEAD_BYTES);
            chunks.push(chunk);
        }
        bytes += length;
        part.push(record);
    }
    if !part.is_empty() {
        chunks.push(encode_one(at, part, bytes));
    }
    chunks
}

fn encoded_bytes(record: &NewRecord) -> usize {
    RECORD_BYTES_MIN
        + record.id.map_or(0, |_| ID_BYTES)
        + record.trace.map_or(0, |_| TRACE_BYTES)
        + record.payload.len()
}

#[expect(clippy::expect_used, reason = "counts and lengths are bounded far below u32 by Layout::check")]
fn encode_one(base: u64, records: Vec<NewRecord>, bytes: usize) -> (Chunk, Bytes) {
    let mut row = Vec::with_capacity(bytes);
    row.put_u32_le(0);
    row.put_u8(DENSE);
    row.put_u32_le(u32::try_from(records.len()).expect("a row's records fit u32"));
    let mut payload_at = Vec::with_capacity(records.len());
    for record in &records {
        payload_at.push(put(&mut row, record.at_ms, record.id, record.trace, &record.payload));
    }
    let row = seal(row);
    // The records that readers get share the row: what came in may sit in some large buffer.
    let records = (base..)
        .zip(records)
        .zip(payload_at)
        .map(|((offset, record), at)| LogRecord {
            offset,
            at_ms: record.at_ms,
            id: record.id,
            trace: record.trace,
            payload: row.slice(at..at + record.payload.len()),
        })
        .collect();
    (Chunk::new(base, base, records, row.len()), row)
}

/// Makes one row of records that have their offsets, ascending and at or after `before`; `None` without records. The
/// caller bounds them.
pub(super) fn encode_sparse(before: u64, records: &[LogRecord]) -> Option<(Chunk, Bytes)> {
    let base = records.first()?.offset;
    let mut row = Vec::new();
    row.put_u32_le(0);
    row.put_u8(SPARSE);
    row.put_u32_le(u32::try_from(records.len()).ok()?);
    row.put_u64_le(before);
    let mut next = base;
    for record in records {
        row.put_u64_le(record.offset.checked_sub(next)?);
        next = record.offset + 1;
        put(&mut row, record.at_ms, record.id, record.trace, &record.payload);
    }
    let row = seal(row);
    let chunk = decode(base, &row).ok()?;
    Some((chunk, row))
}

/// Appends a record; gives where its payload begins.
#[expect(clippy::expect_used, reason = "lengths are bounded far below u32 by Layout::check")]
fn put(
    row: &mut Vec<u8>,
    at_ms: u64,
    id: Option<RecordId>,
    trace: Option<TraceContext>,
    payload: &[u8],
) -> usize {
    row.put_u8(id.map_or(0, |_| HAS_ID) | trace.map_or(0, |_| HAS_TRACE));
    row.put_u64_le(at_ms);
    if let Some(id) = id {
        row.put_u8(id.source.topic as u8);
        row.put_u32_le(id.source.partition);
        row.put_u64_le(id.offset);
        row.put_u32_le(id.index);
    }
    if let Some(trace) = trace {
        row.put_u128_le(trace.trace_id);
        row.put_u64_le(trace.span_id);
        row.put_u8(trace.flags);
    }
    row.put_u32_le(u32::try_from(payload.len()).expect("a payload's length fits u32"));
    let at = row.len();
    row.extend_from_slice(payload);
    at
}

/// Writes the check sum.
fn seal(mut row: Vec<u8>) -> Bytes {
    let check = crc32fast::hash(&row[4..]);
    row[..4].copy_from_slice(&check.to_le_bytes());
    Bytes::from(row)
}

/// Reads a row; the payloads share its bytes. The error says what is wrong with it.
pub(super) fn decode(base: u64, row: &Bytes) -> Result<Chunk, &'static str> {
    let mut rest = row.clone();
    let check = rest.try_get_u32_le().map_err(|_| "it is too short")?;
    if crc32fast::hash(&rest) != check {
        return Err("its check sum is wrong");
    }
    let sparse = match rest.try_get_u8().map_err(|_| "it is too short")? {
        DENSE => false,
        SPARSE => true,
        _ => return Err("its format is unknown to this program"),
    };
    decode_records(base, sparse, &mut rest)
        .and_then(|(before, records)| match (records.is_empty(), rest.is_empty()) {
            (false, true) => Some(Chunk::new(base, before, records, row.len())),
            _ => None,
        })
        .ok_or("its records do not decode")
}

/// Where the row before ends, and the records.
fn decode_records(base: u64, sparse: bool, rest: &mut Bytes) -> Option<(u64, Vec<LogRecord>)> {
    let count = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    if count > rest.len() / RECORD_BYTES_MIN {
        return None;
    }
    let before = if sparse { rest.try_get_u64_le().ok().filter(|before| *before <= base)? } else { base };
    let mut records = Vec::with_capacity(count);
    let mut next = base;
    for _ in 0..count {
        let skipped = if sparse { rest.try_get_u64_le().ok()? } else { 0 };
        let offset = next.checked_add(skipped)?;
        next = offset.checked_add(1)?;
        let flags = rest.try_get_u8().ok()?;
        let at_ms = rest.try_get_u64_le().ok()?;
        let id = if flags & HAS_ID != 0 { Some(decode_id(rest)?) } else { None };
        let trace = if flags & HAS_TRACE != 0 { Some(decode_trace(rest)?) } else { None };
        let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
        if length > rest.len() {
            return None;
        }
        records.push(LogRecord { offset, at_ms, id, trace, payload: rest.split_to(length) });
    }
    (records.first()?.offset == base).then_some((before, records))
}

fn decode_id(rest: &mut Bytes) -> Option<RecordId> {
    let topic = rest.try_get_u8().ok()?;
    let topic = Topic::ALL.into_iter().find(|known| *known as u8 == topic)?;
    let partition = rest.try_get_u32_le().ok()?;
    let source = TopicPartition { topic, partition };
    Some(RecordId { source, offset: rest.try_get_u64_le().ok()?, index: rest.try_get_u32_le().ok()? })
}

fn decode_trace(rest: &mut Bytes) -> Option<TraceContext> {
    let trace_id = rest.try_get_u128_le().ok()?;
    Some(TraceContext { trace_id, span_id: rest.try_get_u64_le().ok()?, flags: rest.try_get_u8().ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> NewRecord {
        let to = TopicPartition { topic: Topic::Ledger, partition: 0 };
        let id = Some(RecordId { source: to, offset: 5, index: 6 });
        let trace = Some(TraceContext { trace_id: 7, span_id: 8, flags: 1 });
        NewRecord { to, at_ms: 9, id, trace, payload: Bytes::from(vec![1; bytes]) }
    }

    #[test]
    fn rows_come_back_and_split() {
        let records: Vec<NewRecord> = [400_000, 400_000, 400_000, 3_000_000, 0, 10].map(record).to_vec();
        let chunks = encode(100, records.clone());
        let bases: Vec<u64> = chunks.iter().map(|(chunk, _)| chunk.base).collect();
        assert_eq!(bases, [100, 102, 103, 104]);
        let mut all = Vec::new();
        for (chunk, row) in &chunks {
            let decoded = decode(chunk.base, row).unwrap();
            assert_eq!(decoded.records, chunk.records);
            assert_eq!((decoded.end(), decoded.bytes), (chunk.end(), chunk.bytes));
            assert_eq!(
                row.len(),
                HEAD_BYTES
                    + chunk
                        .records
                        .iter()
                        .zip(&records)
                        .map(|(r, _)| { RECORD_BYTES_MIN + ID_BYTES + TRACE_BYTES + r.payload.len() })
                        .sum::<usize>()
            );
            all.extend(decoded.records);
        }
        assert!(all.iter().map(|r| r.offset).eq(100..106));
        assert!(all.iter().map(|r| &r.payload).eq(records.iter().map(|r| &r.payload)));
    }

    fn stored(offset: u64, bytes: usize) -> LogRecord {
        let NewRecord { at_ms, id, trace, payload, .. } = record(bytes);
        LogRecord { offset, at_ms, id, trace, payload }
    }

    #[test]
    fn a_row_with_gaps_comes_back_and_knows_them() {
        let records = vec![stored(7, 3), stored(8, 0), stored(20, 5)];
        let (chunk, row) = encode_sparse(4, &records).unwrap();
        let decoded = decode(7, &row).unwrap();
        assert_eq!((decoded.before, decoded.base, decoded.end()), (4, 7, 21));
        assert_eq!((&decoded.records, &chunk.records), (&records, &records));
        for (offset, first) in [(0, Some(7)), (7, Some(7)), (8, Some(8)), (9, Some(20)), (21, None)] {
            assert_eq!(decoded.from(offset).first().map(|record| record.offset), first, "from {offset}");
        }
        assert!([4, 7, 12, 20].iter().all(|offset| decoded.covers(*offset)));
        assert!(!decoded.covers(3) && !decoded.covers(21));
        assert!(encode_sparse(8, &[]).is_none() && encode_sparse(8, &records).is_none());
        assert!(encode_sparse(0, &[stored(5, 1), stored(5, 1)]).is_none(), "offsets ascend");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        every_fault(0, &encode(0, vec![record(3), record(0)]).remove(0).1);
        every_fault(2, &encode_sparse(1, &[stored(2, 3), stored(9, 0)]).unwrap().1);
    }

    fn every_fault(base: u64, row: &Bytes) {
        for bit in 0..row.len() * 8 {
            let mut bad = row.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(base, &Bytes::from(bad)).is_err(), "bit {bit}");
        }
        for length in 0..row.len() {
            assert!(decode(base, &row.slice(..length)).is_err(), "length {length}");
        }
    }
}
