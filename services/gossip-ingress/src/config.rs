use eschaton_types::Rules;

/// What an ingress is set to.
#[derive(Clone, Copy, Debug)]
pub struct IngressConfig {
    /// What it judges by.
    pub rules: Rules,
    /// Shards of the installation.
    pub shards: u32,
    /// Most transactions taken and not decided.
    pub undecided_max: usize,
    /// Most of their bytes.
    pub undecided_bytes_max: usize,
    /// Percent of either that one client may hold while others wait.
    pub client_share_percent: u8,
    /// Outcomes remembered for repeated submissions.
    pub remembered_max: usize,
    /// Most transactions of one batch.
    pub batch_max: usize,
    /// Most batches of one stream at work.
    pub stream_batches_max: usize,
    /// A caller that waits longer for a decision is told PENDING, ms.
    pub answer_ms: u64,
    /// Every n-th submission is traced; 0: none.
    pub trace_one_in: u64,
}

impl IngressConfig {
    /// Sound values.
    pub fn new(rules: Rules, shards: u32) -> Self {
        Self {
            rules,
            shards,
            undecided_max: 16_384,
            undecided_bytes_max: 64 << 20,
            client_share_percent: 50,
            remembered_max: 100_000,
            batch_max: 1_024,
            stream_batches_max: 32,
            answer_ms: 10_000,
            trace_one_in: 0,
        }
    }
}
