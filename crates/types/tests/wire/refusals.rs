//! What is refused of bytes and bodies, each with its exact error.

use bytes::Bytes;
use eschaton_types::pb::types as pb;
use eschaton_types::{
    AMOUNT_MAX, AmountError, Body, DATA_MAX, Fee, INPUTS_MAX, Input, METADATA_MAX, Network, OUTPUTS_MAX,
    Output, Product, TRANSACTION_BYTES_MAX, Transaction, TxError, Witness, encode,
};
use prost::Message;

use crate::fixtures::{amount, body, input, judge, judge_parts, key, owners, pay, rules, simple_body, txid};

/// The refusal of a body whose consumed inputs all belong to key 1.
fn refusal(body: &Body) -> TxError {
    let keys = vec![key(1); body.consumed().count()];
    judge_parts(body, &owners(body, &keys)).expect_err("it must be refused")
}

/// The refusal of a body that the types cannot express.
fn refusal_of_message(change: impl FnOnce(&mut pb::TransactionBody)) -> TxError {
    let mut message = pb::TransactionBody::decode(simple_body().encode()).expect("canonical");
    change(&mut message);
    judge(encode(&pb::Transaction { body: encode(&message), witness: None })).expect_err("it must be refused")
}

fn changed(change: impl FnOnce(&mut Body)) -> TxError {
    let mut body = simple_body();
    change(&mut body);
    refusal(&body)
}

fn length(field: &'static str) -> TxError {
    TxError::Length { field }
}

/// The simple payment, valid: every refusal below differs from it in one thing.
fn valid() -> Transaction {
    let body = simple_body();
    judge_parts(&body, &owners(&body, &[key(1)])).expect("the base of all refusals is valid")
}

#[test]
fn cut_short_at_any_length() {
    let bytes = valid().bytes;
    for cut in 0..bytes.len() {
        let refusal = judge(bytes.slice(..cut)).expect_err("it is cut");
        let whole_body = pb::Transaction { body: simple_body().encode(), witness: None }.encoded_len();
        match refusal {
            // Nothing at all is a transaction whose body has no version.
            TxError::UnknownVersion { version: 0 } => assert_eq!(cut, 0),
            // The body ends where the witness begins: no witness, no proofs.
            TxError::ProofCount { what: "owner", found: 0, needed: 1 } => assert_eq!(cut, whole_body),
            TxError::Malformed { .. } => assert!(cut != 0 && cut != whole_body),
            other => panic!("cut at {cut}: {other}"),
        }
    }
    let text = judge(bytes.slice(..9)).expect_err("cut").to_string();
    assert!(
        text.contains("truncated") && text.ends_with("send the canonical bytes of a Transaction"),
        "{text}"
    );
}

#[test]
fn oversized() {
    let max = TRANSACTION_BYTES_MAX;
    let refusal = judge(Bytes::from(vec![0xff; max + 1])).expect_err("too large");
    assert_eq!(refusal, TxError::TooLarge { bytes: max + 1, max });
    assert_eq!(refusal.to_string(), "transaction has 65537 bytes, the most is 65536; split it");
    assert!(
        matches!(judge(Bytes::from(vec![0xff; max])), Err(TxError::Malformed { .. })),
        "parsed at the limit"
    );
}

/// `body` as field 1 by hand, then `rest`.
fn framed(body: &[u8], rest: &[u8]) -> Bytes {
    let mut bytes = vec![0x0a];
    prost::encoding::encode_varint(u64::try_from(body.len()).expect("small"), &mut bytes);
    Bytes::from([&bytes, body, rest].concat())
}

#[test]
fn not_canonical() {
    let bytes = valid().bytes;
    let body = simple_body().encode();
    let witness = bytes.slice(framed(&body, &[]).len()..);
    assert_eq!(framed(&body, &witness), bytes, "the pieces make the whole");
    let mut overlong = vec![0x0a];
    prost::encoding::encode_varint(u64::try_from(body.len()).expect("small"), &mut overlong);
    *overlong.last_mut().expect("not empty") |= 0x80;
    overlong.push(0);
    for (name, wrong) in [
        ("unknown field", [&bytes[..], &[0x18, 0x01]].concat()),
        ("unknown group", [&bytes[..], &[0x1b, 0x1c]].concat()),
        ("field order", [&witness[..], &framed(&body, &[])].concat()),
        ("field twice", [&framed(&body, &[])[..], &bytes].concat()),
        ("overlong varint", [&overlong, &body[..], &witness].concat()),
        ("explicit default", [&framed(&body, &[])[..], &[0x12, 0x04, 0x0a, 0x02, 0x10, 0x00]].concat()),
        ("zero padding", [&[0x0a, 0x00], &bytes[..]].concat()),
    ] {
        let refusal = judge(Bytes::from(wrong)).expect_err(name);
        assert_eq!(refusal, TxError::NotCanonical { message: "transaction" }, "{name}");
        assert!(refusal.to_string().ends_with("encode it again"));
    }
    let inner = TxError::NotCanonical { message: "transaction body" };
    // Version 1, encoded 08 01, in two bytes; then not_before_ms = 0, written out; then an unknown field.
    assert_eq!(body[..2], [0x08, 0x01]);
    let overlong = [&[0x08, 0x81, 0x00], &body[2..]].concat();
    let default = [&body[..], &[0x30, 0x00]].concat();
    let unknown = [&body[..], &[0x50, 0x01]].concat();
    // Network before version.
    let order = [&body[2..4], &body[..2], &body[4..]].concat();
    for wrong in [overlong, default, unknown, order] {
        assert_eq!(judge(framed(&wrong, &witness)).err(), Some(inner.clone()), "{}", hex::encode(wrong));
    }
}

#[test]
fn unknown_version() {
    for version in [0, 2, u32::MAX] {
        let refusal = refusal_of_message(|body| body.version = version);
        assert_eq!(refusal, TxError::UnknownVersion { version });
        assert!(refusal.to_string().ends_with("this node speaks version 1"));
    }
}

#[test]
fn wrong_and_unknown_network() {
    for network in [Network::Main, Network::Test] {
        let refusal = changed(|body| body.network = network);
        assert_eq!(refusal, TxError::WrongNetwork { found: network.number(), expected: 3 });
    }
    let refusal = refusal_of_message(|body| body.network = 4);
    assert_eq!(refusal, TxError::UnknownNetwork { number: 4 });
    assert!(refusal.to_string().ends_with("1 is main, 2 is test, 3 is dev"));
}

#[test]
fn fields_of_wrong_length() {
    type Change = fn(&mut pb::TransactionBody, Bytes);
    let fixed: [(&str, Change); 6] = [
        ("input transaction id (32 bytes)", |body, bytes| body.inputs[0].txid = bytes),
        ("input owner (32 bytes)", |body, bytes| body.inputs[0].owner = bytes),
        ("output owner (32 bytes)", |body, bytes| body.outputs[0].owner = bytes),
        ("product", |body, bytes| body.inputs[0].product = bytes),
        ("product", |body, bytes| body.outputs[0].product = bytes),
        ("product", |body, bytes| body.fees.push(pb::Fee { product: bytes, amount: 1 })),
    ];
    for (field, change) in fixed {
        for wrong in [1, 31, 33] {
            let refusal = refusal_of_message(|body| change(body, Bytes::from(vec![7; wrong])));
            assert!(
                matches!(refusal, TxError::Length { field: found } if found.starts_with(field)),
                "{field}: {refusal}"
            );
        }
    }
    for index in [256, 65_536, u32::MAX] {
        let refusal = refusal_of_message(|body| body.inputs[0].index = index);
        assert_eq!(refusal, length("input index (below 256)"));
    }
    let refusal = changed(|body| body.metadata = Bytes::from(vec![0; METADATA_MAX + 1]));
    assert_eq!(refusal, length("metadata (at most 1,024 bytes)"));
    let refusal = changed(|body| body.outputs[0].data = Bytes::from(vec![0; DATA_MAX + 1]));
    assert_eq!(refusal, length("output data (at most 1,024 bytes)"));
}

#[test]
fn limits_themselves_are_allowed() {
    let mut body = simple_body();
    body.metadata = Bytes::from(vec![0; METADATA_MAX]);
    body.outputs[0].data = Bytes::from(vec![0; DATA_MAX]);
    body.inputs[0].outpoint.index = 255;
    body.outputs[0].amount = amount(AMOUNT_MAX);
    assert!(judge_parts(&body, &owners(&body, &[key(1)])).is_ok());
}

#[test]
fn amount_of_zero() {
    let refusal = changed(|body| body.outputs.push(pay(key(3).address(), 0)));
    assert_eq!(refusal, TxError::ZeroAmount { position: 1 });
    assert!(refusal.to_string().ends_with("leave it out"));
    let refusal = changed(|body| body.fees.push(Fee { product: Product::Native, amount: amount(0) }));
    assert_eq!(refusal, TxError::ZeroAmount { position: 0 });
}

#[test]
fn amounts_and_sums_out_of_range() {
    let out_of_range = TxError::Amount(AmountError::OutOfRange);
    for units in [AMOUNT_MAX + 1, 1 << 63, u64::MAX] {
        assert_eq!(refusal_of_message(|body| body.outputs[0].amount = units), out_of_range);
        let fee = pb::Fee { product: Bytes::new(), amount: units };
        assert_eq!(refusal_of_message(|body| body.fees.push(fee)), out_of_range);
    }
    let most = || pay(key(2).address(), AMOUNT_MAX);
    // Past 10^18 by one; past u64 (18 outputs fit it, 19 do not); by a fee.
    assert_eq!(changed(|body| body.outputs = vec![most(), pay(key(2).address(), 1)]), out_of_range);
    for count in [2, 18, 19, 256] {
        assert_eq!(changed(|body| body.outputs = vec![most(); count]), out_of_range, "{count}");
    }
    let fee = Fee { product: Product::Native, amount: amount(1) };
    assert_eq!(changed(|body| (body.outputs, body.fees) = (vec![most()], vec![fee])), out_of_range);
    assert!(out_of_range.to_string().ends_with("split or lower it"));
    // Each product has its own sum.
    let mut several = simple_body();
    several.outputs = (0..20).map(|id| Output { product: Product::Issued([id; 32]), ..most() }).collect();
    assert!(judge_parts(&several, &owners(&several, &[key(1)])).is_ok());
}

#[test]
fn duplicate_inputs_few_and_many() {
    for count in [2_u8, 8, 9, 200] {
        let own = |tag| input(tag, 0, key(1).address());
        let mut inputs: Vec<_> = (0..count).map(own).collect();
        let valid = body(inputs.clone(), vec![pay(key(2).address(), 1)]);
        assert!(judge_parts(&valid, &owners(&valid, &vec![key(1); usize::from(count)])).is_ok(), "{count}");
        let last = inputs.len() - 1;
        inputs[last] = own(0);
        let refusal = refusal(&body(inputs.clone(), vec![pay(key(2).address(), 1)]));
        assert_eq!(refusal, TxError::DuplicateInput { input: last });
        // Another owner, product or use makes it no other outpoint.
        inputs[last] =
            Input { product: Product::Issued([1; 32]), read_only: true, ..input(0, 0, key(9).address()) };
        assert_eq!(self::refusal(&body(inputs, vec![pay(key(2).address(), 1)])), refusal);
    }
}

#[test]
fn too_many() {
    let too_many = |what, max| TxError::TooMany { what, max };
    let (own, to) = (key(1).address(), key(2).address());
    let inputs =
        |count: u16| (0..count).map(|n| input(u8::try_from(n / 256).expect("few"), n % 256, own)).collect();
    let mut most: Body = body(inputs(256), vec![pay(to, 1); OUTPUTS_MAX]);
    assert!(
        judge_parts(&most, &owners(&most, &vec![key(1); INPUTS_MAX])).is_ok(),
        "the limits themselves fit"
    );
    most.inputs = inputs(257);
    let without_proofs = |body: &Body| judge_parts(body, &Witness::default()).expect_err("too many");
    assert_eq!(without_proofs(&most), too_many("inputs", INPUTS_MAX));
    assert_eq!(without_proofs(&most).to_string(), "more than 256 inputs; split the transaction");
    assert_eq!(changed(|body| body.outputs = vec![pay(to, 1); 257]), too_many("outputs", OUTPUTS_MAX));
    let fee = Fee { product: Product::Native, amount: amount(1) };
    assert_eq!(changed(|body| body.fees = vec![fee; 257]), too_many("fees", OUTPUTS_MAX));
}

#[test]
fn no_inputs_and_no_outputs() {
    assert_eq!(changed(|body| body.inputs.clear()), TxError::NoInputs);
    // To look is not to spend.
    assert_eq!(changed(|body| body.inputs[0].read_only = true), TxError::NoInputs);
    assert!(TxError::NoInputs.to_string().contains("; "), "says what to do");
    assert_eq!(changed(|body| body.outputs.clear()), TxError::NoOutputs);
    assert!(TxError::NoOutputs.to_string().contains("; "), "says what to do");
}

#[test]
fn fees_out_of_order() {
    let fee = |product| Fee { product, amount: amount(1) };
    let (low, high) = (Product::Issued([1; 32]), Product::Issued([2; 32]));
    for wrong in
        [vec![high, low], vec![low, Product::Native], vec![Product::Native; 2], vec![low, high, high]]
    {
        assert_eq!(changed(|body| body.fees = wrong.into_iter().map(fee).collect()), TxError::FeeOrder);
    }
    let mut sorted = simple_body();
    sorted.fees = [Product::Native, low, high].map(fee).to_vec();
    assert!(judge_parts(&sorted, &owners(&sorted, &[key(1)])).is_ok());
    assert!(TxError::FeeOrder.to_string().contains("; "), "says what to do");
}

#[test]
fn empty_time_lock_and_endless_delay() {
    for (not_before_ms, not_after_ms, verdict) in [
        (10, 9, Some(TxError::EmptyTimeLock)),
        (10, 10, Some(TxError::EmptyTimeLock)),
        (u64::MAX, 1, Some(TxError::EmptyTimeLock)),
        (10, 11, None),
        (10, 0, None),
        (0, 1, None),
    ] {
        let body = Body { not_before_ms, not_after_ms, ..simple_body() };
        assert_eq!(
            judge_parts(&body, &owners(&body, &[key(1)])).err(),
            verdict,
            "{not_before_ms} {not_after_ms}"
        );
    }
    let century = 100 * 366 * 24 * 3_600_000;
    for (delay, verdict) in
        [(century, None), (century + 1, Some(TxError::SpendDelay)), (u64::MAX, Some(TxError::SpendDelay))]
    {
        let body = Body { min_spend_delay_ms: delay, ..simple_body() };
        assert_eq!(judge_parts(&body, &owners(&body, &[key(1)])).err(), verdict);
    }
    for error in [TxError::EmptyTimeLock, TxError::SpendDelay] {
        assert!(error.to_string().contains("; "), "says what to do: {error}");
    }
}

#[test]
fn a_transaction_of_one_network_never_passes_on_another() {
    let valid = valid();
    for network in [Network::Main, Network::Test] {
        assert!(matches!(valid.check(&rules(network)), Err(TxError::WrongNetwork { found: 3, .. })));
    }
    let other = Body { network: Network::Main, ..simple_body() };
    assert_ne!(txid(&other), valid.txid);
}
