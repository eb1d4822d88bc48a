//! Changed bytes. Of a finished file every byte counts: whichever is changed, it proves nothing any more. Of
//! a file that still holds promises or forks, a change may hit what nobody can check (a calendar's address);
//! then what is proven is proven by the same operations as before.

mod common;

use std::collections::HashMap;
use std::convert::Infallible;

use common::{bytes, list, vectors};
use eschaton_ots::{Chain, DetachedFile, Failed, FileHash, Header, Report, VerifyError, verify_file};
use serde_json::Value;

fn headers(vector: &Value) -> HashMap<u64, Header> {
    let headers = vector["headers"].as_object().expect("headers");
    let header =
        |hex: &Value| hex::decode(hex.as_str().expect("hex")).expect("hex").try_into().expect("80 bytes");
    headers.iter().map(|(height, hex)| (height.parse().expect("height"), header(hex))).collect()
}

fn judge(
    digest: &[u8],
    file: &DetachedFile,
    headers: &HashMap<u64, Header>,
) -> Result<Report, VerifyError<Infallible>> {
    verify_file(FileHash::Sha256, digest, file, |chain, height| {
        Ok(headers.get(&height).copied().filter(|_| chain == Chain::Bitcoin))
    })
}

/// Every byte, every other value.
fn changed(raw: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..raw.len()).flat_map(move |at| {
        (1..=255u8).map(move |change| {
            let mut changed = raw.to_vec();
            changed[at] ^= change;
            (at, changed)
        })
    })
}

#[test]
fn no_changed_byte_of_a_finished_file_verifies() {
    for vector in list(&vectors(), "client").iter().take(2) {
        let headers = headers(vector);
        let upgraded = DetachedFile::from_bytes(&bytes(&vector["upgraded"], "file")).expect("read");
        let digest = upgraded.digest();
        let finished = upgraded.finished().expect("a block attests it");
        let report = judge(digest, &finished, &headers).expect("executes");
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.earliest().expect("held").time, 1_700_000_000);
        let raw = finished.to_bytes().expect("attested");
        let mut judged = 0;
        for (at, changed) in changed(&raw) {
            let Ok(file) = DetachedFile::from_bytes(&changed) else { continue };
            judged += 1;
            if let Ok(report) = judge(digest, &file, &headers) {
                assert!(report.earliest().is_none(), "byte {at} changed, and it verifies: {report:?}");
            }
        }
        assert!(judged > 1_000, "only {judged} changed files could be read at all");
    }
}

#[test]
fn a_change_where_nobody_can_check_proves_nothing_else() {
    for vector in list(&vectors(), "client").iter().take(2) {
        let headers = headers(vector);
        let raw = bytes(&vector["upgraded"], "file");
        let upgraded = DetachedFile::from_bytes(&raw).expect("read");
        let digest = upgraded.digest();
        let report = judge(digest, &upgraded, &headers).expect("executes");
        assert!(!report.is_complete(), "a promise is in it");
        let proven = report.earliest().expect("held").clone();
        for (at, changed) in changed(&raw) {
            let Ok(file) = DetachedFile::from_bytes(&changed) else { continue };
            let Ok(report) = judge(digest, &file, &headers) else { continue };
            if let Some(held) = report.earliest() {
                assert_eq!(*held, proven, "byte {at}");
                assert!(!report.is_complete(), "byte {at}");
            }
        }
    }
}

#[test]
fn another_document_or_another_chain_is_told() {
    let all = vectors();
    let vector = &list(&all, "client")[0];
    let file = DetachedFile::from_bytes(&bytes(&vector["upgraded"], "file")).expect("read");
    let mut headers = headers(vector);
    let wrong = judge(&[7; 32], &file, &headers);
    assert!(matches!(wrong, Err(VerifyError::OtherDigest { .. })), "{wrong:?}");
    let hash = verify_file(FileHash::Keccak256, file.digest(), &file, |_, _| Ok::<_, Infallible>(None));
    assert!(matches!(hash, Err(VerifyError::OtherHash { .. })), "{hash:?}");
    let report = judge(file.digest(), &file, &HashMap::new()).expect("executes");
    assert!(report.earliest().is_none() && report.unchecked.len() == 1, "{report:?}");
    headers.values_mut().for_each(|header| header[40] ^= 1);
    let report = judge(file.digest(), &file, &headers).expect("executes");
    assert!(matches!(report.failed[..], [Failed::WrongRoot { .. }]), "{report:?}");
    assert!(report.earliest().is_none());
    let away = verify_file(FileHash::Sha256, file.digest(), &file, |_, _| Err("the node is away"));
    assert_eq!(away, Err(VerifyError::Headers("the node is away")));
}

/// Of several attestations the lowest block counts, and one that fails spoils all.
#[test]
fn the_earliest_is_told() {
    use eschaton_ots::{Attestation, Timestamp, verify};
    let message = [3; 32];
    let mut timestamp = Timestamp::new();
    for attestation in [Attestation::bitcoin(20), Attestation::bitcoin(10), Attestation::litecoin(5)] {
        timestamp.merge(&Timestamp::attested(attestation)).expect("small");
    }
    let header = |time: u32| {
        let mut header = [0; 80];
        header[36..68].copy_from_slice(&message);
        header[68..72].copy_from_slice(&time.to_le_bytes());
        header
    };
    // Block 20 claims an earlier time than block 10, as miners may.
    let judged = |litecoin: Option<Header>| {
        verify(&message, &timestamp, |chain, height| {
            Ok::<_, Infallible>(match (chain, height) {
                (Chain::Bitcoin, 20) => Some(header(900)),
                (Chain::Bitcoin, 10) => Some(header(1_000)),
                (Chain::Litecoin, 5) => litecoin,
                _ => None,
            })
        })
        .expect("executes")
    };
    let told = |report: &Report| report.earliest().map(|held| (held.chain, held.height));
    assert_eq!(told(&judged(None)), Some((Chain::Bitcoin, 10)));
    assert_eq!(told(&judged(Some(header(999)))), Some((Chain::Litecoin, 5)));
    assert_eq!(told(&judged(Some(header(1_000)))), Some((Chain::Bitcoin, 10)));
    assert_eq!(told(&judged(Some([0; 80]))), None, "a contradicted attestation spoils the whole");
}
