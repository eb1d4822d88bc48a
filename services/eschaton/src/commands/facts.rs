//! From proof bytes to a fact in both forms; the same for `prove` and `verify`.

use bytes::Bytes;
use eschaton_proof::{
    OutputFact, ProofError, SignedCheckpoint, VerifierKey, verify_consistency, verify_inclusion,
    verify_output,
};
use eschaton_types::{Address, Amount, Network, OutPoint, Product, TxError, TxId, decode_canonical, pb};
use serde_json::{Value, json};

use super::show;

/// A fact that holds at a checkpoint.
#[derive(Debug)]
pub(super) struct Fact {
    /// One line.
    pub(super) text: String,
    /// Its own fields; [`Fact::json`] adds the rest.
    fields: Value,
    /// Where it holds.
    pub(super) checkpoint: SignedCheckpoint,
}

impl Fact {
    /// `{"verified":true,"fact",…,"checkpoint"}`.
    pub(super) fn json(&self) -> Value {
        let mut object = self.fields.clone();
        object["verified"] = json!(true);
        object["checkpoint"] = show::checkpoint_json(self.checkpoint.body());
        object
    }

    /// Lines for people.
    pub(super) fn human(&self) -> String {
        format!("verified   {}\nat         {}", self.text, show::checkpoint_line(self.checkpoint.body()))
    }
}

/// The proof's message; it is verified already, so this does not fail.
fn message<M: prost::Message + Default>(bytes: &Bytes, what: &'static str) -> Result<M, ProofError> {
    decode_canonical(bytes, what).map_err(|_: TxError| ProofError::Malformed { what })
}

/// That a transaction is in the log.
pub(super) fn inclusion(bytes: &Bytes, key: &VerifierKey, txid: TxId) -> Result<Fact, ProofError> {
    let sequence = verify_inclusion(bytes, key, txid)?.fact;
    let proof: pb::proof::InclusionProof = message(bytes, "inclusion proof")?;
    Ok(Fact {
        text: format!("transaction {txid} is accepted, number {sequence} of the log"),
        fields: json!({ "fact": "included", "txid": txid.to_string(), "sequence": sequence }),
        checkpoint: key.open(&proof.note)?,
    })
}

/// That the newer checkpoint extends the older one.
pub(super) fn consistency(bytes: &Bytes, key: &VerifierKey) -> Result<Fact, ProofError> {
    let old = verify_consistency(bytes, key)?.fact;
    let proof: pb::proof::ConsistencyProof = message(bytes, "consistency proof")?;
    Ok(Fact {
        text: format!("nothing was changed since {}", show::checkpoint_line(&old)),
        fields: json!({ "fact": "consistent", "old_checkpoint": show::checkpoint_json(&old) }),
        checkpoint: key.open(&proof.new_note)?,
    })
}

/// What became of an output.
pub(super) fn output(bytes: &Bytes, key: &VerifierKey, outpoint: OutPoint) -> Result<Fact, ProofError> {
    let fact = verify_output(bytes, key, outpoint)?.fact;
    let proof: pb::proof::OutputProof = message(bytes, "output proof")?;
    let (text, mut fields, content) = match fact {
        OutputFact::Unspent { created_sequence, output } => (
            format!("output {outpoint} is unspent"),
            json!({ "fact": "unspent", "created_sequence": created_sequence }),
            output,
        ),
        OutputFact::SpentBy { txid, sequence, created_sequence, output } => (
            format!("output {outpoint} is spent by {txid}, number {sequence} of the log"),
            json!({
                "fact": "spent",
                "spent_by": txid.to_string(),
                "spent_sequence": sequence,
                "created_sequence": created_sequence,
            }),
            output,
        ),
        OutputFact::NeverExisted => {
            (format!("output {outpoint} does not exist"), json!({ "fact": "never_existed" }), None)
        }
        OutputFact::NotYetCreated => (
            format!("output {outpoint} is not in the log yet; ask again later"),
            json!({ "fact": "not_yet_created" }),
            None,
        ),
    };
    fields["outpoint"] = json!(outpoint.to_string());
    let mut text = text;
    if let Some(content) = content {
        let what = "transaction body";
        let body: pb::types::TransactionBody = message(&proof.transaction, what)?;
        let wrong = |_: TxError| ProofError::Malformed { what };
        let network = Network::from_number(body.network).map_err(wrong)?;
        let owner = Address::from_slice(&content.owner, what).map_err(wrong)?.to_text(network);
        let product = Product::from_slice(&content.product).map_err(wrong)?;
        let amount = Amount::new(content.amount).map_err(|error| wrong(error.into()))?;
        text = format!("{text}: {} of {owner}", show::amount(amount, product));
        fields["network"] = json!(network.name());
        fields["owner"] = json!(owner);
        fields["product"] = json!(product.to_string());
        fields["amount"] = json!(amount.to_string());
    }
    Ok(Fact { text, fields, checkpoint: key.open(&proof.note)? })
}
