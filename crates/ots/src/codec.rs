//! The serialized timestamp: `ff` before every item of a node but its last; `00` begins an attestation,
//! anything else is an operation's tag, after which the next node follows.

use bytes::Bytes;

use crate::attestation::{Attestation, CalendarUri, PAYLOAD_MAX, URI_MAX, Unknown};
use crate::reader::{Reader, write_number, write_string};
use crate::timestamp::{DEPTH_MAX, NODES_MAX, Timestamp};
use crate::{OPERAND_MAX, Op, Operand, OtsError};

/// Most bytes of a calendar's answer: the stock client reads no more.
pub const ANSWER_BYTES_MAX: usize = 10_000;

const FORK: u8 = 0xff;
const ATTESTATION: u8 = 0x00;

impl Timestamp {
    /// A calendar's answer: the timestamp of `message`, nothing before and nothing after it.
    ///
    /// # Errors
    /// Each limit and each rule of the format has its own; nothing is half read.
    pub fn from_answer(message: &[u8], bytes: &[u8]) -> Result<Self, OtsError> {
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(OtsError::TooLarge {
                what: "calendar's answer",
                found: bytes.len(),
                max: ANSWER_BYTES_MAX,
            });
        }
        let mut reader = Reader(bytes);
        let timestamp = Self::read(&mut reader, message)?;
        reader.end("the timestamp")?;
        Ok(timestamp)
    }

    /// The canonical bytes, as the reference implementation writes them: attestations before operations,
    /// each in order.
    ///
    /// # Errors
    /// [`OtsError::Empty`] when a branch ends in no attestation.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OtsError> {
        let mut out = Vec::new();
        self.write(&mut out)?;
        Ok(out)
    }

    pub(crate) fn read(reader: &mut Reader<'_>, message: &[u8]) -> Result<Self, OtsError> {
        let mut nodes = 0;
        Self::read_node(reader, message, 0, &mut nodes)
    }

    fn read_node(
        reader: &mut Reader<'_>,
        message: &[u8],
        depth: usize,
        nodes: &mut usize,
    ) -> Result<Self, OtsError> {
        let mut node = Self::new();
        loop {
            let first = reader.byte("an operation's tag")?;
            let tag = if first == FORK { reader.byte("a fork")? } else { first };
            *nodes += 1;
            if *nodes > NODES_MAX {
                return Err(OtsError::Nodes { max: NODES_MAX });
            }
            let new = if tag == ATTESTATION {
                node.attestations.insert(read_attestation(reader)?)
            } else {
                if depth == DEPTH_MAX {
                    return Err(OtsError::Depth { max: DEPTH_MAX });
                }
                let op = read_op(reader, tag)?;
                // Only lengths could be needed here, but a length after a hash and one after an
                // append are both told by doing it.
                let next = Self::read_node(reader, &op.apply(message)?, depth + 1, nodes)?;
                node.ops.insert(op, next).is_none()
            };
            if !new {
                return Err(OtsError::Repeated);
            }
            if first != FORK {
                return Ok(node);
            }
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), OtsError> {
        let mut left = self.attestations.len() + self.ops.len();
        if left == 0 {
            return Err(OtsError::Empty);
        }
        let mut begin = |out: &mut Vec<u8>| {
            left -= 1;
            if left > 0 {
                out.push(FORK);
            }
        };
        for attestation in &self.attestations {
            begin(out);
            write_attestation(attestation, out);
        }
        for (op, next) in &self.ops {
            begin(out);
            out.push(op.tag());
            if let Some(operand) = op.operand() {
                write_string(operand.as_slice(), out);
            }
            next.write(out)?;
        }
        Ok(())
    }
}

fn read_op(reader: &mut Reader<'_>, tag: u8) -> Result<Op, OtsError> {
    if let Some(op) = Op::unary(tag) {
        return Ok(op);
    }
    let with: fn(Operand) -> Op = match tag {
        0xf0 => Op::Append,
        0xf1 => Op::Prepend,
        tag => return Err(OtsError::UnknownOp { tag }),
    };
    let operand = reader.string(
        "an operand",
        |length| (1..=OPERAND_MAX as u64).contains(&length),
        |found| OtsError::Operand { found, max: OPERAND_MAX },
    )?;
    Ok(with(Operand::new(Bytes::copy_from_slice(operand))?))
}

fn read_attestation(reader: &mut Reader<'_>) -> Result<Attestation, OtsError> {
    let tag = reader.array("an attestation's tag")?;
    let payload = reader.string(
        "an attestation's payload",
        |length| length <= PAYLOAD_MAX as u64,
        |found| OtsError::Payload { found, max: PAYLOAD_MAX },
    )?;
    let mut inner = Reader(payload);
    let attestation = if let Some(chain) = Attestation::known_chain(tag) {
        Attestation::Block { chain, height: inner.number("a block's height")? }
    } else if Attestation::is_pending_tag(tag) {
        let uri = inner.string(
            "a calendar's address",
            |length| length <= URI_MAX as u64,
            |found| OtsError::UriLength { found, max: URI_MAX },
        )?;
        Attestation::Pending(CalendarUri::from_bytes(uri)?)
    } else {
        return Unknown::new(tag, Bytes::copy_from_slice(payload)).map(Attestation::Unknown);
    };
    inner.end("an attestation")?;
    Ok(attestation)
}

fn write_attestation(attestation: &Attestation, out: &mut Vec<u8>) {
    out.push(ATTESTATION);
    out.extend_from_slice(&attestation.tag());
    let mut payload = Vec::new();
    match attestation {
        Attestation::Block { height, .. } => write_number(*height, &mut payload),
        Attestation::Pending(uri) => write_string(uri.as_str().as_bytes(), &mut payload),
        Attestation::Unknown(unknown) => payload.extend_from_slice(unknown.payload()),
    }
    write_string(&payload, out);
}
