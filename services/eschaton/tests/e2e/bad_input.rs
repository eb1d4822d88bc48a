//! Bad input over gRPC: each kind with its own message, and none that costs a log write.

use bytes::Bytes;
use eschaton_api::ingress::{Outcome, SubmitRequest};
use eschaton_types::pb::types as pb;
use eschaton_types::{
    AMOUNT_MAX, Body, Fee, Input, Key, Network, OutPoint, Product, TRANSACTION_BYTES_MAX, Transaction, TxId,
    encode,
};
use tonic::Code;

use crate::kit::money::{Mint, body, input, key, outpoint, output, pay, sign, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::kit::until;

/// Bytes that the node's library would refuse to make: body and witness as messages, signed by `signer`.
fn forge(body: pb::TransactionBody, signer: &Key) -> Bytes {
    let body = encode(&body);
    let proof = signer.prove(&TxId::of_body(&body));
    let signatures = proof
        .signatures
        .iter()
        .map(|(key, signature)| pb::KeySignature {
            key: u32::from(*key),
            signature: Bytes::copy_from_slice(signature),
        })
        .collect();
    let keys = proof.keys.keys().iter().map(|key| Bytes::copy_from_slice(key)).collect();
    let owner = pb::OwnerProof { keys, threshold: u32::from(proof.keys.threshold()), signatures };
    let witness = pb::Witness { owners: vec![owner], ..pb::Witness::default() };
    encode(&pb::Transaction { body, witness: Some(witness) })
}

fn message(of: &Transaction) -> pb::TransactionBody {
    let transaction: pb::Transaction = eschaton_types::decode_canonical(&of.bytes, "transaction").unwrap();
    eschaton_types::decode_canonical(&transaction.body, "body").unwrap()
}

/// What is wrong by itself, whatever the ledger says, with the words that tell it.
fn invalid(owner: &Key, good: &Transaction) -> Vec<(&'static str, Bytes, &'static str)> {
    let spend = good.body.inputs[0];
    let whole = good.bytes.to_vec();
    let cut = Bytes::copy_from_slice(&whole[..whole.len() - 1]);
    let unknown_field = Bytes::from([&whole[..], &[0x78, 0x01]].concat());
    let mut altered = whole.clone();
    // The signature's 64 bytes come last.
    *altered.last_mut().unwrap() ^= 1;
    let with = |outputs: Vec<_>| sign(&body(vec![spend], outputs), &[owner]).bytes;
    let twice = sign(&body(vec![spend, spend], vec![output(stranger(1), 10)]), &[owner, owner]).bytes;
    let zero_fee = Body {
        fees: vec![Fee { product: Product::Native, amount: eschaton_types::Amount::ZERO }],
        ..good.body.clone()
    };
    let locked = Body { not_before_ms: 10, not_after_ms: 10, ..good.body.clone() };
    let elsewhere = Body { network: Network::Test, ..good.body.clone() };
    let mut above = message(good);
    above.outputs[0].amount = AMOUNT_MAX + 1;
    vec![
        ("empty", Bytes::new(), "unknown version 0"),
        ("truncated", cut, "malformed or truncated"),
        ("oversized", Bytes::from(vec![0; TRANSACTION_BYTES_MAX + 1]), "65537 bytes, the most is 65536"),
        ("non-canonical", unknown_field, "not in canonical form"),
        (
            "unknown version",
            forge(pb::TransactionBody { version: 2, ..message(good) }, owner),
            "unknown version 2",
        ),
        (
            "unknown network",
            forge(pb::TransactionBody { network: 9, ..message(good) }, owner),
            "unknown network number 9",
        ),
        ("wrong signature", Bytes::from(altered), "wrong signature in owner proof 0"),
        ("wrong key", sign(&good.body, &[&key(99)]).bytes, "wrong key for the output"),
        ("amount too large", forge(above, owner), "amount leaves the range"),
        (
            "sum overflows",
            with(vec![output(stranger(1), AMOUNT_MAX), output(stranger(2), 1)]),
            "amount leaves the range",
        ),
        (
            "zero amount",
            with(vec![output(stranger(1), 10), output(stranger(1), 0)]),
            "output or fee 1 has amount zero",
        ),
        ("zero fee", sign(&zero_fee, &[owner]).bytes, "output or fee 0 has amount zero"),
        ("no outputs", with(Vec::new()), "creates no output"),
        ("no inputs", sign(&body(Vec::new(), vec![output(stranger(1), 1)]), &[]).bytes, "consumes no input"),
        ("duplicate input", twice, "input 1 names an outpoint that an earlier input names"),
        ("empty time lock", sign(&locked, &[owner]).bytes, "time lock is empty"),
        ("wrong network", sign(&elsewhere, &[owner]).bytes, "for network 2, this node serves network 3"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_transaction_is_refused_by_name_and_never_reaches_the_log() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let node = Node::start(dir.path(), &mint.options());
    let rpc = Rpc::connect(&node.url).await;
    let owner = key(1);
    let issued = mint.issue(&[owner.address(); 3], 10, 0);
    rpc.accept(&issued).await;
    let good = |index| pay(&owner, outpoint(&issued, index), stranger(1), 10);
    let bad = invalid(&owner, &good(0));
    let end = settled(&rpc).await;

    for (kind, bytes, says) in &bad {
        let status = rpc.submit(bytes).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{kind}: {status}");
        assert!(status.message().contains(says), "{kind} says: {}", status.message());
    }
    let items: Vec<Bytes> = bad.iter().map(|(_, bytes, _)| bytes.clone()).collect();
    let results = rpc.batch(items.clone(), false).await;
    assert_eq!(results.len(), bad.len());
    for (result, (kind, _, says)) in results.iter().zip(&bad) {
        assert_eq!(result.outcome(), Outcome::Invalid, "{kind}: {result:?}");
        assert!(result.message.contains(says), "{kind} says: {}", result.message);
    }
    assert_eq!(rpc.ledger_end().await, end, "bad items were written to the log");

    // The same among good ones: first, last, and in between.
    let [first, between, last] = [0, 1, 2].map(|index| good(index).bytes);
    let mut mixed = items;
    mixed.insert(0, first);
    mixed.insert(bad.len() / 2, between);
    mixed.push(last);
    let results = rpc.batch(mixed, false).await;
    let accepted: Vec<usize> =
        (0..results.len()).filter(|at| results[*at].outcome() == Outcome::Accepted).collect();
    assert_eq!(accepted, [0, bad.len() / 2, bad.len() + 2], "{results:?}");
    assert_eq!(results.iter().filter(|result| result.outcome() == Outcome::Invalid).count(), bad.len());
    node.stop();
}

/// The log's end once every record of it is consumed: nothing of ours is under way.
async fn settled(rpc: &Rpc) -> u64 {
    until("an idle ledger", async || {
        let partitions = rpc.status().await.partitions;
        let idle = partitions.iter().all(|one| one.ledger_end == one.ledger_consumed && one.pending == 0);
        idle.then(|| partitions.iter().map(|one| one.ledger_end).sum())
    })
    .await
}

/// Signed well, and against what the ledger knows.
fn impossible(
    owner: &Key,
    live: Input,
    spent: OutPoint,
) -> Vec<(&'static str, Transaction, &'static str, &'static str)> {
    let plain = || body(vec![live], vec![output(stranger(1), 10)]);
    let signed = |body: Body| sign(&body, &[owner]);
    let issued = Product::Issued([7; 32]);
    let mut other = plain();
    other.inputs[0].product = issued;
    other.outputs[0].product = issued;
    let far_ms = 32_503_680_000_000; // the year 3000
    vec![
        (
            "unbalanced",
            signed(body(vec![live], vec![output(stranger(1), 11)])),
            "REASON_UNBALANCED",
            "inputs hold 10 units of product native, outputs and fees take 11",
        ),
        ("spent", pay(owner, spent, stranger(2), 10), "REASON_SPENT", "already spent by transaction"),
        ("expired", signed(Body { not_after_ms: 1, ..plain() }), "REASON_EXPIRED", "expired at 1 ms"),
        (
            "early",
            signed(Body { not_before_ms: far_ms, ..plain() }),
            "REASON_NOT_YET_VALID",
            "not valid before",
        ),
        ("wrong product", signed(other), "REASON_WRONG_PRODUCT", "names another product"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_forbids_is_rejected_with_its_reason() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let node = Node::start(dir.path(), &mint.options());
    let rpc = Rpc::connect(&node.url).await;
    let owner = key(1);
    let issued = mint.issue(&[owner.address(); 2], 10, 0);
    rpc.accept(&issued).await;
    let spender = pay(&owner, outpoint(&issued, 1), stranger(1), 10);
    rpc.accept(&spender).await;

    let live = input(&owner, outpoint(&issued, 0));
    for (kind, transaction, reason, says) in impossible(&owner, live, outpoint(&issued, 1)) {
        let result = rpc.submit(&transaction.bytes).await.unwrap();
        assert_eq!(
            (result.outcome(), result.reason.as_str()),
            (Outcome::Rejected, reason),
            "{kind}: {result:?}"
        );
        assert!(result.message.contains(says), "{kind} says: {}", result.message);
        let found = rpc.transaction(&transaction.txid).await.unwrap();
        assert_eq!((found.state.as_str(), found.reason.as_str()), ("REJECTED", reason), "{kind}");
        if kind == "spent" {
            assert_eq!(
                (&result.spent_by, &found.spent_by),
                (&spender.txid.to_bytes(), &spender.txid.to_bytes())
            );
        }
    }

    // An input that nobody knows may still arrive: the payment waits, and is paid when it does.
    let late = mint.issue(&[owner.address()], 10, 1);
    let waiting = pay(&owner, outpoint(&late, 0), stranger(3), 10);
    let request = SubmitRequest { transaction: waiting.bytes.clone(), no_wait: true };
    let result = rpc.ingress.clone().submit(request).await.unwrap().into_inner();
    assert_eq!(result.outcome(), Outcome::Pending, "{result:?}");
    until("the payment pending", async || {
        rpc.transaction(&waiting.txid).await.filter(|found| found.state == "PENDING")
    })
    .await;
    rpc.accept(&late).await;
    until("the payment accepted", async || {
        rpc.transaction(&waiting.txid).await.filter(|found| found.state == "ACCEPTED")
    })
    .await;
    // And the live output of all those refusals can still be spent.
    rpc.accept(&pay(&owner, live.outpoint, stranger(1), 10)).await;
}
