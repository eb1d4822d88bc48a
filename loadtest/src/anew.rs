//! The offline check, shown.

use eschaton_node::CheckReport;
use indicatif::ProgressBar;

/// Shows on a bar how far the check is.
pub(crate) fn progress(bar: &ProgressBar) -> impl FnMut(u64, u64) {
    |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    }
}

pub(crate) fn print(report: &CheckReport) {
    println!(
        "{} records decided anew, {} published decisions and {} rows compared\n  store  {}\n  replay {}",
        report.records, report.decisions, report.rows, report.store_hash, report.replay_hash
    );
}
