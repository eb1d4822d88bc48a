use eschaton_ledger::LedgerConfig;

/// What a resolver is set to. All replicas of one installation use the same values.
#[derive(Clone, Copy, Debug)]
pub struct ResolverConfig {
    /// Shards of the installation.
    pub shards: u32,
    /// Conflict window, ms of log time; 0 accepts the first at once.
    pub window_ms: u64,
    /// How often to look whether a shard waits for log time, ms.
    pub tick_ms: u64,
    /// Bytes of written rows that each shard's worker remembers.
    pub cache_bytes: usize,
    /// Least time from one turn of a shard to the next, ms; 0: none.
    pub turn_ms: u64,
    /// Least time from one write of a shard's rows to the next, ms; 0: none.
    pub write_ms: u64,
}

impl ResolverConfig {
    /// Sound values for engines in the same process.
    pub fn new(shards: u32, window_ms: u64) -> Self {
        Self { shards, window_ms, tick_ms: 20, cache_bytes: 0, turn_ms: 0, write_ms: 0 }
    }

    /// The core's settings for one shard.
    pub fn ledger(&self, shard: u32) -> LedgerConfig {
        let sound = LedgerConfig::new(shard, self.shards);
        let window_max_ms = sound.window_max_ms.max(self.window_ms.saturating_mul(4));
        // Every shard of a transaction runs its own window, one after the other, before it grants.
        let windows = if self.window_ms == 0 { 0 } else { window_max_ms.saturating_mul(self.shards.into()) };
        let reserve_ms = sound.reserve_ms.saturating_add(windows);
        LedgerConfig { window_ms: self.window_ms, window_max_ms, reserve_ms, ..sound }
    }
}
