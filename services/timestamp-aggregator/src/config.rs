use eschaton_timestamp::{AnchorerConfig, StamperConfig};

/// What an aggregator is set to. All replicas of one installation use the same values.
#[derive(Clone, Copy, Debug)]
pub struct AggregatorConfig {
    /// Shards of the installation.
    pub shards: u32,
    /// How long an interval is open after its first digest, ms of log time.
    pub interval_ms: u64,
    /// How often to look whether something waits for log time, ms.
    pub tick_ms: u64,
    /// When anchors are made, and how they are followed.
    pub anchorer: AnchorerConfig,
}

impl AggregatorConfig {
    /// A tenth of a second for an interval; anchors as [`AnchorerConfig::new`] has them.
    pub fn new(shards: u32) -> Self {
        Self { shards, interval_ms: 100, tick_ms: 10, anchorer: AnchorerConfig::new(shards) }
    }

    /// The core's settings for one shard.
    pub(crate) fn stamper(&self, shard: u32) -> StamperConfig {
        StamperConfig { interval_ms: self.interval_ms, ..StamperConfig::new(shard) }
    }
}
