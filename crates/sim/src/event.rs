use eschaton_core::{RecordId, TopicPartition};

/// What the trace tells. Its hash says whether two runs were one.
#[derive(Debug, Hash)]
pub(crate) enum Event {
    Append { to: TopicPartition, offset: u64, id: Option<RecordId>, payload: u64 },
    Claim { group: String, epoch: u64 },
    Commit { group: String, at: TopicPartition, next: u64 },
    Fenced { group: String },
    Torn { group: String, records: usize },
    LogUnavailable { applied: bool },
    Apply { worker: String, sequence: u64, rows: usize, late: bool },
    StoreUnavailable { applied: bool },
    Spawn { task: u64, part: String },
    End { task: u64, how: String },
    Crash { task: u64 },
    MachineCrash { batches_lost: usize },
    Takeover { part: String },
    Quiet { round: u64 },
}
