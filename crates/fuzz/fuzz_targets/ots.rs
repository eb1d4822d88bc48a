//! `.ots` files, calendars' answers and raw transactions: read without panic and within their limits, executed, and
//! written the same up to the order of siblings. The first byte chooses.
#![no_main]

use std::convert::Infallible;

use eschaton_ots::{ANSWER_BYTES_MAX, DEPTH_MAX, DetachedFile, NODES_MAX, Timestamp, verify};
use eschaton_timestamp::transaction::Transaction;
use libfuzzer_sys::fuzz_target;

fn sound(message: &[u8], timestamp: &Timestamp) {
    assert!(timestamp.depth() <= DEPTH_MAX && timestamp.nodes() <= NODES_MAX);
    // Headers that hold nothing: no proof may hold.
    let report = verify(message, timestamp, |_, _| Ok::<_, Infallible>(Some([0xa5; 80])))
        .expect("it was read for this");
    assert!(report.held.iter().all(|held| !held.path.is_empty() || message == [0xa5; 32]));
    let pending = timestamp.pending(message).expect("it was read for this");
    for promise in pending.iter().take(4) {
        let mut upgraded = timestamp.clone();
        let answer = Timestamp::attested(eschaton_ots::Attestation::bitcoin(7));
        // Beyond the number of nodes it is refused; never is what was there lost.
        if upgraded.upgrade(message, &promise.commitment, &answer).is_ok() {
            assert!(!upgraded.clone().merge(timestamp).expect("it is in it"));
        }
    }
    if let Some(finished) = timestamp.finished() {
        assert!(finished.pending(message).expect("a part of it").is_empty());
    }
}

fn file(data: &[u8]) {
    let Ok(file) = DetachedFile::from_bytes(data) else { return };
    let written = file.to_bytes().expect("every branch of a file is attested");
    assert_eq!(written.len(), data.len(), "another form of the same file");
    assert_eq!(DetachedFile::from_bytes(&written).as_ref(), Ok(&file));
    sound(file.digest(), file.timestamp());
}

fn answer(data: &[u8]) {
    let Some((message, data)) = data.split_first_chunk::<32>() else { return };
    let Ok(timestamp) = Timestamp::from_answer(message, data) else { return };
    assert!(data.len() <= ANSWER_BYTES_MAX);
    let written = timestamp.to_bytes().expect("every branch of an answer is attested");
    assert_eq!(Timestamp::from_answer(message, &written).as_ref(), Ok(&timestamp));
    sound(message, &timestamp);
}

fn transaction(data: &[u8]) {
    let Ok(transaction) = Transaction::parse(data) else { return };
    assert!(!transaction.inputs().is_empty());
    // Whatever 32 bytes it is asked for, what stands around them makes the same transaction.
    for at in 0..data.len().saturating_sub(32) {
        let Some(root) = data[at..].first_chunk::<32>() else { return };
        if let Ok((before, after)) = transaction.around(root) {
            let whole = [&before[..], root, &after].concat();
            assert_eq!(Transaction::parse(&whole).expect("without witnesses").txid(), transaction.txid());
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 3 {
        0 => file(data),
        1 => answer(data),
        _ => transaction(data),
    }
});
