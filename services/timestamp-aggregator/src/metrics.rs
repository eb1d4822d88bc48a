//! Names and labels of this service's metrics.

use metrics::describe_gauge;

pub(crate) const OPEN_DIGESTS: &str = "eschaton_stamps_open_digests";
pub(crate) const WAITING_INTERVALS: &str = "eschaton_anchor_waiting_intervals";
pub(crate) const FOLLOWED: &str = "eschaton_anchor_followed";

pub(crate) fn describe() {
    describe_gauge!(OPEN_DIGESTS, "digests in the open interval, by shard");
    describe_gauge!(WAITING_INTERVALS, "intervals that wait for the next anchor");
    describe_gauge!(FOLLOWED, "anchors that are planned and not buried");
}
