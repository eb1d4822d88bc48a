use serde::Serialize;

use crate::report::table;

/// What one run of scenario `cluster` found.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) scenario: &'static str,
    /// Closed loop.
    pub(crate) accepted_per_s: f64,
    /// Payments whose records and rows the engines take by themselves, both at once.
    pub(crate) bound_per_s: f64,
    pub(crate) ratio: f64,
    /// The same with transactions of 1,024 records and batches of as many payments' rows.
    pub(crate) bound_large_batches_per_s: f64,
    /// Sizes of the run, which the bound has too.
    pub(crate) records_of_transaction: usize,
    pub(crate) rows_of_write: usize,
    /// One engine while the other has nothing to do.
    pub(crate) bound_kafka_alone_per_s: f64,
    pub(crate) bound_cql_alone_per_s: f64,
    /// What a payment of the closed loop left in the engines.
    pub(crate) records_per_payment: f64,
    pub(crate) record_bytes_per_payment: f64,
    pub(crate) rows_per_payment: f64,
    /// The prover's, beside them.
    pub(crate) tree_rows_per_payment: f64,
    /// Open loop at half of `accepted_per_s`.
    pub(crate) half_load_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    /// Ids whose states the check for lost ones asked for, a thousand at once.
    pub(crate) lookups_per_s: f64,
    /// Of all our processes, closed loop.
    pub(crate) cpu_us_per_payment: f64,
    /// Of the engines' processes, closed loop; 0 when they are on another machine.
    pub(crate) engines_cpu_us_per_payment: f64,
    /// The same by process, engines last.
    pub(crate) cpu_us_by_process: Vec<Cpu>,
    pub(crate) rss_mib: Vec<Memory>,
    pub(crate) resolvers: usize,
    pub(crate) shards: u32,
    pub(crate) partition_bits: u8,
    /// Live outputs before the payments.
    pub(crate) outputs_before: u64,
    pub(crate) seconds: f64,
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) commit: String,
    pub(crate) command: String,
}

/// Of a process over the closed loop, per accepted payment.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Cpu {
    pub(crate) process: String,
    pub(crate) us: f64,
}

/// Of a process at the end, and the most it ever was.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) service: String,
    pub(crate) rss_mib: f64,
    pub(crate) rss_max_mib: f64,
}

impl Cluster {
    pub(crate) fn print(&self) {
        let by_process = self.cpu_us_by_process.iter().map(|cpu| format!("{} {:.0}", cpu.process, cpu.us));
        let memory = self.rss_mib.iter().map(|memory| {
            format!("{} {:.0} (at most {:.0})", memory.service, memory.rss_mib, memory.rss_max_mib)
        });
        table(&[
            (
                "accepted, closed loop",
                format!("{:.0}/s, {} resolvers, {} shards", self.accepted_per_s, self.resolvers, self.shards),
            ),
            (
                "bound (engines by themselves)",
                format!(
                    "{:.0}/s on {} cores with {} records a transaction, {} rows a write; Kafka alone {:.0}/s, CQL alone \
                     {:.0}/s; both with large ones {:.0}/s",
                    self.bound_per_s,
                    self.cores,
                    self.records_of_transaction,
                    self.rows_of_write,
                    self.bound_kafka_alone_per_s,
                    self.bound_cql_alone_per_s,
                    self.bound_large_batches_per_s
                ),
            ),
            ("ratio", format!("{:.3}", self.ratio)),
            (
                "a payment in the engines",
                format!(
                    "{:.2} records of {:.0} bytes together, {:.2} rows and {:.2} of the trees",
                    self.records_per_payment,
                    self.record_bytes_per_payment,
                    self.rows_per_payment,
                    self.tree_rows_per_payment
                ),
            ),
            (
                "latency at half load",
                format!(
                    "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.0} ms at {:.0}/s",
                    self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms, self.half_load_per_s
                ),
            ),
            ("services' CPU per payment", format!("{:.0} us", self.cpu_us_per_payment)),
            ("engines' CPU per payment", format!("{:.0} us", self.engines_cpu_us_per_payment)),
            ("CPU by process, us", by_process.collect::<Vec<_>>().join(", ")),
            ("memory, MiB", memory.collect::<Vec<_>>().join(", ")),
            ("live outputs before", self.outputs_before.to_string()),
            ("acknowledged / lost", format!("{} / {}", self.acknowledged, self.lost)),
            ("states looked up", format!("{:.0}/s", self.lookups_per_s)),
        ]);
    }
}
