//! Frames: what goes in comes out, and what was changed on the way is refused.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use eschaton_ports::{LogRecord, RecordId, Topic, TopicPartition, TraceContext};
use eschaton_transfer::frame::{self, FRAME_HEAD_BYTES};
use proptest::prelude::*;

fn place() -> impl Strategy<Value = TopicPartition> {
    (0..4_usize, any::<u32>())
        .prop_map(|(topic, partition)| TopicPartition { topic: Topic::ALL[topic], partition })
}

fn record() -> impl Strategy<Value = (u64, LogRecord)> {
    let id = proptest::option::of((place(), any::<u64>(), any::<u32>()));
    let trace = proptest::option::of((any::<u128>(), any::<u64>(), any::<u8>()));
    let payload = proptest::collection::vec(any::<u8>(), 0..60);
    (1..1_000_u64, any::<u64>(), id, trace, payload).prop_map(|(step, at_ms, id, trace, payload)| {
        let id = id.map(|(source, offset, index)| RecordId { source, offset, index });
        let trace = trace.map(|(trace_id, span_id, flags)| TraceContext { trace_id, span_id, flags });
        (step, LogRecord { offset: 0, at_ms, id, trace, payload: Bytes::from(payload) })
    })
}

fn records() -> impl Strategy<Value = Vec<LogRecord>> {
    proptest::collection::vec(record(), 1..12).prop_map(|records| {
        let mut offset = 0;
        let placed = records.into_iter().map(|(step, record)| {
            offset += step;
            LogRecord { offset, ..record }
        });
        placed.collect()
    })
}

fn read(frame: &[u8]) -> Option<Vec<LogRecord>> {
    let head = frame.get(..FRAME_HEAD_BYTES)?.try_into().ok()?;
    let (length, check) = frame::frame_head(head)?;
    let body = frame.get(FRAME_HEAD_BYTES..).filter(|body| body.len() == length)?;
    frame::decode(&Bytes::copy_from_slice(body), check).ok()
}

proptest! {
    #[test]
    fn frames_come_back(records in records()) {
        prop_assert_eq!(read(&frame::encode(&records).unwrap()), Some(records));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_refused(records in records(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let frame = frame::encode(&records).unwrap();
        let at = at.index(frame.len());
        let mut bad = frame.clone();
        bad[at] ^= 1 << bit;
        prop_assert_eq!(read(&bad), None);
        prop_assert_eq!(read(&frame[..at]), None);
    }

    #[test]
    fn no_bytes_make_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = read(&bytes);
        let _ = frame::decode(&bytes, crc32(&bytes));
    }
}

/// As the frames have it, so that random bytes get past it.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (0_u32.wrapping_sub(crc & 1)));
        }
    }
    !crc
}

#[test]
fn what_makes_no_frame_is_refused() {
    let record = |offset| LogRecord { offset, at_ms: 0, id: None, trace: None, payload: Bytes::new() };
    assert_eq!(frame::encode(&[]), None);
    assert_eq!(frame::encode(&[record(1), record(1)]), None);
    let many: Vec<_> = (0..=frame::RECORDS_MAX as u64).map(record).collect();
    assert_eq!(frame::encode(&many), None);
    assert!(frame::encode(&many[1..]).is_some());
}

#[test]
fn a_head_names_its_format_and_its_partition() {
    let at = TopicPartition { topic: Topic::Ledger, partition: 3 };
    let head = frame::head(at);
    assert_eq!(frame::check_head(at, &head), Ok(()));
    assert!(frame::check_head(TopicPartition { partition: 4, ..at }, &head).is_err());
    let mut newer = head;
    newer[8] = 2;
    assert!(frame::check_head(at, &newer).unwrap_err().contains("format is 2"));
    assert!(frame::check_head(at, b"something else at all").is_err());
}
