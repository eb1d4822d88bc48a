use std::sync::Arc;

use eschaton_core::{Topic, TopicPartition};
use eschaton_kit::Ports;
use eschaton_ports::NewRecord;
use eschaton_timestamp::{AnchorInput, StampInput};
use tokio_util::sync::CancellationToken;

use crate::stampers::Timer;

/// What is due and does not happen, for want of a fee estimate for example, is not ticked for all the time.
const REPEAT_MS: u64 = 60_000;

/// One partition that may wait for log time.
struct Waiting {
    to: TopicPartition,
    timer: Arc<Timer>,
    /// The timer that was ticked for, and when.
    ticked: Option<(u64, u64)>,
}

impl Waiting {
    /// The timer, if it wants a tick now.
    fn due(&self, now: u64) -> Option<u64> {
        let due = self.timer.next_ms();
        // The clock may have been set back meanwhile.
        let wanted = |(of, at): (u64, u64)| of != due || now.abs_diff(at) >= REPEAT_MS;
        (due <= now && self.ticked.is_none_or(wanted)).then_some(due)
    }
}

/// Appends a tick to each partition for which something is due by the wall clock, once for each timer. One that waits
/// for nothing gets none: other records carry time as well.
pub(crate) async fn run(
    ports: Ports,
    stampers: Arc<[Arc<Timer>]>,
    anchorer: Arc<Timer>,
    tick_ms: u64,
    stop: CancellationToken,
) {
    let stamps = (0u32..).zip(stampers.iter()).map(|(partition, timer)| Waiting {
        to: TopicPartition { topic: Topic::Stamps, partition },
        timer: timer.clone(),
        ticked: None,
    });
    let anchors = TopicPartition { topic: Topic::Anchors, partition: 0 };
    let mut all: Vec<Waiting> =
        stamps.chain([Waiting { to: anchors, timer: anchorer, ticked: None }]).collect();
    let (stamp_tick, anchor_tick) = (StampInput::Tick.encode(), AnchorInput::Tick.encode());
    loop {
        tokio::select! {
            () = ports.clock.sleep_ms(tick_ms) => {}
            () = stop.cancelled() => return,
        }
        let now = ports.clock.now_ms();
        let due: Vec<(&mut Waiting, u64)> =
            all.iter_mut().filter_map(|waiting| waiting.due(now).map(|due| (waiting, due))).collect();
        if due.is_empty() {
            continue;
        }
        let tick = |(waiting, _): &(&mut Waiting, u64)| {
            let payload = if waiting.to == anchors { anchor_tick.clone() } else { stamp_tick.clone() };
            NewRecord { to: waiting.to, at_ms: now, id: None, trace: None, payload }
        };
        match ports.log.append(due.iter().map(tick).collect()).await {
            Ok(_) => due.into_iter().for_each(|(waiting, due)| waiting.ticked = Some((due, now))),
            Err(error) => tracing::warn!(%error, "tick was not written; the next one will be"),
        }
    }
}
