use eschaton_ledger::LedgerConfig;

use crate::dice::Dice;

/// What one seed's world is like. Each kind of fault is on or off by itself ("swarm testing"): a world
/// with every fault at once never gets far enough to meet the rare ones.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) shards: u32,
    pub(crate) window_ms: u64,
    pub(crate) wait_ms: u64,
    pub(crate) reserve_ms: u64,
    pub(crate) pending_max: usize,
    pub(crate) contenders_max: usize,
    pub(crate) batch_records: usize,
    pub(crate) changes_bytes: usize,
    pub(crate) tick_ms: u64,
    pub(crate) checkpoint_ms: u64,
    pub(crate) checkpoint_decisions: usize,
    /// Rounds of work, each ended by a quiet point with full checks.
    pub(crate) rounds: u64,
    pub(crate) transactions: u64,
    pub(crate) clients: u64,
    pub(crate) conflicts_percent: u64,
    pub(crate) several_owners_percent: u64,
    pub(crate) chains_percent: u64,
    pub(crate) odd_percent: u64,
    pub(crate) repeats_percent: u64,
    /// Most submissions of one append.
    pub(crate) append_max: u64,
    /// Commits are transactions, as in a cluster; otherwise one write.
    pub(crate) transactional: bool,
    /// When a transaction that nobody ends is aborted.
    pub(crate) transaction_ms: u64,
    /// The store writes a batch's rows one by one, as in a cluster; otherwise at once.
    pub(crate) rows_singly: bool,
    pub(crate) faults: Faults,
    /// Of each worker's cache of rows.
    pub(crate) cache_bytes: usize,
    /// Of each shard's turns and writes; see the driver's limits.
    pub(crate) turn_ms: u64,
    pub(crate) write_ms: u64,
}

/// In parts per million: of polls for crashes, of operations for ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) crash: u64,
    pub(crate) machine_crash: u64,
    pub(crate) takeover: u64,
    pub(crate) log_refused: u64,
    pub(crate) log_unsure: u64,
    pub(crate) log_torn: u64,
    pub(crate) store_refused: u64,
    pub(crate) store_unsure: u64,
    /// Of the store's single writes.
    pub(crate) write_late: u64,
    pub(crate) write_lost: u64,
    /// Of workers that hear that they were taken over.
    pub(crate) rival: u64,
    pub(crate) slow: u64,
    pub(crate) duplicate: u64,
    pub(crate) clock_step: u64,
    pub(crate) skew_ms: u64,
    /// Longest time that a worker stays away after a crash.
    pub(crate) away_ms: u64,
    /// Most polls that an operation stays pending, before and after its effect each.
    pub(crate) polls_max: u64,
}

impl Profile {
    pub(crate) fn from(dice: &mut Dice) -> Self {
        let window_ms = if dice.percent(60) { 0 } else { dice.between(5, 200) };
        Self {
            shards: u32::try_from(dice.between(1, 4)).unwrap_or(1),
            window_ms,
            wait_ms: dice.between(200, 3_000),
            reserve_ms: dice.between(50, 2_000),
            pending_max: dice.pick(&[8, 30, 1_000, 1_000, 1_000], 1_000),
            contenders_max: dice.pick(&[2, 4, 8, 8], 8),
            batch_records: dice.pick(&[1, 2, 4, 8, 16, 1_024], 8),
            changes_bytes: dice.pick(&[200, 1_500, 2 << 20, 2 << 20], 2 << 20),
            tick_ms: dice.between(10, 100),
            checkpoint_ms: dice.between(1, 200),
            checkpoint_decisions: dice.pick(&[3, 10, 1_000], 1_000),
            rounds: dice.between(1, 2),
            transactions: dice.between(15, 60),
            clients: dice.between(1, 4),
            conflicts_percent: dice.pick(&[0, 15, 40, 70], 15),
            several_owners_percent: dice.pick(&[10, 40, 80], 40),
            chains_percent: dice.pick(&[0, 20, 60], 20),
            odd_percent: dice.pick(&[0, 10, 30], 10),
            repeats_percent: dice.pick(&[0, 20, 60], 20),
            append_max: dice.pick(&[1, 1, 3, 8], 1),
            transactional: dice.percent(60),
            transaction_ms: dice.pick(&[100, 1_000, 10_000], 1_000),
            rows_singly: dice.percent(60),
            faults: Faults::from(dice),
            cache_bytes: dice.pick(&[0, 1_000, 10_000, 16 << 20], 10_000),
            turn_ms: 0,
            write_ms: 0,
        }
    }
}

impl Profile {
    /// In a quarter of the seeds workers rest between turns and gather rows, as in a cluster.
    pub(crate) fn paced(mut self, dice: &mut Dice) -> Self {
        if dice.percent(25) {
            self.turn_ms = dice.pick(&[0, 20, 100], 20);
            self.write_ms = dice.pick(&[0, 50, 500], 50);
        }
        self
    }

    pub(crate) fn ledger(&self, shard: u32) -> LedgerConfig {
        LedgerConfig {
            shard,
            shards: self.shards,
            window_ms: self.window_ms,
            window_max_ms: self.window_ms * 4,
            wait_ms: self.wait_ms,
            reserve_ms: self.reserve_ms,
            pending_max: self.pending_max,
            contenders_max: self.contenders_max,
        }
    }
}

impl Faults {
    fn from(dice: &mut Dice) -> Self {
        let mut some = |often: &[u64]| if dice.percent(50) { dice.pick(often, 0) } else { 0 };
        Self {
            crash: some(&[500, 3_000, 15_000]),
            machine_crash: some(&[100, 500, 2_000]),
            takeover: some(&[200, 1_000, 5_000]),
            log_refused: some(&[5_000, 30_000]),
            log_unsure: some(&[5_000, 30_000, 80_000]),
            log_torn: some(&[10_000, 60_000, 150_000]),
            store_refused: some(&[5_000, 50_000]),
            store_unsure: some(&[5_000, 50_000]),
            write_late: some(&[5_000, 50_000, 150_000]),
            write_lost: some(&[5_000, 50_000]),
            rival: some(&[200_000, 500_000]),
            slow: some(&[2_000, 10_000]),
            duplicate: some(&[500, 3_000, 10_000]),
            clock_step: some(&[500, 5_000]),
            skew_ms: some(&[20, 300, 2_000]),
            away_ms: some(&[20, 300, 1_500]),
            polls_max: some(&[1, 3, 8]),
        }
    }
}
