use std::sync::Arc;

use bytes::Bytes;
use eschaton_kit::Ports;
use eschaton_ports::{NewRecord, Topic, TopicPartition};
use eschaton_types::pb::log::{LedgerInput, Tick, ledger_input::Kind};
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::ShardGauges;

/// Appends a tick to each shard for which something is due by the wall clock. A shard that waits for
/// nothing gets none: other records carry time as well.
pub(crate) async fn run(ports: Ports, gauges: Arc<[ShardGauges]>, tick_ms: u64, stop: CancellationToken) {
    let payload = Bytes::from(LedgerInput { kind: Some(Kind::Tick(Tick {})) }.encode_to_vec());
    loop {
        tokio::select! {
            () = ports.clock.sleep_ms(tick_ms) => {}
            () = stop.cancelled() => return,
        }
        let now = ports.clock.now_ms();
        let ticks: Vec<_> = (0u32..)
            .zip(gauges.iter())
            .filter(|(_, gauges)| gauges.next_timer_ms() <= now)
            .map(|(partition, _)| NewRecord {
                to: TopicPartition { topic: Topic::Ledger, partition },
                at_ms: now,
                id: None,
                trace: None,
                payload: payload.clone(),
            })
            .collect();
        if !ticks.is_empty()
            && let Err(error) = ports.log.append(ticks).await
        {
            tracing::warn!(%error, "tick was not written; the next one will be");
        }
    }
}
