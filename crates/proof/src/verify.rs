//! From proof bytes to facts. The messages are in `proto/eschaton/proof/v1/proof.proto`.

use bytes::Bytes;
use eschaton_types::{OutPoint, TxId, decode_canonical, pb};

use crate::{
    CheckpointBody, Hash, LeafValue, MapProof, ProofError, SignedCheckpoint, Terminal, VerifierKey, bytes32,
    error::malformed, hashes, tlog,
};

/// A proof holds at most so many bytes.
pub const PROOF_BYTES_MAX: usize = 128 * 1024;

/// A fact and the checkpoint that it was proven against. The fact holds at that checkpoint, not
/// later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    /// What was proven.
    pub fact: T,
    /// At which checkpoint.
    pub checkpoint: CheckpointBody,
}

/// What a checkpoint says about an output.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputFact {
    /// It exists and no accepted transaction spends it.
    Unspent {
        /// Log position of its transaction.
        created_sequence: u64,
        /// Owner, product and amount; present when the proof carries the transaction.
        output: Option<pb::types::Output>,
    },
    /// An accepted transaction spends it.
    SpentBy {
        /// The spender.
        txid: TxId,
        /// Log position of the spender.
        sequence: u64,
        /// Log position of the creating transaction; absent while the log lacks it, because shards
        /// report in any order.
        created_sequence: Option<u64>,
        /// Owner, product and amount; present when the proof carries the transaction.
        output: Option<pb::types::Output>,
    },
    /// No accepted transaction created it until this checkpoint: its transaction is unknown, or has
    /// fewer outputs.
    NeverExisted,
    /// Another output of its transaction is spent, so the transaction was accepted, but the log does
    /// not have it yet: ask again at a later checkpoint.
    NotYetCreated,
}

/// Checks an `OutputProof` for `outpoint`.
///
/// # Errors
/// [`ProofError`] for every input but the canonical bytes of a proof that holds under `key`.
pub fn verify_output(
    bytes: &Bytes,
    key: &VerifierKey,
    outpoint: OutPoint,
) -> Result<Verified<OutputFact>, ProofError> {
    let proof: pb::proof::OutputProof = decode(bytes, "output proof")?;
    let checkpoint = key.open(&proof.note)?;
    if proof.txid != outpoint.txid.as_ref() || proof.index != u32::from(outpoint.index) {
        return Err(ProofError::WrongSubject { what: "output" });
    }
    let map = MapProof::from_message(proof.map.as_ref().ok_or_else(|| malformed("output proof"))?)?;
    if map.root(&outpoint.txid)? != checkpoint.body().map_root {
        return Err(ProofError::WrongRoot { tree: "output map" });
    }
    let fact = match &map.terminal {
        Terminal::Leaf(value) => output_fact(&proof, checkpoint.body(), outpoint, value)?,
        Terminal::Other { .. } | Terminal::Empty => absent(&proof, OutputFact::NeverExisted)?,
    };
    Ok(verified(fact, checkpoint))
}

/// Checks an `InclusionProof` for `txid`; the fact is its log position.
///
/// # Errors
/// [`ProofError`] for every input but the canonical bytes of a proof that holds under `key`.
pub fn verify_inclusion(bytes: &Bytes, key: &VerifierKey, txid: TxId) -> Result<Verified<u64>, ProofError> {
    let proof: pb::proof::InclusionProof = decode(bytes, "inclusion proof")?;
    let checkpoint = key.open(&proof.note)?;
    if proof.txid != txid.as_ref() {
        return Err(ProofError::WrongSubject { what: "transaction" });
    }
    let CheckpointBody { size, log_root, .. } = checkpoint.body();
    tlog::verify_inclusion(&txid, proof.sequence, *size, &path(&proof.path)?, log_root)?;
    Ok(verified(proof.sequence, checkpoint))
}

/// Checks a `ConsistencyProof`; the fact is the older checkpoint, which the caller compares with the
/// one it trusts, and `checkpoint` is the newer one.
///
/// # Errors
/// [`ProofError::Fork`] when the two signed checkpoints contradict each other, whatever the path:
/// the proof's bytes are then evidence against the node. Else [`ProofError`] for every input but the
/// canonical bytes of a proof that holds under `key`.
pub fn verify_consistency(bytes: &Bytes, key: &VerifierKey) -> Result<Verified<CheckpointBody>, ProofError> {
    let proof: pb::proof::ConsistencyProof = decode(bytes, "consistency proof")?;
    let (old, new) = (key.open(&proof.old_note)?.body().clone(), key.open(&proof.new_note)?);
    agree(&old, new.body())?;
    let CheckpointBody { size, log_root, .. } = new.body();
    tlog::verify_consistency(old.size, &old.log_root, *size, log_root, &path(&proof.path)?)?;
    Ok(verified(old, new))
}

/// What two checkpoints of one node must satisfy by themselves (invariant P1).
fn agree(old: &CheckpointBody, new: &CheckpointBody) -> Result<(), ProofError> {
    if old.number > new.number {
        return Err(ProofError::Order { old: old.number, new: new.number });
    }
    let fork = |detail| Err(ProofError::Fork { old: old.number, new: new.number, detail });
    if old.number == new.number && old != new {
        return fork("one number, two texts");
    }
    if old.size > new.size || old.time_ms > new.time_ms {
        return fork("size or time goes backward");
    }
    if old.size == new.size && (old.log_root, old.map_root) != (new.log_root, new.map_root) {
        return fork("one size, two roots");
    }
    if old.number.checked_add(1) == Some(new.number) && new.previous != old.hash() {
        return fork("the newer does not name the older as previous");
    }
    Ok(())
}

fn output_fact(
    proof: &pb::proof::OutputProof,
    checkpoint: &CheckpointBody,
    outpoint: OutPoint,
    value: &LeafValue,
) -> Result<OutputFact, ProofError> {
    let created_sequence = value.created.map(|created| created.sequence);
    if let Some(sequence) = created_sequence.filter(|sequence| *sequence >= checkpoint.size) {
        return Err(ProofError::BeyondCheckpoint { sequence, size: checkpoint.size });
    }
    if let Some(sequence) = value.spender_of(outpoint.index) {
        let txid = TxId(bytes32(&proof.spender, "output proof's spender")?);
        let path = path(&proof.spender_path)?;
        tlog::verify_inclusion(&txid, sequence, checkpoint.size, &path, &checkpoint.log_root)?;
        let output = output(&proof.transaction, outpoint, value)?;
        return Ok(OutputFact::SpentBy { txid, sequence, created_sequence, output });
    }
    match value.created {
        None => absent(proof, OutputFact::NotYetCreated),
        Some(created) if outpoint.index >= created.outputs => absent(proof, OutputFact::NeverExisted),
        Some(created) => {
            needless("spender", &proof.spender)?;
            needless("spender_path", &proof.spender_path)?;
            let output = output(&proof.transaction, outpoint, value)?;
            Ok(OutputFact::Unspent { created_sequence: created.sequence, output })
        }
    }
}

/// The output itself, out of the creating transaction's body if the proof carries it.
fn output(
    body: &Bytes,
    outpoint: OutPoint,
    value: &LeafValue,
) -> Result<Option<pb::types::Output>, ProofError> {
    if body.is_empty() {
        return Ok(None);
    }
    if TxId::of_body(body) != outpoint.txid {
        return Err(ProofError::WrongSubject { what: "transaction" });
    }
    let wrong = || malformed("transaction body");
    let body: pb::types::TransactionBody = decode_canonical(body, "transaction body").map_err(|_| wrong())?;
    if value.created.is_some_and(|created| usize::from(created.outputs) != body.outputs.len()) {
        return Err(wrong());
    }
    body.outputs.into_iter().nth(outpoint.index.into()).map(Some).ok_or_else(wrong)
}

/// A fact that needs nothing beside the map proof, and so may carry nothing.
fn absent(proof: &pb::proof::OutputProof, fact: OutputFact) -> Result<OutputFact, ProofError> {
    needless("transaction", &proof.transaction)?;
    needless("spender", &proof.spender)?;
    needless("spender_path", &proof.spender_path)?;
    Ok(fact)
}

fn needless(field: &'static str, bytes: &[u8]) -> Result<(), ProofError> {
    if bytes.is_empty() { Ok(()) } else { Err(ProofError::Field { field, rule: "must be empty here" }) }
}

fn decode<M: Default + prost::Message>(bytes: &Bytes, what: &'static str) -> Result<M, ProofError> {
    if bytes.len() > PROOF_BYTES_MAX {
        return Err(ProofError::TooLarge { what, found: bytes.len(), max: PROOF_BYTES_MAX });
    }
    decode_canonical(bytes, what).map_err(|_| malformed(what))
}

fn path(bytes: &[u8]) -> Result<Vec<Hash>, ProofError> {
    hashes(bytes, tlog::PATH_MAX, "log path")
}

fn verified<T>(fact: T, checkpoint: SignedCheckpoint) -> Verified<T> {
    Verified { fact, checkpoint: checkpoint.body().clone() }
}
