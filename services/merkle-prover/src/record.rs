//! Between the log's messages and the trees' words.

use bytes::{BufMut, Bytes, BytesMut};
use eschaton_core::{CoreError, Table};
use eschaton_merkle::Entry;
use eschaton_proof::CheckpointBody;
use eschaton_types::pb::log::{Checkpoint, Decision, State};
use eschaton_types::{OutPoint, TxId};
use prost::Message;

/// Key of the prover's own `WorkerRow` in table `trees`.
pub(crate) const WORKER_KEY: &[u8] = b"W";

/// Key of a checkpoint's row in table `trees`.
pub(crate) fn checkpoint_key(number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(b'C');
    key.put_u64(number);
    key.freeze()
}

/// What a decision adds to the trees: nothing, unless it accepts for the first time.
pub(crate) fn entry(payload: Bytes) -> Result<Option<Entry>, CoreError> {
    let damaged = |detail: String| CoreError::Input { detail };
    let decision = Decision::decode(payload).map_err(|error| damaged(error.to_string()))?;
    if decision.state() != State::Accepted || decision.repeated_answer {
        return Ok(None);
    }
    let txid = |bytes: &[u8]| TxId::from_slice(bytes, "txid").map_err(|error| damaged(error.to_string()));
    let narrow = |number: u32| u16::try_from(number).map_err(|error| damaged(error.to_string()));
    Ok(Some(Entry {
        txid: txid(&decision.txid)?,
        outputs: narrow(decision.outputs)?,
        spends: decision
            .spends
            .iter()
            .map(|spend| Ok(OutPoint { txid: txid(&spend.txid)?, index: narrow(spend.index)? }))
            .collect::<Result<_, CoreError>>()?,
    }))
}

/// The text form's body of a checkpoint record.
pub(crate) fn body(origin: &str, record: &Checkpoint) -> Result<CheckpointBody, CoreError> {
    let hash = |bytes: &[u8]| {
        <[u8; 32]>::try_from(bytes).map_err(|_| CoreError::Row {
            table: Table::Trees.name(),
            detail: format!("checkpoint {} has a hash of {} bytes", record.number, bytes.len()),
        })
    };
    Ok(CheckpointBody {
        origin: origin.to_owned(),
        number: record.number,
        size: record.size,
        log_root: hash(&record.log_root)?,
        map_root: hash(&record.map_root)?,
        time_ms: record.time_ms,
        previous: if record.previous.is_empty() { [0; 32] } else { hash(&record.previous)? },
    })
}
