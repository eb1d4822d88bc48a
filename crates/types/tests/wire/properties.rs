//! Properties of bytes: one form, no panic, no silent change.

use bytes::Bytes;
use eschaton_types::{
    AMOUNT_MAX, Address, Amount, Body, DATA_MAX, Fee, Input, METADATA_MAX, Network, OutPoint, Output,
    Product, Transaction, TxId, Witness, sum_by_product,
};
use proptest::prelude::*;

use crate::fixtures::{self, amount, key, rules};

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

fn product() -> impl Strategy<Value = Product> {
    prop_oneof![Just(Product::Native), any::<[u8; 32]>().prop_map(Product::Issued)]
}

fn inputs() -> impl Strategy<Value = Input> {
    (any::<[u8; 32]>(), 0_u16..256, any::<[u8; 32]>(), product(), any::<bool>()).prop_map(
        |(txid, index, owner, product, read_only)| Input {
            outpoint: OutPoint { txid: TxId(txid), index },
            owner: Address(owner),
            product,
            read_only,
        },
    )
}

fn outputs() -> impl Strategy<Value = Output> {
    (any::<[u8; 32]>(), product(), 0..=AMOUNT_MAX, bytes(DATA_MAX), any::<bool>()).prop_map(
        |(owner, product, units, data, confirmation_required)| Output {
            owner: Address(owner),
            product,
            amount: amount(units),
            data,
            confirmation_required,
        },
    )
}

fn bodies() -> impl Strategy<Value = Body> {
    let fee = (product(), 0..=AMOUNT_MAX).prop_map(|(product, units)| Fee { product, amount: amount(units) });
    (
        prop_oneof![Just(Network::Main), Just(Network::Test), Just(Network::Dev)],
        prop::collection::vec(inputs(), 0..12),
        prop::collection::vec(outputs(), 0..12),
        prop::collection::vec(fee, 0..4),
        any::<(u64, u64, u64)>(),
        bytes(METADATA_MAX),
    )
        .prop_map(|(network, inputs, outputs, fees, times, metadata)| Body {
            network,
            inputs,
            outputs,
            fees,
            not_before_ms: times.0,
            not_after_ms: times.1,
            min_spend_delay_ms: times.2,
            metadata,
        })
}

/// Judges without looking at the verdict: it must come, not a panic.
fn judge_all_networks(transaction: &Transaction) {
    for network in [Network::Main, Network::Test, Network::Dev] {
        let _verdict = transaction.check(&rules(network));
    }
    let _verdict = transaction.verify_signatures();
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same(body in bodies(), signers in prop::collection::vec(1_u8..9, 0..12)) {
        let keys: Vec<_> = signers.into_iter().map(key).collect();
        let mut witness = fixtures::owners(&body, &keys);
        witness.confirmations = witness.owners.iter().rev().cloned().collect();
        witness.issuer = witness.owners.first().cloned();
        let transaction = Transaction::assemble(&body, &witness).expect("within limits");
        prop_assert_eq!((&transaction.body, &transaction.witness), (&body, &witness));
        let again = Transaction::decode(transaction.bytes.clone()).expect("its own bytes");
        prop_assert_eq!(Transaction::assemble(&again.body, &again.witness).expect("the same").bytes, transaction.bytes.clone());
        prop_assert_eq!(transaction.txid, TxId::of_body(&body.encode()));
        judge_all_networks(&transaction);
    }

    #[test]
    fn bodies_that_differ_have_ids_that_differ(one in bodies(), other in bodies()) {
        prop_assert_eq!(one == other, fixtures::txid(&one) == fixtures::txid(&other));
    }

    #[test]
    fn random_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(transaction) = Transaction::decode(Bytes::from(bytes)) {
            judge_all_networks(&transaction);
        }
    }

    #[test]
    fn random_text_is_read_without_panic(text in "\\PC{0,80}", near in "(e|t|d)?esc1[a-z0-9]{0,70}") {
        for text in [text, near] {
            let _verdict = Address::from_text(&text, Network::Main);
            let _verdict = OutPoint::parse(&text);
            let _verdict = Product::parse(&text);
            let _verdict = text.parse::<Network>();
        }
    }

    #[test]
    fn spliced_transactions_are_judged_without_panic(
        which in 0_usize..9, from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
        insert in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let original = fixtures::all().swap_remove(which).transaction();
        let (from, to) = (from.index(original.bytes.len()), to.index(original.bytes.len()));
        let spliced = [&original.bytes[..from], &insert, &original.bytes[to..]].concat();
        if let Ok(transaction) = Transaction::decode(Bytes::from(spliced)) {
            judge_all_networks(&transaction);
        }
    }

    #[test]
    fn sums_are_exact_or_refused(parts in prop::collection::vec((0_u8..3, 0..=AMOUNT_MAX / 4), 0..12)) {
        let typed = parts.iter().map(|(id, units)| (Product::Issued([*id; 32]), amount(*units)));
        let exact = |id| parts.iter().filter(|part| part.0 == id).map(|part| u128::from(part.1)).sum::<u128>();
        match sum_by_product(typed) {
            Ok(sums) => {
                prop_assert!(sums.is_sorted_by(|a, b| a.0 < b.0));
                for id in 0..3 {
                    let sum = sums.iter().find(|sum| sum.0 == Product::Issued([id; 32])).map_or(Amount::ZERO, |sum| sum.1);
                    prop_assert_eq!(u128::from(sum.units()), exact(id));
                }
            }
            Err(_) => prop_assert!((0..3).any(|id| exact(id) > u128::from(AMOUNT_MAX))),
        }
    }
}

/// Every fixture, every byte, every bit of it: a refusal, another transaction, or a witness that fails.
#[test]
fn a_changed_bit_never_passes_as_the_same_transaction() {
    let mut judged = 0_u32;
    for fixture in fixtures::all() {
        let original = fixture.transaction();
        let rules = rules(original.body.network);
        for at in 0..original.bytes.len() {
            for bit in 0..8 {
                // All bits of the short ones; one bit of each byte of the long one.
                if original.bytes.len() > 1_000 && bit != at % 8 {
                    continue;
                }
                let mut bytes = original.bytes.to_vec();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = Transaction::decode(Bytes::from(bytes)) else { continue };
                let passes = changed.check(&rules).is_ok() && changed.verify_signatures().is_ok();
                assert!(!passes, "{}: byte {at} bit {bit} changed and it passes", fixture.name);
                judged += 1;
            }
        }
    }
    assert!(judged > 1_000, "too few of the changed transactions decoded: {judged}");
}

#[test]
fn an_absent_witness_has_one_form() {
    let body = fixtures::simple_body();
    let bare =
        Transaction::assemble(&body, &Witness::default()).expect("well formed, though it proves nothing");
    assert!(Transaction::decode(bare.bytes.clone()).is_ok());
    let explicit = [&bare.bytes[..], &[0x12, 0x00]].concat();
    let refusal = Transaction::decode(Bytes::from(explicit)).err();
    assert_eq!(refusal, Some(eschaton_types::TxError::NotCanonical { message: "witness" }));
}
