use std::collections::BTreeMap;

use bytes::Bytes;
use eschaton_core::{Core, CoreError, Effect, Keys, LogTime, RecordId, Rows, Table, TopicPartition};
use eschaton_ports::{LogRecord, NewRecord, StoreError};

/// Records of one batch, decoded, with the rows that they may read. Worker and replay take the same way.
pub(crate) struct Batch<I> {
    inputs: Vec<(LogRecord, I)>,
    keys: Keys,
}

impl<I: Send> Batch<I> {
    /// Leaves out the records whose ids `repeated` knows.
    pub(crate) fn decode<C: Core<Input = I>>(
        core: &C,
        records: Vec<LogRecord>,
        mut repeated: impl FnMut(&RecordId) -> bool,
    ) -> Result<Self, CoreError> {
        let mut batch = Self { inputs: Vec::with_capacity(records.len()), keys: Keys::default() };
        for record in records {
            if record.id.as_ref().is_some_and(&mut repeated) {
                continue;
            }
            let input = core.decode(&record.payload)?;
            core.touches(&input, &mut batch.keys);
            batch.inputs.push((record, input));
        }
        Ok(batch)
    }

    pub(crate) fn len(&self) -> usize {
        self.inputs.len()
    }

    /// The declared rows that `overlay` knows, and what is missing of them.
    pub(crate) fn known(
        &mut self,
        mut overlay: impl FnMut(&(Table, Bytes)) -> Option<Option<Bytes>>,
    ) -> (Rows, Missing) {
        let mut rows = Rows::default();
        let mut missing = Missing::default();
        for at in std::mem::take(&mut self.keys).into_inner() {
            match overlay(&at) {
                Some(value) => rows.provide(at.0, at.1, value),
                None => missing.0.entry(at.0).or_default().push(at.1),
            }
        }
        (rows, missing)
    }

    /// Steps the core over the inputs in order and hands out what should happen.
    pub(crate) fn step<C: Core<Input = I>>(
        self,
        core: &mut C,
        rows: &mut Rows,
        mut now: impl FnMut(&LogRecord) -> LogTime,
        mut done: impl FnMut(&LogRecord, LogTime, Vec<Effect>),
    ) -> Result<(), CoreError> {
        for (record, input) in self.inputs {
            let now = now(&record);
            let effects = core.step(rows, record.offset, now, input)?;
            done(&record, now, effects);
        }
        Ok(())
    }
}

/// A record's effects as they are published: each with an id that a repetition will give it again.
pub(crate) fn published(
    source: TopicPartition,
    record: &LogRecord,
    now: LogTime,
    effects: Vec<Effect>,
) -> impl Iterator<Item = NewRecord> {
    let (offset, trace) = (record.offset, record.trace);
    (0u32..).zip(effects).map(move |(index, effect)| NewRecord {
        to: effect.to,
        at_ms: now,
        id: Some(RecordId { source, offset, index }),
        trace,
        payload: effect.payload,
    })
}

/// Declared rows that only the store can give.
#[derive(Default)]
pub(crate) struct Missing(BTreeMap<Table, Vec<Bytes>>);

impl Missing {
    /// Gets them, a table at a time.
    pub(crate) async fn fetch(
        self,
        rows: &mut Rows,
        get: impl AsyncFn(Table, &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError>,
    ) -> Result<(), StoreError> {
        for (table, keys) in self.0 {
            let values = get(table, &keys).await?;
            for (key, value) in keys.into_iter().zip(values) {
                rows.provide(table, key, value);
            }
        }
        Ok(())
    }
}
