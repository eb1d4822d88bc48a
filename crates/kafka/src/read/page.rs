//! What one read gives.

use eschaton_ports::LogRecord;

/// Records in order, bounded by number and bytes; the first one always fits.
pub(super) struct Page {
    pub(super) records: Vec<LogRecord>,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl Page {
    pub(super) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self { records: Vec::new(), bytes: 0, max_records, max_bytes }
    }

    /// Whether another record of so many bytes fits.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.records.is_empty()
            || (self.records.len() < self.max_records && self.bytes.saturating_add(bytes) <= self.max_bytes)
    }

    /// Takes a record that fits.
    pub(super) fn take(&mut self, record: LogRecord) {
        self.bytes = self.bytes.saturating_add(record.payload.len());
        self.records.push(record);
    }

    /// Whether nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= self.max_records || (!self.records.is_empty() && self.bytes >= self.max_bytes)
    }
}
