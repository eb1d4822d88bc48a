//! A record as a Kafka message. The payload is the value; there is no key. Headers:
//!
//! | header | value |
//! |---|---|
//! | `at` | time, ms, u64 big-endian: Kafka's own timestamp is bounded by the brokers' clocks, ours is not |
//! | `id` | topic u8, partition u32, offset u64, index u32, big-endian |
//! | `traceparent` | W3C Trace Context, version 00 |
//!
//! Other headers are passed over.

use bytes::{Buf, BufMut, Bytes};
use eschaton_ports::{LogRecord, NewRecord, RecordId, Topic, TopicPartition, TraceContext};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};

const AT: &str = "at";
const ID: &str = "id";
const ID_BYTES: usize = 1 + 4 + 8 + 4;
const TRACE: &str = "traceparent";

/// The headers of a record.
pub(crate) fn headers(record: &NewRecord) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(3)
        .insert(Header { key: AT, value: Some(&record.at_ms.to_be_bytes()[..]) });
    if let Some(id) = &record.id {
        headers = headers.insert(Header { key: ID, value: Some(&encode_id(id)[..]) });
    }
    if let Some(trace) = &record.trace {
        headers = headers.insert(Header { key: TRACE, value: Some(encode_trace(trace).as_bytes()) });
    }
    headers
}

/// The record of a message; the error says what is wrong with it.
pub(crate) fn decode<M: Message>(message: &M) -> Result<LogRecord, String> {
    let offset = u64::try_from(message.offset()).map_err(|_| "a negative offset".to_owned())?;
    let (mut at_ms, mut id, mut trace) = (None, None, None);
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        let value = header.value.unwrap_or_default();
        match header.key {
            AT => {
                let bytes = value.try_into().map_err(|_| format!("header `at` of {} bytes", value.len()))?;
                at_ms = Some(u64::from_be_bytes(bytes));
            }
            ID => id = Some(decode_id(value).ok_or("header `id` does not decode")?),
            TRACE => trace = Some(decode_trace(value).ok_or("header `traceparent` does not decode")?),
            _ => {}
        }
    }
    Ok(LogRecord {
        offset,
        at_ms: at_ms.ok_or("no header `at`: another program wrote it")?,
        id,
        trace,
        payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    })
}

fn encode_id(id: &RecordId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    let mut rest = &mut bytes[..];
    rest.put_u8(id.source.topic as u8);
    rest.put_u32(id.source.partition);
    rest.put_u64(id.offset);
    rest.put_u32(id.index);
    bytes
}

fn decode_id(mut bytes: &[u8]) -> Option<RecordId> {
    if bytes.len() != ID_BYTES {
        return None;
    }
    let number = u32::from(bytes.get_u8());
    let topic = Topic::ALL.into_iter().find(|topic| topic.number() == number)?;
    let source = TopicPartition { topic, partition: bytes.get_u32() };
    Some(RecordId { source, offset: bytes.get_u64(), index: bytes.get_u32() })
}

fn encode_trace(trace: &TraceContext) -> String {
    format!("00-{:032x}-{:016x}-{:02x}", trace.trace_id, trace.span_id, trace.flags)
}

fn decode_trace(bytes: &[u8]) -> Option<TraceContext> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut parts = text.split('-');
    let mut part = |digits: usize| {
        parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    part(2).filter(|version| *version == "00")?;
    let trace_id = u128::from_str_radix(part(32)?, 16).ok()?;
    let span_id = u64::from_str_radix(part(16)?, 16).ok()?;
    let flags = u8::from_str_radix(part(2)?, 16).ok()?;
    parts.next().is_none().then_some(TraceContext { trace_id, span_id, flags })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn message(headers: Option<OwnedHeaders>) -> OwnedMessage {
        let payload = Some(b"payload".to_vec());
        OwnedMessage::new(payload, None, "t".into(), Timestamp::NotAvailable, 0, 42, headers)
    }

    #[test]
    fn a_record_comes_back_whole() {
        let source = TopicPartition { topic: Topic::Changes, partition: u32::MAX };
        let id = RecordId { source, offset: u64::MAX, index: 7 };
        let trace = TraceContext { trace_id: u128::MAX - 5, span_id: 1, flags: 255 };
        for (at_ms, id, trace) in
            [(0, None, None), (u64::MAX, Some(id), None), (1, None, Some(trace)), (2, Some(id), Some(trace))]
        {
            let payload = Bytes::from_static(b"payload");
            let new = NewRecord { to: source, at_ms, id, trace, payload: payload.clone() };
            let expected = LogRecord { offset: 42, at_ms, id, trace, payload };
            assert_eq!(decode(&message(Some(headers(&new)))).unwrap(), expected);
        }
    }

    #[test]
    fn bytes_are_fixed() {
        let source = TopicPartition { topic: Topic::Decisions, partition: 3 };
        let id = RecordId { source, offset: 0x0102, index: 0xffff_fffe };
        assert_eq!(encode_id(&id), [2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 255, 255, 255, 254]);
        let trace = TraceContext { trace_id: 0xab, span_id: 0xc, flags: 1 };
        assert_eq!(encode_trace(&trace), "00-000000000000000000000000000000ab-000000000000000c-01");
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let foreign = OwnedHeaders::new().insert(Header { key: "kind", value: Some("x") });
        for headers in [None, Some(foreign)] {
            assert!(decode(&message(headers)).unwrap_err().contains("another program"));
        }
        for (key, value) in [
            (AT, &b"1234567"[..]),
            (ID, b""),
            (ID, &[0xff; ID_BYTES]),
            (TRACE, b"00-0-0-0"),
            (TRACE, b"00-000000000000000000000000000000ab-00000000000000+c-01"),
            (TRACE, b"00-000000000000000000000000000000ab-000000000000000c-01-x"),
            (TRACE, &[0xff; 55]),
        ] {
            let headers = OwnedHeaders::new()
                .insert(Header { key: AT, value: Some(&[0; 8]) })
                .insert(Header { key, value: Some(value) });
            assert!(decode(&message(Some(headers))).is_err(), "{key} {value:?}");
        }
    }
}
