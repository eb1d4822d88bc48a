//! Results: a table for people, JSON for machines.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// What one run of scenario `payments` found.
#[derive(Serialize, Clone, Debug, Default)]
pub(crate) struct Payments {
    pub(crate) scenario: &'static str,
    /// Closed loop.
    pub(crate) accepted_per_s: f64,
    /// BIP 340 verifications per second on all cores, mean of before and after.
    pub(crate) bound_per_s: f64,
    pub(crate) ratio: f64,
    /// Open loop at half of `accepted_per_s`.
    pub(crate) half_load_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    /// Of the node's process, closed loop.
    pub(crate) cpu_us_per_payment: f64,
    /// Of the node's process at the end of the closed loop, and the most it ever was.
    pub(crate) rss_mib: f64,
    pub(crate) rss_max_mib: f64,
    /// Open loop at three times `accepted_per_s`.
    pub(crate) overload_offered_per_s: f64,
    pub(crate) overload_accepted_per_s: f64,
    pub(crate) overload_goodput_ratio: f64,
    pub(crate) overload_refused: u64,
    pub(crate) overload_rss_mib: f64,
    /// Live outputs before the payments.
    pub(crate) outputs_before: u64,
    /// A second start on the same data, until it serves.
    pub(crate) restart_s: f64,
    pub(crate) seconds: f64,
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) commit: String,
    pub(crate) command: String,
}

impl Payments {
    pub(crate) fn print(&self) {
        table(&[
            ("accepted, closed loop", format!("{:.0}/s", self.accepted_per_s)),
            ("bound (BIP 340 verifications)", format!("{:.0}/s on {} cores", self.bound_per_s, self.cores)),
            ("ratio", format!("{:.3}", self.ratio)),
            (
                "latency at half load",
                format!(
                    "p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.1} ms at {:.0}/s",
                    self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms, self.half_load_per_s
                ),
            ),
            (
                "overload",
                format!(
                    "offered {:.0}/s, accepted {:.0}/s ({:.2} of the most), {} refused, {:.0} MiB",
                    self.overload_offered_per_s,
                    self.overload_accepted_per_s,
                    self.overload_goodput_ratio,
                    self.overload_refused,
                    self.overload_rss_mib
                ),
            ),
            ("node's CPU per payment", format!("{:.1} us", self.cpu_us_per_payment)),
            ("node's memory", format!("{:.0} MiB, at most {:.0} MiB", self.rss_mib, self.rss_max_mib)),
            ("live outputs before", self.outputs_before.to_string()),
            ("restart until it serves", format!("{:.2} s", self.restart_s)),
            ("acknowledged / lost", format!("{} / {}", self.acknowledged, self.lost)),
        ]);
    }
}

/// For people.
pub(crate) fn table(rows: &[(&str, String)]) {
    println!();
    for (what, value) in rows {
        println!("  {what:<32} {value}");
    }
}

/// For machines.
pub(crate) fn write(path: &Path, result: &impl Serialize) -> anyhow::Result<()> {
    let written = std::fs::write(path, serde_json::to_vec_pretty(result)?);
    written.with_context(|| format!("{} cannot be written; name another with --json", path.display()))
}

/// Processor's name and the checkout's commit, for the record.
pub(crate) fn machine() -> (String, String) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("model name").map(str::to_owned)))
        .map_or_else(String::new, |line| line.trim_start_matches([' ', '\t', ':']).to_owned());
    let commit = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(String::new, |text| text.trim().to_owned());
    (cpu, commit)
}
