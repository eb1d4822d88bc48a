//! `eschaton verify`: check a proof without any node, or a ledger's state against its log.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use eschaton_proof::PROOF_BYTES_MAX;
use eschaton_types::{OutPoint, TxId};
use serde_json::json;

use super::{facts, state};
use crate::out::Out;
use crate::session::LightArgs;

/// `eschaton verify …`
#[derive(Args, Debug)]
pub(crate) struct VerifyCommand {
    #[command(flatten)]
    light: LightArgs,
    /// The proof, as `eschaton prove --out` wrote it
    #[arg(long, global = true, value_name = "FILE")]
    proof: Option<PathBuf>,
    #[command(subcommand)]
    task: VerifyTask,
}

#[derive(Subcommand, Debug)]
enum VerifyTask {
    /// That a transaction is in the log
    #[command(
        after_help = "Example:\n  eschaton verify inclusion 5f0c... --proof proof.bin --key 'node+1a2b3c4d+AR...'\n\nJSON: as `eschaton prove inclusion`, without \"key_source\""
    )]
    Inclusion {
        /// 64 hexadecimal digits
        #[arg(value_parser = TxId::from_hex)]
        txid: TxId,
    },
    /// What became of an output
    #[command(
        after_help = "Example:\n  eschaton verify output 5f0c...:0 --proof proof.bin --key 'node+1a2b3c4d+AR...'\n\nJSON: as `eschaton prove output`, without \"key_source\""
    )]
    Output {
        /// Transaction id, a colon, a position
        #[arg(value_parser = OutPoint::parse)]
        outpoint: OutPoint,
    },
    /// That one checkpoint extends another
    #[command(
        after_help = "Example:\n  eschaton verify consistency --proof proof.bin --key 'node+1a2b3c4d+AR...'\n\nJSON: as `eschaton prove consistency`, without \"key_source\""
    )]
    Consistency,
    /// That every row and every tree of a stopped or quiet ledger is what its log says
    State(Box<state::StateArgs>),
}

/// `runtime` is made only for what speaks with engines.
pub(crate) fn perform(
    command: VerifyCommand,
    out: Out,
    runtime: impl FnOnce() -> std::io::Result<tokio::runtime::Runtime>,
) -> anyhow::Result<()> {
    if let VerifyTask::State(args) = &command.task {
        return runtime()?.block_on(state::perform(args, out));
    }
    proof(command, out)
}

fn proof(command: VerifyCommand, out: Out) -> anyhow::Result<()> {
    let path = command.proof.context("no proof is given; name its file with --proof")?;
    let key = command.light.key()?;
    let bytes = read(&path)?;
    let fact = match command.task {
        VerifyTask::Inclusion { txid } => facts::inclusion(&bytes, &key, txid),
        VerifyTask::Output { outpoint } => facts::output(&bytes, &key, outpoint),
        VerifyTask::Consistency => facts::consistency(&bytes, &key),
        VerifyTask::State(_) => bail!("a state has no proof; this is a defect"),
    };
    let fact = fact.with_context(|| format!("proof {} is refused", path.display()))?;
    let mut object = fact.json();
    object["verifier_key"] = json!(key.to_string());
    out.show(fact.human(), &object)
}

fn read(path: &Path) -> anyhow::Result<Bytes> {
    let cannot = || format!("cannot read the proof {}; check the path", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(cannot)?;
    file.take(u64::try_from(PROOF_BYTES_MAX)? + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() > PROOF_BYTES_MAX {
        bail!("{} is longer than {PROOF_BYTES_MAX} bytes and so is no proof; check the path", path.display());
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use eschaton_proof::{CheckpointBody, NoteSigner, map, tlog};
    use eschaton_types::{encode, pb::proof::InclusionProof};

    use super::*;

    #[test]
    fn a_fact_names_its_checkpoint_and_a_changed_proof_is_refused() {
        let txid = TxId([7; 32]);
        let signer = NoteSigner::new("node", &[1; 32]).unwrap();
        let body = CheckpointBody {
            origin: "node".into(),
            number: 4,
            size: 1,
            log_root: tlog::leaf_hash(&txid.0),
            map_root: map::EMPTY,
            time_ms: 1_700_000_000_000,
            previous: [0; 32],
        };
        let note = signer.sign(body).unwrap().note().clone();
        let bytes = encode(&InclusionProof { note, txid: txid.to_bytes(), sequence: 0, path: Bytes::new() });
        let fact = facts::inclusion(&bytes, signer.verifier(), txid).unwrap();
        let object = fact.json();
        assert_eq!(object["verified"], true);
        assert_eq!((&object["checkpoint"]["number"], &object["checkpoint"]["size"]), (&json!(4), &json!(1)));
        assert_eq!(object["txid"], txid.to_string());
        assert!(facts::inclusion(&bytes, signer.verifier(), TxId([8; 32])).is_err());
        let mut changed = bytes.to_vec();
        changed[20] ^= 1;
        assert!(facts::inclusion(&changed.into(), signer.verifier(), txid).is_err());
    }
}
