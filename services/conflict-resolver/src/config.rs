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
}

impl ResolverConfig {
    /// The core's settings for one shard.
    pub fn ledger(&self, shard: u32) -> LedgerConfig {
        let sound = LedgerConfig::new(shard, self.shards);
        LedgerConfig {
            window_ms: self.window_ms,
            window_max_ms: sound.window_max_ms.max(self.window_ms.saturating_mul(4)),
            ..sound
        }
    }
}
