//! The bytes of a partition's file, integers little-endian.
//!
//! The head: `ESCHLOG\n`, format u32, topic u8, partition u32. Then frames: length of the body u32, CRC-32 of the body
//! u32, body. A body is `records u32`, then for each record `offset u64, flags u8, at_ms u64, [id: topic u8, partition
//! u32, offset u64, index u32], [trace: id u128, span u64, flags u8], length u32, payload`; flag 1 says id, flag 2 says
//! trace. Offsets ascend over the whole file.

use bytes::{Buf, BufMut, Bytes};
use eschaton_ports::{LogRecord, RECORD_BYTES_MAX, RecordId, Topic, TopicPartition, TraceContext};

/// The form described here. Another one has another number.
pub const FORMAT: u32 = 1;
/// Bytes of a file's head.
pub const HEAD_BYTES: usize = 8 + 4 + 1 + 4;
/// Bytes before a body.
pub const FRAME_HEAD_BYTES: usize = 4 + 4;
/// The most records of one frame.
pub const RECORDS_MAX: usize = 4_096;
/// About as many payload bytes are gathered for one frame; one record always fits.
pub const PAYLOAD_BYTES: usize = 1 << 20;
/// The most bytes of a body.
pub const BODY_BYTES_MAX: usize = 4 + RECORD_BYTES_MAX + PAYLOAD_BYTES + RECORDS_MAX * RECORD_HEAD_BYTES_MAX;

const MAGIC: &[u8; 8] = b"ESCHLOG\n";
const RECORD_HEAD_BYTES_MIN: usize = 8 + 1 + 8 + 4;
const RECORD_HEAD_BYTES_MAX: usize = RECORD_HEAD_BYTES_MIN + (1 + 4 + 8 + 4) + (16 + 8 + 1);
const HAS_ID: u8 = 1;
const HAS_TRACE: u8 = 2;

/// The head of a partition's file.
pub fn head(at: TopicPartition) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.put_slice(MAGIC);
    head.put_u32_le(FORMAT);
    head.put_u8(at.topic as u8);
    head.put_u32_le(at.partition);
    head
}

/// Checks a file's head. The error says what is wrong with it.
pub fn check_head(at: TopicPartition, found: &[u8]) -> Result<(), String> {
    let Some(mut rest) = found.strip_prefix(MAGIC) else {
        return Err("it is no file of an export".to_owned());
    };
    match rest.try_get_u32_le() {
        Ok(FORMAT) => {}
        Ok(other) => return Err(format!("its format is {other}, and this program knows {FORMAT}")),
        Err(_) => return Err("its head is cut off".to_owned()),
    }
    match found == head(at) {
        true => Ok(()),
        false => Err(format!("it is not the file of {at}")),
    }
}

/// A frame with these records. `None`: they are none, too many, too large, or their offsets do not ascend.
pub fn encode(records: &[LogRecord]) -> Option<Vec<u8>> {
    let ascend = records.windows(2).all(|pair| matches!(pair, [one, next] if one.offset < next.offset));
    if records.is_empty() || records.len() > RECORDS_MAX || !ascend {
        return None;
    }
    let payloads: usize = records.iter().map(|record| record.payload.len()).sum();
    let mut frame =
        Vec::with_capacity(FRAME_HEAD_BYTES + 4 + payloads + records.len() * RECORD_HEAD_BYTES_MAX);
    frame.put_u64_le(0);
    frame.put_u32_le(u32::try_from(records.len()).ok()?);
    for record in records {
        frame.put_u64_le(record.offset);
        frame.put_u8(record.id.map_or(0, |_| HAS_ID) | record.trace.map_or(0, |_| HAS_TRACE));
        frame.put_u64_le(record.at_ms);
        if let Some(id) = &record.id {
            frame.put_u8(id.source.topic as u8);
            frame.put_u32_le(id.source.partition);
            frame.put_u64_le(id.offset);
            frame.put_u32_le(id.index);
        }
        if let Some(trace) = &record.trace {
            frame.put_u128_le(trace.trace_id);
            frame.put_u64_le(trace.span_id);
            frame.put_u8(trace.flags);
        }
        frame.put_u32_le(u32::try_from(record.payload.len()).ok()?);
        frame.put_slice(&record.payload);
    }
    let body = frame.get(FRAME_HEAD_BYTES..)?;
    let (length, check) = (body.len(), crc32fast::hash(body));
    if length > BODY_BYTES_MAX {
        return None;
    }
    frame.get_mut(..4)?.copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    frame.get_mut(4..FRAME_HEAD_BYTES)?.copy_from_slice(&check.to_le_bytes());
    Some(frame)
}

/// Length and check sum of the body that follows a frame's head; `None`: no frame is so long.
pub fn frame_head(head: [u8; FRAME_HEAD_BYTES]) -> Option<(usize, u32)> {
    let mut rest = &head[..];
    let length =
        usize::try_from(rest.try_get_u32_le().ok()?).ok().filter(|length| *length <= BODY_BYTES_MAX)?;
    Some((length, rest.try_get_u32_le().ok()?))
}

/// The records of a body. The error says what is wrong with it.
pub fn decode(body: &Bytes, check: u32) -> Result<Vec<LogRecord>, &'static str> {
    if crc32fast::hash(body) != check {
        return Err("a check sum is wrong");
    }
    let mut rest = body.clone();
    records(&mut rest).filter(|_| rest.is_empty()).ok_or("a frame does not decode")
}

fn records(rest: &mut Bytes) -> Option<Vec<LogRecord>> {
    let count = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    if count == 0 || count > RECORDS_MAX || count > rest.len() / RECORD_HEAD_BYTES_MIN {
        return None;
    }
    let mut records: Vec<LogRecord> = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = rest.try_get_u64_le().ok()?;
        if records.last().is_some_and(|last| offset <= last.offset) {
            return None;
        }
        let flags = rest.try_get_u8().ok().filter(|flags| *flags <= HAS_ID | HAS_TRACE)?;
        let at_ms = rest.try_get_u64_le().ok()?;
        let id = if flags & HAS_ID != 0 { Some(id(rest)?) } else { None };
        let trace = if flags & HAS_TRACE != 0 { Some(trace(rest)?) } else { None };
        let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
        if length > rest.len() || length > RECORD_BYTES_MAX {
            return None;
        }
        records.push(LogRecord { offset, at_ms, id, trace, payload: rest.split_to(length) });
    }
    Some(records)
}

fn id(rest: &mut Bytes) -> Option<RecordId> {
    let topic = rest.try_get_u8().ok()?;
    let topic = Topic::ALL.into_iter().find(|known| *known as u8 == topic)?;
    let partition = rest.try_get_u32_le().ok()?;
    let source = TopicPartition { topic, partition };
    Some(RecordId { source, offset: rest.try_get_u64_le().ok()?, index: rest.try_get_u32_le().ok()? })
}

fn trace(rest: &mut Bytes) -> Option<TraceContext> {
    let trace_id = rest.try_get_u128_le().ok()?;
    Some(TraceContext { trace_id, span_id: rest.try_get_u64_le().ok()?, flags: rest.try_get_u8().ok()? })
}
