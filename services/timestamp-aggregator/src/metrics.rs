//! Names and labels of this service's metrics.

use metrics::{describe_counter, describe_gauge, describe_histogram};

pub(crate) const OPEN_DIGESTS: &str = "eschaton_stamps_open_digests";
pub(crate) const WAITING: &str = "eschaton_stamps_waiting_digests";
pub(crate) const STAMPED: &str = "eschaton_stamps_acknowledged_total";
pub(crate) const REFUSED: &str = "eschaton_stamps_refused_total";
pub(crate) const STAMP_SECONDS: &str = "eschaton_stamp_seconds";
pub(crate) const CONNECTIONS: &str = "eschaton_calendar_connections";
pub(crate) const TURNED_AWAY: &str = "eschaton_calendar_turned_away_total";
pub(crate) const WAITING_INTERVALS: &str = "eschaton_anchor_waiting_intervals";
pub(crate) const FOLLOWED: &str = "eschaton_anchor_followed";

pub(crate) fn describe() {
    describe_gauge!(OPEN_DIGESTS, "digests in the open interval, by shard");
    describe_gauge!(WAITING, "digests taken and not acknowledged yet");
    describe_counter!(STAMPED, "digests acknowledged");
    describe_counter!(REFUSED, "submissions turned away for want of room");
    describe_histogram!(STAMP_SECONDS, "from taking a submission to its answer");
    describe_gauge!(CONNECTIONS, "connections of the HTTP calendar");
    describe_counter!(TURNED_AWAY, "connections of the HTTP calendar that were turned away");
    describe_gauge!(WAITING_INTERVALS, "intervals that wait for the next anchor");
    describe_gauge!(FOLLOWED, "anchors that are planned and not buried");
}
