//! Assembly of the proofs that `eschaton-proof` verifies.

use bytes::Bytes;
use eschaton_proof::{
    CheckpointBody, LeafValue, PROOF_BYTES_MAX, ProofError, SignedCheckpoint, Terminal, concat,
};
use eschaton_types::{OutPoint, TxId, encode, pb::proof as pb};

use crate::{
    MerkleError, Prover, RowKey, Rows,
    branch::Branch,
    log_proof::{consistency_proof, inclusion_proof, tiles_for_consistency, tiles_for_inclusion},
    rows::{TILE_WIDTH, corrupt, element, fetch, sequence_key},
};

/// What is to be proven.
#[derive(Clone, Debug)]
pub enum Query {
    /// A transaction is in the log. At any checkpoint that includes it.
    Inclusion(TxId),
    /// The checkpoint extends this older one. At any checkpoint.
    Consistency {
        /// The older checkpoint.
        old: SignedCheckpoint,
    },
    /// What happened to an output. At the newest checkpoint only.
    Output {
        /// Which.
        outpoint: OutPoint,
        /// Canonical bytes of the creating transaction's body, to prove owner, product and amount
        /// too. Left out of the proof when the output does not exist.
        transaction: Option<Bytes>,
    },
}

/// A proof in the making. It holds all that it needs of the prover's memory, so the prover may go on
/// while its rows are fetched; when the bucket row was overwritten meanwhile, [`Self::advance`] says
/// [`MerkleError::StaleRow`] and the proof is begun anew. At most two rounds.
#[derive(Debug)]
pub struct ProofTask {
    note: Bytes,
    size: u64,
    rows: Vec<RowKey>,
    stage: Stage,
}

/// How a proof goes on.
#[derive(Debug)]
pub enum Step {
    /// Fetch [`ProofTask::rows`] of this task and advance it.
    Rows(Box<ProofTask>),
    /// Bytes of the proof message.
    Done(Bytes),
}

#[derive(Debug)]
enum Stage {
    /// Awaits the transaction's bucket, which tells its sequence.
    Locate(Branch, TxId),
    /// Awaits the tiles of the transaction's path.
    Include { txid: TxId, sequence: u64 },
    /// Awaits the tiles between two sizes.
    Extend { old: SignedCheckpoint },
    /// Awaits the bucket of the output's transaction.
    Output { branch: Branch, outpoint: OutPoint, transaction: Bytes },
    /// Awaits the spender's id and the tiles of its path.
    Spender { proof: pb::OutputProof, sequence: u64 },
}

impl Prover {
    /// Begins a proof at a checkpoint of this prover.
    ///
    /// # Errors
    /// [`MerkleError::BeyondLog`] when the checkpoint, or the older one, is beyond the log or the
    /// checkpoint; [`MerkleError::OldCheckpoint`] when an output is asked for at another than the
    /// present state; [`MerkleError::Proof`] when the body is not that of the output's transaction.
    pub fn prove(&self, query: Query, checkpoint: &SignedCheckpoint) -> Result<ProofTask, MerkleError> {
        let body = checkpoint.body();
        if body.size > self.size() {
            return Err(MerkleError::BeyondLog { position: body.size, size: self.size() });
        }
        let (rows, stage) = match query {
            Query::Inclusion(txid) => {
                let branch = self.map.branch(&txid);
                (branch.row().into_iter().collect(), Stage::Locate(branch, txid))
            }
            Query::Consistency { old } => {
                (tiles_for_consistency(old.body().size, body.size)?, Stage::Extend { old })
            }
            Query::Output { outpoint, transaction } => {
                self.present(body)?;
                if transaction.as_ref().is_some_and(|body| TxId::of_body(body) != outpoint.txid) {
                    return Err(ProofError::WrongSubject { what: "transaction" }.into());
                }
                let branch = self.map.branch(&outpoint.txid);
                let transaction = transaction.unwrap_or_default();
                (branch.row().into_iter().collect(), Stage::Output { branch, outpoint, transaction })
            }
        };
        Ok(ProofTask { note: checkpoint.note().clone(), size: body.size, rows, stage })
    }

    fn present(&self, body: &CheckpointBody) -> Result<(), MerkleError> {
        let roots = self.roots();
        if (body.size, body.log_root, body.map_root) == (self.size(), roots.log, roots.map) {
            return Ok(());
        }
        Err(MerkleError::OldCheckpoint { number: body.number })
    }
}

impl ProofTask {
    /// The rows that [`Self::advance`] needs; possibly none.
    pub fn rows(&self) -> &[RowKey] {
        &self.rows
    }

    /// Goes on with the rows.
    ///
    /// # Errors
    /// [`MerkleError::NotIncluded`] when there is nothing to prove inclusion of;
    /// [`MerkleError::StaleRow`] when the prover moved on; [`MerkleError::MissingRow`],
    /// [`MerkleError::CorruptRow`] for the caller's rows; [`MerkleError::Proof`] when the proof would
    /// be larger than a verifier takes.
    pub fn advance(self, rows: Rows<'_>) -> Result<Step, MerkleError> {
        let Self { note, size, stage, .. } = self;
        match stage {
            Stage::Locate(branch, txid) => {
                let created = match branch.prove(rows)?.terminal {
                    Terminal::Leaf(value) => value.created,
                    Terminal::Other { .. } | Terminal::Empty => None,
                };
                let sequence = created.map(|created| created.sequence).filter(|sequence| *sequence < size);
                let sequence = sequence.ok_or(MerkleError::NotIncluded { txid })?;
                let rows = tiles_for_inclusion(sequence, size)?;
                Ok(Step::Rows(Box::new(Self { note, size, rows, stage: Stage::Include { txid, sequence } })))
            }
            Stage::Include { txid, sequence } => {
                let path = concat(&inclusion_proof(sequence, size, rows)?);
                done(&pb::InclusionProof { note, txid: txid.to_bytes(), sequence, path })
            }
            Stage::Extend { old } => {
                let path = concat(&consistency_proof(old.body().size, size, rows)?);
                done(&pb::ConsistencyProof { old_note: old.note().clone(), new_note: note, path })
            }
            Stage::Output { branch, outpoint, transaction } => {
                let map = branch.prove(rows)?;
                let (exists, spender) = match &map.terminal {
                    Terminal::Leaf(value) => {
                        (exists(value, outpoint.index), value.spender_of(outpoint.index))
                    }
                    Terminal::Other { .. } | Terminal::Empty => (false, None),
                };
                let proof = pb::OutputProof {
                    note: note.clone(),
                    txid: outpoint.txid.to_bytes(),
                    index: outpoint.index.into(),
                    map: Some(map.to_message()),
                    transaction: if exists { transaction } else { Bytes::new() },
                    ..pb::OutputProof::default()
                };
                let Some(sequence) = spender else { return done(&proof) };
                let mut rows = tiles_for_inclusion(sequence, size)?;
                rows.push(sequence_key(sequence));
                Ok(Step::Rows(Box::new(Self { note, size, rows, stage: Stage::Spender { proof, sequence } })))
            }
            Stage::Spender { mut proof, sequence } => {
                let key = sequence_key(sequence);
                let ids = fetch(rows, &key)?;
                let spender = element(&ids, sequence % TILE_WIDTH).ok_or_else(|| corrupt(&key))?;
                proof.spender = Bytes::copy_from_slice(&spender);
                proof.spender_path = concat(&inclusion_proof(sequence, size, rows)?);
                done(&proof)
            }
        }
    }
}

fn exists(value: &LeafValue, index: u16) -> bool {
    value.created.is_some_and(|created| index < created.outputs) || value.spender_of(index).is_some()
}

fn done(message: &impl prost::Message) -> Result<Step, MerkleError> {
    let bytes = encode(message);
    if bytes.len() > PROOF_BYTES_MAX {
        return Err(ProofError::TooLarge { what: "proof", found: bytes.len(), max: PROOF_BYTES_MAX }.into());
    }
    Ok(Step::Done(bytes))
}
