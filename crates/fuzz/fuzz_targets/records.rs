//! Records of the log and rows of the store: read without panic, and what is read is written back the
//! same. The first byte chooses the message, by its place among the names in alphabetical order
//! (crates/types/tests/wire/messages.rs writes seeds in that order).
#![no_main]

use std::fmt::Debug;

use eschaton_types::pb::{log, state};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fn round_trip<M: Message + Default + PartialEq + Debug>(data: &[u8]) {
    let Ok(message) = M::decode(data) else { return };
    let bytes = message.encode_to_vec();
    assert_eq!(bytes.len(), message.encoded_len());
    let again = M::decode(bytes.as_slice()).expect("what was written is read");
    assert_eq!(again, message);
    assert_eq!(again.encode_to_vec(), bytes, "the canonical form is its own canonical form");
}

const MESSAGES: &[fn(&[u8])] = &[
    round_trip::<log::AnchorEvent>,
    round_trip::<log::AnchorInput>,
    round_trip::<log::BumpRequest>,
    round_trip::<log::Changes>,
    round_trip::<log::Checkpoint>,
    round_trip::<log::Confirmed>,
    round_trip::<log::Conflicted>,
    round_trip::<log::Credit>,
    round_trip::<log::Credits>,
    round_trip::<log::Decision>,
    round_trip::<log::Digests>,
    round_trip::<log::Disconnected>,
    round_trip::<log::FeeEstimate>,
    round_trip::<log::Grant>,
    round_trip::<log::InputFact>,
    round_trip::<log::IntervalClosed>,
    round_trip::<log::LedgerInput>,
    round_trip::<log::Mempool>,
    round_trip::<log::Message>,
    round_trip::<log::Outbox>,
    round_trip::<log::Outpoint>,
    round_trip::<log::Placed>,
    round_trip::<log::PlacedRun>,
    round_trip::<log::RecordId>,
    round_trip::<log::Refuse>,
    round_trip::<log::Rejection>,
    round_trip::<log::Reserve>,
    round_trip::<log::RowChange>,
    round_trip::<log::Sent>,
    round_trip::<log::Settle>,
    round_trip::<log::Signed>,
    round_trip::<log::StampEvent>,
    round_trip::<log::StampInput>,
    round_trip::<log::Tick>,
    round_trip::<log::Tip>,
    round_trip::<log::UpstreamAnswer>,
    round_trip::<state::AnchorBlock>,
    round_trip::<state::AnchorRow>,
    round_trip::<state::AnchorerRow>,
    round_trip::<state::AttemptRow>,
    round_trip::<state::IntervalRow>,
    round_trip::<state::LocalInput>,
    round_trip::<state::OutputRow>,
    round_trip::<state::PendingRow>,
    round_trip::<state::StamperRow>,
    round_trip::<state::TotalRow>,
    round_trip::<state::TransactionRow>,
    round_trip::<state::WorkerRow>,
];

fuzz_target!(|data: &[u8]| {
    let Some((selector, message)) = data.split_first() else { return };
    if let Some(check) = MESSAGES.get(usize::from(*selector)) {
        check(message);
    }
});
