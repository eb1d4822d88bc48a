/// What a prover is set to.
#[derive(Clone, Debug)]
pub struct ProverConfig {
    /// Shards of the installation.
    pub shards: u32,
    /// Origin line of its checkpoints and name of its key (C2SP signed-note).
    pub origin: String,
    /// Shortest time between two checkpoints, ms.
    pub interval_ms: u64,
    /// Most decisions of one partition in one checkpoint.
    pub decisions_max: usize,
    /// Most requests that wait.
    pub requests_max: usize,
}

impl ProverConfig {
    /// Sound values.
    pub fn new(shards: u32, origin: String) -> Self {
        Self { shards, origin, interval_ms: 100, decisions_max: 16_384, requests_max: 1_024 }
    }
}
