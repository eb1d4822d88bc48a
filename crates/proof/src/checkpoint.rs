//! A checkpoint's text: C2SP tlog-checkpoint (<https://c2sp.org/tlog-checkpoint>) with extension
//! lines for what the log tree alone does not fix.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{Hash, ProofError, bytes32, error::malformed};

/// A node's observation of everything, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointBody {
    /// Names the log and equals the name of its verifier key: one line without spaces or `+`.
    pub origin: String,
    /// 0, 1, 2 … without gaps.
    pub number: u64,
    /// Transactions in the log.
    pub size: u64,
    /// RFC 6962 root of the log.
    pub log_root: Hash,
    /// Root of the output map.
    pub map_root: Hash,
    /// Log time, milliseconds since 1970.
    pub time_ms: u64,
    /// [`Self::hash`] of the checkpoint before; zeros for the first.
    pub previous: Hash,
}

impl CheckpointBody {
    /// Identifies the text: BLAKE3 derive-key, context `eschaton 2026 checkpoint v1`.
    pub fn hash(&self) -> Hash {
        blake3::derive_key("eschaton 2026 checkpoint v1", self.to_string().as_bytes())
    }

    /// From the text, which must be exactly what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        parse(text).filter(|body| body.to_string() == text).ok_or_else(|| malformed("checkpoint"))
    }
}

/// Origin, size and log root, then the extension lines `map`, `number`, `time` (milliseconds) and
/// `previous`, each line ended; hashes in padded base64, numbers in decimal.
impl fmt::Display for CheckpointBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.log_root))?;
        writeln!(f, "map {}\nnumber {}", STANDARD.encode(self.map_root), self.number)?;
        writeln!(f, "time {}\nprevious {}", self.time_ms, STANDARD.encode(self.previous))
    }
}

/// Reads the fields; the caller compares the text.
fn parse(text: &str) -> Option<CheckpointBody> {
    let mut lines = text.lines();
    let hash = |base64: &str| bytes32(&STANDARD.decode(base64).ok()?, "checkpoint").ok();
    let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
    let size = lines.next()?.parse().ok()?;
    let log_root = hash(lines.next()?)?;
    let mut extension = |name| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let map_root = hash(extension("map")?)?;
    let number = extension("number")?.parse().ok()?;
    let time_ms = extension("time")?.parse().ok()?;
    let previous = hash(extension("previous")?)?;
    Some(CheckpointBody { origin, number, size, log_root, map_root, time_ms, previous })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "node.example/log\n7\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n\
        map AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\nnumber 3\ntime 1700000000000\n\
        previous AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n";

    #[test]
    fn text_is_as_written_down() {
        let body = CheckpointBody {
            origin: "node.example/log".into(),
            number: 3,
            size: 7,
            log_root: [1; 32],
            map_root: [2; 32],
            time_ms: 1_700_000_000_000,
            previous: [3; 32],
        };
        assert_eq!(body.to_string(), TEXT);
        assert_eq!(CheckpointBody::parse(TEXT).unwrap(), body);
    }

    #[test]
    fn refuses_other_forms() {
        for (good, bad) in [
            ("\n7\n", "\n07\n"),
            ("\n7\n", "\n+7\n"),
            ("\n7\n", "\n\n"),
            ("\n7\n", "\r\n7\r\n"),
            ("number 3", "number  3"),
            ("number 3\n", ""),
            ("AQE=", "AQF="),
            ("AQE=", "AQE"),
            ("AwM=\n", "AwM="),
            ("AwM=\n", "AwM=\nmore\n"),
            ("node.example/log", ""),
            ("1700000000000", "99999999999999999999"),
        ] {
            assert!(TEXT.contains(good));
            assert!(CheckpointBody::parse(&TEXT.replacen(good, bad, 1)).is_err(), "{bad:?}");
        }
    }
}
