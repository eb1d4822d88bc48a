/// What the service is set to.
#[derive(Clone, Copy, Debug)]
pub struct ChainConfig {
    /// Blocks within which an anchor should confirm, 1 to 1,008; what the node's estimate is asked for.
    pub fee_target: u16,
    /// Most that is paid, satoshi for 1,000 virtual bytes; the anchorer's cap.
    pub fee_cap_sat_per_kvb: u64,
    /// Coins that the wallet should have, so that as many anchors can be under way.
    pub coins_wanted: usize,
    /// Least time between two looks at the chain, ms.
    pub pause_ms: u64,
    /// How often the mempool and the fee are asked for between blocks, ms.
    pub ask_ms: u64,
    /// Pause after trouble, ms.
    pub retry_ms: u64,
}

impl ChainConfig {
    /// Within six blocks, four at once.
    pub fn new(fee_cap_sat_per_kvb: u64) -> Self {
        Self {
            fee_target: 6,
            fee_cap_sat_per_kvb,
            coins_wanted: 4,
            pause_ms: 100,
            ask_ms: 30_000,
            retry_ms: 1_000,
        }
    }
}
