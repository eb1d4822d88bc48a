/// What an anchorer is set to. Part of its rules: every owner must use the same values.
#[derive(Clone, Copy, Debug)]
pub struct AnchorerConfig {
    /// Stampers that announce intervals.
    pub shards: u32,
    /// Least time between two anchors, in milliseconds of log time.
    pub anchor_ms: u64,
    /// Most anchors that are in no block and have a transaction, or want one.
    pub in_flight_max: usize,
    /// Most anchors that are followed at all; beyond it none is planned.
    pub followed_max: usize,
    /// Most that is paid, satoshi for 1,000 virtual bytes. Above it the anchorer waits and says so.
    pub fee_cap_sat_per_kvb: u64,
    /// Blocks without confirmation after which the fee is raised.
    pub bump_blocks: u64,
    /// Blocks, its own included, after which an anchor is final.
    pub final_blocks: u64,
    /// Blocks after which a final anchor is followed no longer.
    pub buried_blocks: u64,
    /// No chain carries the anchors, upstream calendars do: nothing is paid, and an anchor is final when one of them
    /// gave its proof.
    pub upstream_only: bool,
}

impl AnchorerConfig {
    /// Ten minutes between anchors, six confirmations, at most 100 satoshi for a virtual byte.
    pub fn new(shards: u32) -> Self {
        Self {
            shards,
            anchor_ms: 600_000,
            in_flight_max: 4,
            followed_max: 1_024,
            fee_cap_sat_per_kvb: 100_000,
            bump_blocks: 1,
            final_blocks: 6,
            buried_blocks: 144,
            upstream_only: false,
        }
    }
}
