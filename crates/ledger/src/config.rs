/// What a shard's ledger is set to. Part of the ledger's rules: every owner of a shard must use the
/// same values, or replay would decide differently.
#[derive(Clone, Copy, Debug)]
pub struct LedgerConfig {
    /// This shard.
    pub shard: u32,
    /// How many there are; fixed at installation.
    pub shards: u32,
    /// How long a contender may appear before a transaction is accepted, in milliseconds of log time.
    /// 0 accepts the first at once (a hub's own customers).
    pub window_ms: u64,
    /// The longest that near ties may extend the window to, in milliseconds.
    pub window_max_ms: u64,
    /// How long a transaction may wait for inputs that are not known yet.
    pub wait_ms: u64,
    /// How long a coordinator waits for other shards before it releases everything.
    pub reserve_ms: u64,
    /// Most undecided transactions of this shard.
    pub pending_max: usize,
    /// Most contenders kept for one output.
    pub contenders_max: usize,
}

impl LedgerConfig {
    /// Sound values for one shard: no window, half a minute for inputs and for other shards.
    pub fn new(shard: u32, shards: u32) -> Self {
        Self {
            shard,
            shards,
            window_ms: 0,
            window_max_ms: 5_000,
            wait_ms: 30_000,
            reserve_ms: 30_000,
            pending_max: 10_000,
            contenders_max: 8,
        }
    }
}
