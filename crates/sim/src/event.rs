use eschaton_core::{RecordId, TopicPartition};

/// What the trace tells. Its hash says whether two runs were one.
#[derive(Debug, Hash)]
pub(crate) enum Event {
    Append {
        to: TopicPartition,
        offset: u64,
        id: Option<RecordId>,
        payload: u64,
    },
    Claim {
        group: String,
        epoch: u64,
    },
    Commit {
        group: String,
        at: TopicPartition,
        next: u64,
    },
    Fenced {
        group: String,
    },
    Torn {
        group: String,
        records: usize,
    },
    TornAppend {
        published: usize,
    },
    /// A transaction ended and left nothing but used offsets.
    Aborted {
        group: String,
        records: usize,
    },
    /// A transaction's owner does not know how it ends.
    LeftOpen {
        group: String,
    },
    LogUnavailable {
        applied: bool,
    },
    Apply {
        worker: String,
        sequence: u64,
        rows: usize,
        late: bool,
    },
    StoreUnavailable {
        applied: bool,
    },
    /// A write of rows arrived.
    Landed {
        worker: String,
        stamp: u64,
        rows: usize,
        overridden: usize,
    },
    /// A batch of the trees that was left half-written is written whole.
    Completed {
        worker: String,
        sequence: u64,
    },
    Spawn {
        task: u64,
        part: String,
    },
    End {
        task: u64,
        how: String,
    },
    Crash {
        task: u64,
    },
    MachineCrash {
        batches_lost: usize,
    },
    Takeover {
        part: String,
    },
    /// One that was taken over takes its partition back.
    Rival {
        part: String,
    },
    Quiet {
        round: u64,
    },
}

impl Event {
    /// What is counted of it.
    pub(crate) fn counted(&self) -> Option<&'static str> {
        Some(match self {
            Self::Fenced { .. } => "fenced commits",
            Self::Torn { .. } => "torn commits",
            Self::TornAppend { .. } => "torn appends",
            Self::Aborted { records: 1.., .. } => "aborted transactions",
            Self::LeftOpen { .. } => "transactions left open",
            Self::Landed { overridden: 1.., .. } => "overridden rows",
            Self::Completed { .. } => "completed trees",
            Self::LogUnavailable { applied: true } => "log unsure",
            Self::LogUnavailable { applied: false } => "log refused",
            Self::Apply { late: true, .. } => "late batches",
            Self::StoreUnavailable { applied: true } => "store unsure",
            Self::StoreUnavailable { applied: false } => "store refused",
            Self::Crash { .. } => "worker crashes",
            Self::MachineCrash { .. } => "machine crashes",
            Self::Takeover { .. } => "takeovers",
            Self::Rival { .. } => "taken back",
            _ => return None,
        })
    }
}
