//! Golden vectors of transactions: the format that other implementations must meet.

use bytes::Bytes;
use eschaton_types::{Address, KeySet, OwnerProof, Transaction};
use serde_json::{Value, json};

use crate::fixtures::{self, Fixture, rules};
use crate::vectors;

const FILE: &str = "transactions.json";

fn proof(proof: &OwnerProof) -> Value {
    json!({
        "keys": proof.keys.keys().iter().map(hex::encode).collect::<Vec<_>>(),
        "threshold": proof.keys.threshold(),
        "signatures": proof.signatures.iter().map(|(key, signature)| {
            json!({ "key": key, "signature": hex::encode(signature) })
        }).collect::<Vec<_>>(),
    })
}

fn describe(fixture: &Fixture) -> Value {
    let transaction = fixture.transaction();
    let (body, witness) = (&transaction.body, &transaction.witness);
    let address =
        |address: Address| json!({ "hex": hex::encode(address.0), "text": address.to_text(body.network) });
    // Amounts and times are strings: JSON numbers are exact to 2^53 only.
    json!({
        "name": fixture.name,
        "about": fixture.about,
        "network": body.network.name(),
        "keys": fixture.keys.iter().map(|key| json!({
            "secret": hex::encode(key.secret_bytes()),
            "public": hex::encode(key.x_only()),
            "address": address(KeySet::single(key.x_only()).address()),
        })).collect::<Vec<_>>(),
        "musig_seeds": fixture.seeds.iter().map(hex::encode).collect::<Vec<_>>(),
        "body": {
            "inputs": body.inputs.iter().map(|input| json!({
                "outpoint": input.outpoint.to_string(),
                "owner": address(input.owner),
                "product": input.product.to_string(),
                "read_only": input.read_only,
            })).collect::<Vec<_>>(),
            "outputs": body.outputs.iter().map(|output| json!({
                "owner": address(output.owner),
                "product": output.product.to_string(),
                "amount": output.amount.to_string(),
                "data": hex::encode(&output.data),
                "confirmation_required": output.confirmation_required,
            })).collect::<Vec<_>>(),
            "fees": body.fees.iter().map(|fee| json!({
                "product": fee.product.to_string(),
                "amount": fee.amount.to_string(),
            })).collect::<Vec<_>>(),
            "not_before_ms": body.not_before_ms.to_string(),
            "not_after_ms": body.not_after_ms.to_string(),
            "min_spend_delay_ms": body.min_spend_delay_ms.to_string(),
            "metadata": hex::encode(&body.metadata),
        },
        "witness": {
            "owners": witness.owners.iter().map(proof).collect::<Vec<_>>(),
            "aggregate": witness.aggregate.as_ref().map(|aggregate| json!({
                "keys": aggregate.keys.iter().map(hex::encode).collect::<Vec<_>>(),
                "signature": hex::encode(aggregate.signature),
            })),
            "confirmations": witness.confirmations.iter().map(proof).collect::<Vec<_>>(),
            "issuer": witness.issuer.as_ref().map(proof),
        },
        "body_bytes": hex::encode(body.encode()),
        "txid": transaction.txid.to_string(),
        "transaction_bytes": hex::encode(&transaction.bytes),
    })
}

#[test]
fn transactions_are_made_as_recorded_and_accepted_as_recorded() {
    let fixtures = fixtures::all();
    vectors::compare(FILE, &Value::Array(fixtures.iter().map(describe).collect()));
    for fixture in &fixtures {
        vectors::seed("transaction", fixture.name, &fixture.transaction().bytes);
        for (position, key) in fixture.keys.iter().enumerate() {
            let name = format!("{}-{position}", fixture.name);
            vectors::seed("address", &name, key.address().to_text(fixture.body.network).as_bytes());
        }
    }
    for (recorded, fixture) in vectors::load(FILE).as_array().expect("a list").iter().zip(&fixtures) {
        let bytes = hex::decode(recorded["transaction_bytes"].as_str().expect("text")).expect("hexadecimal");
        let transaction = Transaction::decode(Bytes::from(bytes)).expect(fixture.name);
        assert_eq!(recorded["txid"], transaction.txid.to_string());
        assert_eq!((&transaction.body, &transaction.witness), (&fixture.body, &fixture.witness));
        transaction.check(&rules(transaction.body.network)).expect(fixture.name);
        transaction.verify_signatures().expect(fixture.name);
    }
}
