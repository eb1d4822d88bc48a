//! Admission under load: bounds, fairness, hints.

use eschaton_gossip::{
    Admission, Held, Limits, LimitsError, RETRY_MAX_MS, RETRY_MIN_MS, ReleaseError, ShedReason,
};
use proptest::prelude::*;

const KIB_64: usize = 65_536;

fn admission(count_max: usize, bytes_max: usize, share: u8) -> Admission<u8> {
    Admission::new(Limits::new(count_max, bytes_max, share).expect("sensible limits"))
}

/// Room for ten small transactions, half of it for a client while others want room.
fn ten() -> Admission<u8> {
    admission(10, 2 * KIB_64, 50)
}

fn held(count: usize, bytes: usize) -> Held {
    Held { count, bytes }
}

#[test]
fn limits_that_admit_nothing_are_refused() {
    assert_eq!(Limits::new(10, KIB_64, 0).err(), Some(LimitsError::Share { percent: 0 }));
    assert_eq!(Limits::new(10, KIB_64, 101).err(), Some(LimitsError::Share { percent: 101 }));
    assert_eq!(Limits::new(0, KIB_64, 100).err(), Some(LimitsError::TooSmall));
    assert_eq!(Limits::new(1, KIB_64, 50).err(), Some(LimitsError::TooSmall));
    assert_eq!(Limits::new(10, KIB_64 - 1, 100).err(), Some(LimitsError::TooSmall));
    assert!(Limits::new(1, KIB_64, 100).is_ok());
    assert!(Limits::new(usize::MAX, usize::MAX, 100).is_ok());
}

#[test]
fn a_group_gets_room_as_far_as_it_goes() {
    let mut admission = ten();
    let admitted = admission.admit(&1, &[100; 12], 0).expect("room for ten");
    assert_eq!(admitted.held, held(10, 1_000));
    assert_eq!(admitted.rest.map(|shed| shed.reason), Some(ShedReason::Count));
    let shed = admission.admit(&1, &[1], 0).expect_err("full");
    assert_eq!(shed.reason, ShedReason::Count);
    assert_eq!(shed.to_string(), "overloaded: too many transactions await a decision; retry after 5000 ms");
    assert_eq!(admission.total(), held(10, 1_000));
    assert_eq!(admission.admit(&2, &[], 0).map(|admitted| admitted.held), Ok(held(0, 0)));
}

#[test]
fn bytes_are_bounded_as_well() {
    let mut admission = admission(1_000, KIB_64, 100);
    let admitted = admission.admit(&1, &[KIB_64 - 10, 10, 1], 0).expect("the first two fit exactly");
    assert_eq!(admitted.held, held(2, KIB_64));
    assert_eq!(admitted.rest.map(|shed| shed.reason), Some(ShedReason::Bytes));
    assert_eq!(admission.admit(&2, &[usize::MAX], 0).map_err(|shed| shed.reason), Err(ShedReason::Bytes));
}

#[test]
fn one_client_alone_fills_the_house_and_yields_when_another_knocks() {
    let mut admission = ten();
    assert_eq!(admission.admit(&1, &[1; 10], 0).expect("alone").held.count, 10);
    let shed = admission.admit(&2, &[1], 0).expect_err("full");
    assert_eq!(shed.reason, ShedReason::Count);
    // The first comes back as soon as there is room, and waits: it holds nine, its share is five.
    admission.release(&1, 1, 1, 1).expect("held");
    let greedy = admission.admit(&1, &[1], 1).expect_err("the second waits");
    assert_eq!(greedy.reason, ShedReason::ClientShare);
    assert_eq!(admission.admit(&2, &[1], 2).expect("room was kept").held.count, 1);
}

#[test]
fn a_greedy_client_that_knocks_often_does_not_hide_who_waits() {
    let mut admission = ten();
    admission.admit(&1, &[1; 10], 0).expect("alone");
    admission.admit(&2, &[1], 0).expect_err("full");
    for now_ms in 0..100 {
        admission.admit(&1, &[1], now_ms).expect_err("full");
    }
    admission.release(&1, 1, 1, 100).expect("held");
    assert_eq!(admission.admit(&1, &[1], 100).map_err(|shed| shed.reason), Err(ShedReason::ClientShare));
}

#[test]
fn who_was_refused_long_ago_waits_no_more() {
    let mut admission = ten();
    admission.admit(&1, &[1; 10], 0).expect("alone");
    let shed = admission.admit(&2, &[1], 0).expect_err("full");
    admission.release(&1, 1, 1, 1).expect("held");
    assert!(admission.admit(&1, &[1], 2 * shed.retry_after_ms - 1).is_err());
    assert!(admission.admit(&1, &[1], 2 * shed.retry_after_ms).is_ok());
}

#[test]
fn a_share_binds_in_count_and_in_bytes() {
    let mut by_count = ten();
    by_count.admit(&2, &[1], 0).expect("empty");
    let admitted = by_count.admit(&1, &[1; 9], 0).expect("its share");
    assert_eq!(admitted.held.count, 5);
    assert_eq!(admitted.rest.map(|shed| shed.reason), Some(ShedReason::ClientShare));
    let mut by_bytes = ten();
    by_bytes.admit(&2, &[1], 0).expect("empty");
    let admitted = by_bytes.admit(&1, &[KIB_64, 1], 0).expect("its share");
    assert_eq!(admitted.held, held(1, KIB_64));
    assert_eq!(admitted.rest.map(|shed| shed.reason), Some(ShedReason::ClientShare));
}

#[test]
fn releasing_what_is_not_held_is_an_error_and_changes_nothing() {
    let mut admission = ten();
    admission.admit(&1, &[10, 20], 0).expect("empty");
    for (client, released) in [
        (1, held(3, 30)),
        (1, held(1, 31)),
        (1, held(2, 29)), // a byte would stay for ever
        (2, held(1, 1)),
        (1, held(usize::MAX, usize::MAX)),
    ] {
        let refused = admission.release(&client, released.count, released.bytes, 0);
        let holds = if client == 1 { held(2, 30) } else { held(0, 0) };
        assert_eq!(refused, Err(ReleaseError { released, held: holds }));
        assert_eq!(admission.total(), held(2, 30));
    }
    admission.release(&1, 2, 30, 0).expect("all of it");
    assert_eq!((admission.total(), admission.clients()), (held(0, 0), 0));
}

#[test]
fn the_hint_follows_the_rate_of_decisions() {
    let mut admission = admission(1_000, 100 * KIB_64, 100);
    admission.admit(&1, &[1; 1_000], 0).expect("empty");
    for step in 1..=500 {
        // One each 10 ms, replaced at once: 100 per second.
        admission.release(&1, 1, 1, step * 10).expect("held");
        admission.admit(&1, &[1], step * 10).expect("room for one");
    }
    let hint = admission.admit(&1, &[1; 50], 5_000).expect_err("full").retry_after_ms;
    assert!((480..=520).contains(&hint), "50 places at 100 per second: {hint} ms");
}

#[derive(Clone, Debug)]
enum Step {
    Admit { client: u8, sizes: Vec<usize> },
    Release { client: u8, part: prop::sample::Index },
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let admit = (0_u8..4, prop::collection::vec(0_usize..40_000, 0..9))
        .prop_map(|(client, sizes)| Step::Admit { client, sizes });
    let release =
        (0_u8..4, any::<prop::sample::Index>()).prop_map(|(client, part)| Step::Release { client, part });
    prop::collection::vec((0_u64..2_000, prop_oneof![3 => admit, 2 => release]), 0..120)
}

proptest! {
    #[test]
    fn bounds_hold_and_all_that_was_admitted_can_be_released(
        steps in steps(), count_max in 4_usize..40, share in 30_u8..=100,
    ) {
        let bytes_max = 4 * KIB_64;
        let mut admission = admission(count_max, bytes_max, share);
        let (mut now_ms, mut model) = (0, vec![Vec::<usize>::new(); 4]);
        for (passed_ms, step) in steps {
            now_ms += passed_ms;
            match step {
                Step::Admit { client, sizes } => {
                    let own = &mut model[usize::from(client)];
                    let rest = match admission.admit(&client, &sizes, now_ms) {
                        Ok(admitted) => {
                            let got = &sizes[..admitted.held.count];
                            prop_assert_eq!(got.iter().sum::<usize>(), admitted.held.bytes);
                            prop_assert_eq!(admitted.rest.is_none(), got.len() == sizes.len());
                            own.extend(got);
                            admitted.rest
                        }
                        Err(shed) => Some(shed),
                    };
                    if let Some(shed) = rest {
                        prop_assert!((RETRY_MIN_MS..=RETRY_MAX_MS).contains(&shed.retry_after_ms));
                    }
                }
                Step::Release { client, part } => {
                    let own = &mut model[usize::from(client)];
                    let released = own.split_off(part.index(own.len() + 1));
                    prop_assert!(admission.release(&client, released.len(), released.iter().sum(), now_ms).is_ok());
                }
            }
            let all: Vec<_> = model.iter().flatten().collect();
            let total = held(all.len(), all.into_iter().sum());
            prop_assert_eq!(admission.total(), total);
            prop_assert!(total.count <= count_max && total.bytes <= bytes_max);
            prop_assert_eq!(admission.clients(), model.iter().filter(|own| !own.is_empty()).count());
        }
        for (client, own) in (0_u8..).zip(model) {
            prop_assert_eq!(admission.client(&client), held(own.len(), own.iter().sum()));
            prop_assert!(admission.release(&client, own.len(), own.into_iter().sum(), now_ms).is_ok());
        }
        prop_assert_eq!((admission.total(), admission.clients()), (held(0, 0), 0));
    }
}
