//! `eschaton verify`: check a timestamp, a proof without any node, or a ledger's state against its log.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use eschaton_proof::PROOF_BYTES_MAX;
use eschaton_types::{OutPoint, TxId};
use serde_json::json;

use super::{facts, ots, state};
use crate::out::Out;
use crate::session::LightArgs;

/// `eschaton verify …`
#[derive(Args, Debug)]
#[command(
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  eschaton verify contract.pdf.ots --headers headers.bin\n  eschaton verify ./archive --bitcoin-rpc http://127.0.0.1:8332 --bitcoin-rpc-cookie ~/.bitcoin/.cookie --upgrade --write\n\nA timestamp is checked against block headers, from a file or a node. Without --upgrade nobody but that node is asked. Exit status: 0 all are proven, 1 one is wrong or could not be checked, 3 none is wrong and some are promises still.\nJSON, a line for each timestamp: {\"file\",\"ots\",\"result\",\"problem\",\"pending\",\"upgraded\",\"written\",\"chain\",\"height\",\"time_ms\",\"confirmations\",\"complete\",\"headers\"}; result is verified, pending, unchecked or refused"
)]
pub(crate) struct VerifyCommand {
    #[command(flatten)]
    ots: ots::OtsArgs,
    #[command(flatten)]
    light: LightArgs,
    /// The proof, as `eschaton prove --out` wrote it
    #[arg(long, global = true, value_name = "FILE")]
    proof: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<VerifyTask>,
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
    match &command.task {
        None => runtime()?.block_on(ots::perform(command.ots, out)),
        Some(VerifyTask::State(args)) => runtime()?.block_on(state::perform(args, out)),
        Some(_) => proof(command, out),
    }
}

fn proof(command: VerifyCommand, out: Out) -> anyhow::Result<()> {
    let path = command.proof.context("no proof is given; name its file with --proof")?;
    let key = command.light.key()?;
    let bytes = read(&path)?;
    let fact = match command.task {
        Some(VerifyTask::Inclusion { txid }) => facts::inclusion(&bytes, &key, txid),
        Some(VerifyTask::Output { outpoint }) => facts::output(&bytes, &key, outpoint),
        Some(VerifyTask::Consistency) => facts::consistency(&bytes, &key),
        Some(VerifyTask::State(_)) | None => bail!("there is no proof of that kind; this is a defect"),
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
