//! Anchors that other calendars carry, and no chain.

#![allow(clippy::unwrap_used)]

use eschaton_ots::{Attestation, Op, Timestamp};
use eschaton_timestamp::{AnchorInput, Anchored, Anchorer, AnchorerConfig};
use eschaton_types::pb::log::AnchorChange;

const CONFIG: AnchorerConfig = AnchorerConfig {
    shards: 1,
    anchor_ms: 1_000,
    in_flight_max: 1,
    followed_max: 8,
    fee_cap_sat_per_kvb: 0,
    bump_blocks: 1,
    final_blocks: 6,
    buried_blocks: 144,
    upstream_only: true,
};

fn changes(out: &Anchored) -> Vec<AnchorChange> {
    out.events.iter().map(|event| event.change()).collect()
}

fn closed(interval: u64) -> AnchorInput {
    let root = [u8::try_from(interval).unwrap(); 32];
    AnchorInput::Closed { shard: 0, interval, root, closed_ms: interval * 1_000 }
}

fn told(anchor: u64, end: Attestation) -> AnchorInput {
    let timestamp = Timestamp::path(vec![Op::Sha256], Timestamp::attested(end)).unwrap();
    AnchorInput::Upstream { anchor, timestamp: timestamp.to_bytes().unwrap().into() }
}

#[test]
fn an_anchor_is_planned_without_a_fee_and_final_with_a_calendars_proof() {
    let mut anchorer = Anchorer::load(CONFIG, &|_: &[u8]| None).unwrap();
    let mut now = 0;
    let mut step = |anchorer: &mut Anchorer, input: &AnchorInput| {
        now += 1_000;
        anchorer.step(now, input).unwrap()
    };
    // More are on their way at once than a wallet would pay for; at most as many as may be followed.
    let mut planned = 0;
    for interval in 0..12 {
        let out = step(&mut anchorer, &closed(interval));
        planned += changes(&out).iter().filter(|change| **change == AnchorChange::Planned).count();
    }
    assert_eq!((planned, anchorer.anchors().count()), (8, 8));
    assert_eq!((anchorer.waiting().0, &anchorer.alerts().len()), (4, &1), "{:?}", anchorer.alerts());

    let promise = step(&mut anchorer, &told(0, Attestation::pending("http://above").unwrap()));
    assert_eq!(changes(&promise), [AnchorChange::Upstream]);
    assert!(!anchorer.anchor(0).unwrap().is_final);
    let proof = step(&mut anchorer, &told(0, Attestation::bitcoin(9)));
    // It makes room, and those that waited are planned as one.
    assert_eq!(changes(&proof), [AnchorChange::Upstream, AnchorChange::Final, AnchorChange::Planned]);
    assert!(anchorer.anchor(0).is_none(), "final, and there is no room");
    assert_eq!((anchorer.waiting().0, anchorer.anchor(8).unwrap().count), (0, 4));

    // With room enough the other calendars have time.
    for anchor in 1..8 {
        step(&mut anchorer, &told(anchor, Attestation::bitcoin(10)));
    }
    assert_eq!(anchorer.anchors().filter(|anchor| anchor.is_final).count(), 3);
    let second = step(&mut anchorer, &told(7, Attestation::bitcoin(11)));
    assert_eq!(changes(&second), [AnchorChange::Upstream], "final once");
    assert_eq!(anchorer.alerts(), []);
}
