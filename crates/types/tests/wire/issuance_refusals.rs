//! What is refused of issuances: units made from nothing need the right issuer and nothing else.

use bytes::Bytes;
use eschaton_types::{Body, Fee, Network, Output, Product, Rules, Transaction, TxError, Witness, musig_sign};

use crate::fixtures::{
    amount, body, input, issuer, judge_parts, key, owners, pay, simple_body, treasury, two_of_three, txid,
};

fn native() -> Body {
    Body { metadata: Bytes::from_static(b"nonce"), ..body(vec![], vec![pay(key(1).address(), 10)]) }
}

fn coloured(maker: u8) -> Product {
    Product::of_issuer(Network::Dev, &key(maker).address())
}

fn refused(body: &Body, witness: &Witness, because: &str) {
    match judge_parts(body, witness) {
        Err(error @ TxError::Issuance { .. }) => assert!(error.to_string().contains(because), "{error}"),
        other => panic!("expected an issuance refused because {because}: {other:?}"),
    }
}

#[test]
fn the_right_issuer_is_accepted() {
    let body = native();
    assert!(judge_parts(&body, &issuer(&body, &treasury())).is_ok());
    let mut own = native();
    own.outputs = vec![Output::pay(key(1).address(), coloured(5), amount(7)); 2];
    assert!(judge_parts(&own, &issuer(&own, &key(5))).is_ok());
}

#[test]
fn another_issuer_is_refused() {
    let because = "may not issue this product";
    let body = native();
    refused(&body, &issuer(&body, &key(1)), because);
    let mut own = native();
    own.outputs[0].product = coloured(5);
    refused(&own, &issuer(&own, &key(6)), because);
    refused(&own, &issuer(&own, &treasury()), because);
    // The same issuer's product on another network.
    own.outputs[0].product = Product::of_issuer(Network::Main, &key(5).address());
    refused(&own, &issuer(&own, &key(5)), because);
}

#[test]
fn without_a_configured_issuer_nobody_makes_the_native_coin() {
    let body = native();
    let transaction = Transaction::assemble(&body, &issuer(&body, &treasury())).expect("well formed");
    let rules = Rules { network: Network::Dev, native_issuer: None };
    assert!(matches!(transaction.check(&rules), Err(TxError::Issuance { .. })));
}

#[test]
fn an_issuers_signature_is_checked() {
    let body = native();
    let mut witness = issuer(&body, &treasury());
    witness.issuer.as_mut().expect("set").signatures[0].1 = treasury().sign(&[1; 32]);
    assert_eq!(
        judge_parts(&body, &witness).err(),
        Some(TxError::BadSignature { what: "issuer", position: 0 })
    );
    witness.issuer.as_mut().expect("set").signatures.clear();
    assert_eq!(
        judge_parts(&body, &witness).err(),
        Some(TxError::SignatureCount { what: "issuer", position: 0 })
    );
    assert_eq!(judge_parts(&body, &Witness::default()).err(), Some(TxError::NoInputs));
}

#[test]
fn a_set_of_keys_may_issue() {
    let (keys, set) = two_of_three();
    let mut body = native();
    body.outputs[0].product = Product::of_issuer(Network::Dev, &set.address());
    let proof = eschaton_types::OwnerProof::sign(&set, &keys[1..], &txid(&body)).expect("two of three");
    assert!(judge_parts(&body, &Witness { issuer: Some(proof), ..Witness::default() }).is_ok());
}

#[test]
fn an_issuance_has_no_inputs_fees_or_owner_proofs() {
    let mut spending = native();
    spending.inputs = simple_body().inputs;
    refused(&spending, &issuer(&spending, &treasury()), "issue and spend in two transactions");
    let both = Witness { issuer: issuer(&spending, &treasury()).issuer, ..owners(&spending, &[key(1)]) };
    refused(&spending, &both, "issue and spend in two transactions");
    let mut looking = native();
    looking.inputs = vec![eschaton_types::Input { read_only: true, ..input(1, 0, key(1).address()) }];
    refused(&looking, &issuer(&looking, &treasury()), "issue and spend in two transactions");
    let mut paying = native();
    paying.fees = vec![Fee { product: Product::Native, amount: amount(1) }];
    refused(&paying, &issuer(&paying, &treasury()), "issue and pay in two transactions");
    let body = native();
    let both = Witness { issuer: issuer(&body, &treasury()).issuer, ..owners(&body, &[key(1)]) };
    refused(&body, &both, "owner proofs but no inputs");
    let aggregate = musig_sign(&[key(1)], &[[1; 32]], &txid(&body)).expect("one seed");
    let both = Witness {
        issuer: issuer(&body, &treasury()).issuer,
        aggregate: Some(aggregate),
        ..Witness::default()
    };
    refused(&body, &both, "owner proofs but no inputs");
}

#[test]
fn an_issuance_is_of_one_product() {
    let mut body = native();
    body.outputs.push(Output::pay(key(1).address(), coloured(0x70), amount(1)));
    refused(&body, &issuer(&body, &treasury()), "issue each apart");
}

#[test]
fn an_issuance_needs_outputs_and_confirmations_as_a_payment_does() {
    let mut body = native();
    body.outputs.clear();
    assert_eq!(judge_parts(&body, &issuer(&body, &treasury())).err(), Some(TxError::NoOutputs));
    let mut body = native();
    body.outputs[0].confirmation_required = true;
    let mut witness = issuer(&body, &treasury());
    let refusal = TxError::ProofCount { what: "confirmation", found: 0, needed: 1 };
    assert_eq!(judge_parts(&body, &witness).err(), Some(refusal));
    witness.confirmations = vec![key(1).prove(&txid(&body))];
    assert!(judge_parts(&body, &witness).is_ok());
}
