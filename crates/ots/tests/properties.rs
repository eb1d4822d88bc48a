//! What holds of every timestamp, and what another implementation says of it.

mod common;

use common::{list, timestamp, vectors};
use eschaton_ots::{Attestation, DetachedFile, FileHash, Op, Timestamp};
use opentimestamps::ser::DetachedTimestampFile;
use opentimestamps::timestamp::{Step, StepData};
use proptest::prelude::*;

/// Attestations and their messages as the crate `opentimestamps` sees them.
fn oracle_said(step: &Step, message: &[u8], found: &mut Vec<(Vec<u8>, String)>) {
    use opentimestamps::attestation::Attestation as Theirs;
    match &step.data {
        StepData::Fork => step.next.iter().for_each(|next| oracle_said(next, message, found)),
        StepData::Op(_) => step.next.iter().for_each(|next| oracle_said(next, &step.output, found)),
        StepData::Attestation(attestation) => {
            let text = match attestation {
                Theirs::Bitcoin { height } => format!("bitcoin {height}"),
                Theirs::Pending { uri } => format!("pending {uri}"),
                Theirs::Unknown { tag, data } => {
                    format!("unknown {} {}", hex::encode(tag), hex::encode(data))
                }
            };
            found.push((message.to_vec(), text));
        }
    }
}

fn our_said(file: &DetachedFile) -> Vec<(Vec<u8>, String)> {
    let mut found = Vec::new();
    file.timestamp()
        .visit(file.digest(), |_, message, attestation| {
            let text = match attestation {
                Attestation::Block { chain: eschaton_ots::Chain::Bitcoin, height } => {
                    format!("bitcoin {height}")
                }
                // The oracle does not know this chain: tag and LEB128 height.
                Attestation::Block { height, .. } => {
                    let mut payload = Vec::new();
                    let mut left = *height;
                    loop {
                        let low = u8::try_from(left & 0x7f).expect("seven bits");
                        left >>= 7;
                        payload.push(if left == 0 { low } else { low | 0x80 });
                        if left == 0 {
                            break;
                        }
                    }
                    format!("unknown {} {}", hex::encode(attestation.tag()), hex::encode(payload))
                }
                Attestation::Pending(uri) => format!("pending {uri}"),
                Attestation::Unknown(unknown) => {
                    format!("unknown {} {}", hex::encode(unknown.tag()), hex::encode(unknown.payload()))
                }
            };
            found.push((message.to_vec(), text));
        })
        .expect("executes");
    found
}

fn uses_keccak(timestamp: &Timestamp) -> bool {
    timestamp.branches().any(|(op, next)| *op == Op::Keccak256 || uses_keccak(next))
}

/// Heights beyond the oracle's words, and nothing else, are left out.
fn oracle_takes(file: &DetachedFile) -> bool {
    let mut takes = !uses_keccak(file.timestamp()) && file.hash() != FileHash::Keccak256;
    file.timestamp()
        .visit(file.digest(), |_, _, attestation| {
            if let Attestation::Block { height, .. } = attestation {
                takes &= *height <= u64::from(u32::MAX);
            }
        })
        .expect("executes");
    takes
}

fn agrees(file: &DetachedFile) {
    let raw = file.to_bytes().expect("attested");
    let theirs = DetachedTimestampFile::from_reader(&raw[..]).expect("the oracle reads it");
    assert_eq!(theirs.timestamp.start_digest, file.digest());
    let mut said = Vec::new();
    oracle_said(&theirs.timestamp.first_step, &theirs.timestamp.start_digest, &mut said);
    assert_eq!(said, our_said(file));
    let mut written = Vec::new();
    theirs.to_writer(&mut written).expect("written");
    assert_eq!(written, raw);
}

#[test]
fn the_oracle_agrees_on_the_references_files() {
    let all = vectors();
    let client = list(&all, "client").iter().flat_map(|pair| [&pair["stamped"], &pair["upgraded"]]);
    let mut agreed = 0;
    for vector in list(&all, "files").iter().chain(client) {
        let file = DetachedFile::from_bytes(&common::bytes(vector, "file")).expect("read");
        // Its own bounds are lower in depth and in what it keeps.
        if oracle_takes(&file)
            && file.timestamp().depth() < 200
            && !common::text(vector, "name").ends_with("-61")
        {
            agrees(&file);
            agreed += 1;
        }
    }
    assert!(agreed >= 20, "{agreed}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(digest in any::<[u8; 32]>(), timestamp in timestamp()) {
        let file = DetachedFile::new(FileHash::Sha256, &digest, timestamp).expect("32 bytes");
        let raw = file.to_bytes().expect("attested");
        prop_assert_eq!(DetachedFile::from_bytes(&raw), Ok(file.clone()));
        if oracle_takes(&file) {
            agrees(&file);
        }
        // No part of it is a file, nor is more than it.
        for cut in 0..raw.len() {
            prop_assert!(DetachedFile::from_bytes(&raw[..cut]).is_err());
        }
        prop_assert!(DetachedFile::from_bytes(&[&raw[..], &[0]].concat()).is_err());
    }

    #[test]
    fn merging_is_a_union(message in any::<[u8; 20]>(), one in timestamp(), other in timestamp(), third in timestamp()) {
        let merged = |parts: &[&Timestamp]| {
            let mut whole = Timestamp::new();
            for part in parts {
                whole.merge(part).expect("small");
            }
            whole
        };
        prop_assert_eq!(merged(&[&one, &other]), merged(&[&other, &one]));
        prop_assert_eq!(merged(&[&merged(&[&one, &other]), &third]), merged(&[&one, &merged(&[&other, &third])]));
        prop_assert_eq!(merged(&[&one, &one]), one.clone());
        let whole = merged(&[&one, &other]);
        let count = |timestamp: &Timestamp| {
            let mut all = std::collections::BTreeSet::new();
            timestamp.visit(&message, |path, message, attestation| {
                all.insert((format!("{path:?}"), message.to_vec(), format!("{attestation:?}")));
            }).expect("executes");
            all
        };
        prop_assert_eq!(count(&whole), &count(&one) | &count(&other));
    }

    /// Bytes that are no timestamp are refused; bytes that are one are written again as they were, up to the
    /// order of siblings.
    #[test]
    fn any_bytes_are_judged(message in any::<[u8; 32]>(), noise in prop::collection::vec(
        prop_oneof![Just(0xff_u8), Just(0), Just(8), Just(0xf0), Just(1), any::<u8>()], 0..200)) {
        if let Ok(timestamp) = Timestamp::from_answer(&message, &noise) {
            let written = timestamp.to_bytes().expect("read ones are attested");
            prop_assert_eq!(written.len(), noise.len());
            prop_assert_eq!(Timestamp::from_answer(&message, &written), Ok(timestamp));
        }
    }
}
