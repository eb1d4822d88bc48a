//! P1 and P2: the checkpoints on the log against trees of the checker's own.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use eschaton_core::{Topic, TopicPartition};
use eschaton_driver::Seen;
use eschaton_merkle::{Entry, Prover};
use eschaton_proof::{CheckpointBody, Hash, SignedCheckpoint};
use eschaton_types::pb::log::{Checkpoint, Decision, State};
use eschaton_types::{OutPoint, TxId};

use crate::audit::decode;
use crate::log::LogState;
use crate::world::{Broken, broken};

/// Name of the simulated node.
pub(crate) const ORIGIN: &str = "sim.example/ledger";
/// Where checkpoints stand.
pub(crate) const CHECKPOINTS: TopicPartition = TopicPartition { topic: Topic::Checkpoints, partition: 0 };

/// Trees that follow the log, one checkpoint after the other.
pub(crate) struct TreeAudit {
    trees: Prover,
    rows: HashMap<Bytes, Bytes>,
    seen: Seen,
    positions: Vec<u64>,
    next_record: u64,
    latest: Option<CheckpointBody>,
    /// What was signed, by number.
    signed: BTreeMap<u64, Bytes>,
}

impl TreeAudit {
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            trees: Prover::new(),
            rows: HashMap::new(),
            seen: Seen::default(),
            positions: (0..shards).map(|_| 0).collect(),
            next_record: 0,
            latest: None,
            signed: BTreeMap::new(),
        }
    }

    /// How many transactions the last checkpoint covers.
    pub(crate) fn size(&self) -> u64 {
        self.trees.size()
    }

    /// Number of the last checkpoint.
    pub(crate) fn number(&self) -> Option<u64> {
        self.latest.as_ref().map(|latest| latest.number)
    }

    /// Takes the checkpoints that are new on the log. The first record of each number counts.
    pub(crate) fn follow(&mut self, log: &LogState) -> Result<(), Broken> {
        let end = log.whole_end(CHECKPOINTS);
        let records = log.span(CHECKPOINTS, self.next_record, end).to_vec();
        self.next_record = end;
        for record in records {
            let checkpoint: Checkpoint = decode(&record.payload)?;
            let expected = self.number().map_or(0, |number| number + 1);
            if checkpoint.number > expected {
                return broken("P1", format!("checkpoint {} follows {:?}", checkpoint.number, self.number()));
            }
            if checkpoint.number == expected {
                self.take(log, &checkpoint)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, log: &LogState, checkpoint: &Checkpoint) -> Result<(), Broken> {
        let mut entries = Vec::new();
        for ((partition, from), to) in (0u32..).zip(&mut self.positions).zip(&checkpoint.positions) {
            if *to < *from {
                return broken("P1", format!("checkpoint {} goes back", checkpoint.number));
            }
            for record in log.span(TopicPartition { topic: Topic::Decisions, partition }, *from, *to) {
                if record.id.as_ref().is_some_and(|id| !self.seen.pass(id)) {
                    continue;
                }
                let decision: Decision = decode(&record.payload)?;
                if decision.state() == State::Accepted && !decision.repeated_answer {
                    entries.push(entry(&decision)?);
                }
            }
            *from = *to;
        }
        let changes = self.trees.apply(&entries, &|key| self.rows.get(key).cloned());
        for (key, value) in changes.map_err(|error| Broken { invariant: "P2", detail: error.to_string() })? {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        let roots = self.trees.roots();
        let body = CheckpointBody {
            origin: ORIGIN.to_owned(),
            number: checkpoint.number,
            size: self.trees.size(),
            log_root: roots.log,
            map_root: roots.map,
            time_ms: checkpoint.time_ms,
            previous: self.latest.as_ref().map_or([0; 32], CheckpointBody::hash),
        };
        let previous = if self.latest.is_some() { &body.previous[..] } else { &[] };
        let same = checkpoint.size == body.size
            && checkpoint.log_root == body.log_root[..]
            && checkpoint.map_root == body.map_root[..]
            && checkpoint.previous == previous;
        if !same {
            return broken(
                "P1",
                format!("checkpoint {} is {checkpoint:?}; its decisions make {body:?}", body.number),
            );
        }
        self.latest = Some(body);
        Ok(())
    }

    /// P1: a number is signed for one text only, and only for one that is on the log.
    pub(crate) fn signed(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), Broken> {
        let number = checkpoint.body().number;
        if self.number().is_none_or(|newest| number > newest) {
            return broken("P1", format!("checkpoint {number} is signed before it is on the log"));
        }
        match self.signed.insert(number, checkpoint.note().clone()) {
            Some(before) if before != *checkpoint.note() => {
                broken("P1", format!("checkpoint {number} is signed with two texts"))
            }
            _ => Ok(()),
        }
    }

    /// The roots at the last checkpoint.
    pub(crate) fn log_root(&self) -> Hash {
        self.trees.roots().log
    }
}

fn entry(decision: &Decision) -> Result<Entry, Broken> {
    let txid = |bytes: &[u8]| {
        TxId::from_slice(bytes, "txid")
            .map_err(|error| Broken { invariant: "port", detail: error.to_string() })
    };
    let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Ok(Entry {
        txid: txid(&decision.txid)?,
        outputs: narrow(decision.outputs),
        spends: decision
            .spends
            .iter()
            .map(|spend| Ok(OutPoint { txid: txid(&spend.txid)?, index: narrow(spend.index) }))
            .collect::<Result<_, Broken>>()?,
    })
}
