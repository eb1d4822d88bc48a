use std::collections::BTreeMap;

use bytes::Bytes;
use eschaton_core::{Core, CoreError, Effect, Keys, LogTime, RecordId, Rows, Table};
use eschaton_ports::{LogRecord, StoreError};

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

    /// Gets the declared rows: from `overlay` what it knows, the rest from the store, a table at a time.
    pub(crate) async fn fetch(
        &mut self,
        overlay: impl Fn(&(Table, Bytes)) -> Option<Option<Bytes>>,
        get: impl AsyncFn(Table, &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError>,
    ) -> Result<Rows, StoreError> {
        let mut rows = Rows::default();
        let mut by_table: BTreeMap<Table, Vec<Bytes>> = BTreeMap::new();
        for at in std::mem::take(&mut self.keys).into_inner() {
            match overlay(&at) {
                Some(value) => rows.provide(at.0, at.1, value),
                None => by_table.entry(at.0).or_default().push(at.1),
            }
        }
        for (table, keys) in by_table {
            let values = get(table, &keys).await?;
            for (key, value) in keys.into_iter().zip(values) {
                rows.provide(table, key, value);
            }
        }
        Ok(rows)
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
