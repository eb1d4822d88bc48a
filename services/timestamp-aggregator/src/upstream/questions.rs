//! What upstream calendars should be asked: pure. Anchors are looked at whole each time, so nothing that a crash
//! interrupted is forgotten.

use std::collections::BTreeSet;

use eschaton_ots::tree::Hash;
use eschaton_ots::{Attestation, CalendarUri, OtsError, Pending, Timestamp};
use eschaton_timestamp::Anchor;

/// Something to ask one calendar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// To stamp an anchor's root, which it has not promised anything for.
    Stamp {
        /// Of which anchor.
        anchor: u64,
        /// Its root.
        root: Hash,
    },
    /// For the proof that it promised.
    Proof {
        /// Of which anchor.
        anchor: u64,
        /// What it promised it for.
        commitment: Vec<u8>,
    },
}

impl Question {
    pub(super) fn anchor(&self) -> u64 {
        match self {
            Self::Stamp { anchor, .. } | Self::Proof { anchor, .. } => *anchor,
        }
    }
}

/// What is known of an anchor's root from upstream.
pub(super) fn known(anchor: &Anchor) -> Result<Timestamp, OtsError> {
    match &anchor.upstream[..] {
        [] => Ok(Timestamp::new()),
        known => Timestamp::from_answer(&anchor.root, known),
    }
}

/// What this calendar should be asked about an anchor of which this is known; nothing once its proof is there.
pub(super) fn questions(
    anchor: &Anchor,
    known: &Timestamp,
    calendar: &CalendarUri,
) -> Result<Vec<Question>, OtsError> {
    let promised: Vec<Pending> =
        known.pending(&anchor.root)?.into_iter().filter(|pending| pending.uri == *calendar).collect();
    if promised.is_empty() {
        return Ok(vec![Question::Stamp { anchor: anchor.number, root: anchor.root }]);
    }
    let proven = proven(known, &anchor.root)?;
    let open = promised.into_iter().filter(|pending| !proven.contains(&pending.commitment));
    Ok(open
        .map(|pending| Question::Proof { anchor: anchor.number, commitment: pending.commitment })
        .collect())
}

/// Messages that a block attests, themselves or further on.
fn proven(known: &Timestamp, root: &Hash) -> Result<BTreeSet<Vec<u8>>, OtsError> {
    let (mut proven, mut failed) = (BTreeSet::new(), None);
    known.visit(root, |path, _, attestation| {
        if !matches!(attestation, Attestation::Block { .. }) {
            return;
        }
        let mut message = root.to_vec();
        for op in path {
            proven.insert(message.clone());
            match op.apply(&message) {
                Ok(next) => message = next,
                Err(error) => failed = Some(error),
            }
        }
        proven.insert(message);
    })?;
    failed.map_or(Ok(proven), Err)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use eschaton_ots::{Op, Operand};

    use super::*;

    const ROOT: Hash = [7; 32];

    /// What is asked about an anchor that knows this.
    fn asked(upstream: &Timestamp, calendar: &CalendarUri) -> Vec<Question> {
        let upstream = if upstream.is_empty() { Bytes::new() } else { upstream.to_bytes().unwrap().into() };
        let anchor = Anchor {
            number: 3,
            count: 1,
            root: ROOT,
            planned_ms: 0,
            attempts: Vec::new(),
            block: None,
            is_final: false,
            upstream,
            wished_sat_per_kvb: 0,
        };
        questions(&anchor, &known(&anchor).unwrap(), calendar).unwrap()
    }

    fn promise(calendar: &CalendarUri, salt: u8) -> Timestamp {
        let end = Timestamp::attested(Attestation::Pending(calendar.clone()));
        Timestamp::path(vec![Op::Append(Operand::new(vec![salt]).unwrap()), Op::Sha256], end).unwrap()
    }

    #[test]
    fn each_calendar_is_asked_until_its_own_proof_is_there() {
        let [one, two] = ["http://one", "http://two"].map(|uri| CalendarUri::new(uri).unwrap());
        let stamp = vec![Question::Stamp { anchor: 3, root: ROOT }];
        let mut known = Timestamp::new();
        assert_eq!(asked(&known, &one), stamp);

        known.merge(&promise(&one, 1)).unwrap();
        let commitment = known.pending(&ROOT).unwrap().pop().unwrap().commitment;
        let proof = vec![Question::Proof { anchor: 3, commitment: commitment.clone() }];
        assert_eq!(asked(&known, &one), proof);
        assert_eq!(asked(&known, &two), stamp, "the other knows nothing of it");

        let block = Timestamp::path(vec![Op::Sha256], Timestamp::attested(Attestation::bitcoin(5))).unwrap();
        known.upgrade(&ROOT, &commitment, &block).unwrap();
        assert_eq!(asked(&known, &one), []);
        known.merge(&promise(&two, 2)).unwrap();
        assert!(matches!(asked(&known, &two)[..], [Question::Proof { .. }]));
    }
}
