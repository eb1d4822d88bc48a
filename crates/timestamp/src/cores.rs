//! Stampers and the anchorer as cores of the log: their inputs, their rows' tables, and what they publish.

use std::cell::RefCell;

use bytes::Bytes;
use eschaton_core::{Core, CoreError, Effect, Keys, LogTime, Rows, Topic, TopicPartition, Undeclared};
use eschaton_types::pb::log as pb;
use eschaton_types::pb::log::stamp_event::Kind;

use crate::rows::{RowChange, encode, table};
use crate::stamper::Placed;
use crate::{AnchorInput, Anchored, Anchorer, StampInput, Stamped, Stamper, TimestampError};

const ANCHORS: TopicPartition = TopicPartition { topic: Topic::Anchors, partition: 0 };
const ANCHOR_EVENTS: TopicPartition = TopicPartition { topic: Topic::AnchorEvents, partition: 0 };

impl From<TimestampError> for CoreError {
    fn from(error: TimestampError) -> Self {
        match error {
            TimestampError::Record { detail } => Self::Input { detail },
            TimestampError::Invariant { id, detail } => Self::Invariant { id, detail },
            TimestampError::MissingRow { .. } | TimestampError::CorruptRow { .. } => {
                Self::Row { table: "timestamps", detail: error.to_string() }
            }
            other => Self::Input { detail: other.to_string() },
        }
    }
}

impl Core for Stamper {
    type Input = StampInput;

    fn decode(&self, payload: &Bytes) -> Result<StampInput, CoreError> {
        Ok(StampInput::decode(payload)?)
    }

    fn touches(&self, input: &StampInput, keys: &mut Keys) {
        // Decoding has refused what has no key.
        for key in Stamper::touches(self, input).unwrap_or_default() {
            keys.add(table(&key), key);
        }
    }

    fn step(
        &mut self,
        rows: &mut Rows,
        _offset: u64,
        now: LogTime,
        input: StampInput,
    ) -> Result<Vec<Effect>, CoreError> {
        let Stamped { changes, placed, closed } =
            reading(rows, |read| Stamper::step(self, read, now, &input))?;
        write(rows, changes);
        let to = TopicPartition { topic: Topic::Stamped, partition: self.shard() };
        let event = |kind| encode(&pb::StampEvent { kind: Some(kind) });
        let mut effects = Vec::with_capacity(1 + 2 * closed.len());
        if let StampInput::Digests(items) = &input
            && let Some(first) = items.first()
        {
            let ticket = Bytes::copy_from_slice(&first.nonce);
            let kind = Kind::Placed(pb::Placed { ticket, runs: runs(&placed) });
            effects.push(Effect { to, payload: event(kind) });
        }
        for closed in closed {
            let kind = pb::anchor_input::Kind::Closed(closed.clone());
            effects.push(Effect { to: ANCHORS, payload: encode(&pb::AnchorInput { kind: Some(kind) }) });
            effects.push(Effect { to, payload: event(Kind::Closed(closed)) });
        }
        Ok(effects)
    }
}

impl Core for Anchorer {
    type Input = AnchorInput;

    fn decode(&self, payload: &Bytes) -> Result<AnchorInput, CoreError> {
        Ok(AnchorInput::decode(payload)?)
    }

    /// What it needs is in memory.
    fn touches(&self, _: &AnchorInput, _: &mut Keys) {}

    fn step(
        &mut self,
        rows: &mut Rows,
        _offset: u64,
        now: LogTime,
        input: AnchorInput,
    ) -> Result<Vec<Effect>, CoreError> {
        let Anchored { changes, events } = Anchorer::step(self, now, &input)?;
        write(rows, changes);
        Ok(events.iter().map(|event| Effect { to: ANCHOR_EVENTS, payload: encode(event) }).collect())
    }
}

/// Runs a step over declared rows; one that reads others fails.
fn reading<T>(
    rows: &Rows,
    step: impl FnOnce(crate::rows::Rows<'_>) -> Result<T, TimestampError>,
) -> Result<T, CoreError> {
    let undeclared: RefCell<Option<Undeclared>> = RefCell::new(None);
    let read = |key: &[u8]| match rows.get(table(key), &Bytes::copy_from_slice(key)) {
        Ok(value) => value.cloned(),
        Err(error) => {
            undeclared.replace(Some(error));
            None
        }
    };
    let stepped = step(&read);
    match undeclared.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(stepped?),
    }
}

fn write(rows: &mut Rows, changes: Vec<RowChange>) {
    for (key, value) in changes {
        rows.put(table(&key), key, value);
    }
}

/// Places in order, neighbours together.
fn runs(placed: &[Placed]) -> Vec<pb::PlacedRun> {
    let mut runs: Vec<pb::PlacedRun> = Vec::with_capacity(1);
    for Placed { place, repeated } in placed {
        match runs.last_mut() {
            Some(run)
                if run.interval == place.interval
                    && run.index + run.count == place.index
                    && run.repeated == *repeated =>
            {
                run.count += 1;
            }
            _ => runs.push(pb::PlacedRun {
                interval: place.interval,
                index: place.index,
                count: 1,
                repeated: *repeated,
            }),
        }
    }
    runs
}
