//! Timestamp aggregator: a stamper for each shard that falls to this process, the anchorer where it falls to it, each
//! a core on a thread of its own, and a ticker that tells them log time. Digests come in over HTTP as to any
//! OpenTimestamps calendar, and over gRPC.
//!
//! One digest's way: intake (room, a round for its shard) → topic `stamps` → its stamper → topic `stamped` → the tail
//! of whoever took it in → its path out of the closed interval's rows.

mod anchorer;
mod calendar;
pub mod chain;
mod config;
mod grpc;
mod intake;
mod lookup;
mod metrics;
mod stampers;
mod ticker;
pub mod upstream;

use std::sync::Arc;

use eschaton_core::Topic;
use eschaton_driver::{Host, Worker, WorkerSpec};
use eschaton_kit::{Duty, Health, Ports, Urgency, WorkerThread, staff, supervise};
use eschaton_timestamp::Anchorer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use anchorer::{ANCHORERS, AnchorInbox, AnchorView, AnchorerHost, anchorer_spec};
pub use calendar::{Calendar, CalendarLimits, ChainReport, ChainStatus, listen};
pub use config::AggregatorConfig;
pub use grpc::TimestampsService;
pub use intake::{Intake, IntakeError, IntakeLimits, Stamp, StampError};
pub use lookup::{Known, Lookup, Progress};
pub use stampers::{STAMPERS, StamperHost, Timer, stamper_spec};

/// A running aggregator.
pub struct Aggregator {
    tasks: Vec<(&'static str, tokio::task::JoinHandle<()>)>,
    view: AnchorView,
    inbox: AnchorInbox,
}

impl Aggregator {
    /// Joins the aggregators and keeps a worker on each shard that falls to this process, and on the anchors if they
    /// do. Returns at once; workers catch up by themselves.
    pub fn start(
        config: &AggregatorConfig,
        ports: &Ports,
        health: &Health,
        stop: &CancellationToken,
    ) -> Self {
        metrics::describe();
        let stampers: Arc<[Arc<Timer>]> = (0..config.shards).map(|_| Arc::default()).collect();
        let anchorer: Arc<Timer> = Arc::default();
        let (show, view) = watch::channel::<Option<Arc<Anchorer>>>(None);
        let start_stamper = {
            let (config, ports, health, timers) = (*config, ports.clone(), health.clone(), stampers.clone());
            move |shard: u32, stop| {
                let timer = usize::try_from(shard).ok().and_then(|shard| timers.get(shard)).cloned();
                let (ports, timer) = (ports.clone(), timer.unwrap_or_default());
                let spec = move || stamper_spec(&config, shard, &ports, timer.clone());
                work(format!("stamper-{shard}"), spec, &health, stop)
            }
        };
        let start_anchorer = {
            let (config, ports, health) = (config.anchorer, ports.clone(), health.clone());
            let timer = anchorer.clone();
            move |_, stop| {
                let (ports, timer, show) = (ports.clone(), timer.clone(), show.clone());
                let spec = move || anchorer_spec(config, &ports, timer.clone(), show.clone());
                work("anchorer".to_owned(), spec, &health, stop)
            }
        };
        let (log, clock) = (|| ports.log.clone(), || ports.clock.clone());
        let duty = Duty { group: STAMPERS, topic: Topic::Stamps, partitions: config.shards };
        let stamping = staff(duty, log(), clock(), health.clone(), stop.clone(), start_stamper);
        let duty = Duty { group: ANCHORERS, topic: Topic::Anchors, partitions: 1 };
        let anchoring = staff(duty, log(), clock(), health.clone(), stop.clone(), start_anchorer);
        let ticking = ticker::run(ports.clone(), stampers, anchorer, config.tick_ms, stop.clone());
        Self {
            tasks: vec![
                ("stampers", tokio::spawn(stamping)),
                ("anchorer", tokio::spawn(anchoring)),
                ("ticker", tokio::spawn(ticking)),
            ],
            view,
            inbox: AnchorInbox::new(ports),
        }
    }

    /// The anchorer, for the part that talks to a chain.
    pub fn anchors(&self) -> AnchorView {
        self.view.clone()
    }

    /// Where that part tells what it finds.
    pub fn inbox(&self) -> AnchorInbox {
        self.inbox.clone()
    }

    /// Waits until all workers have finished their batch and written their rows. Cancel `stop` first.
    pub async fn join(self) {
        for (what, task) in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(what, %error, "a task of the aggregator failed");
            }
        }
    }
}

/// A worker on a thread of its own.
fn work<H: Host + 'static>(
    part: String,
    spec: impl Fn() -> WorkerSpec<H> + Send + 'static,
    health: &Health,
    stop: CancellationToken,
) -> std::io::Result<WorkerThread> {
    let (name, health) = (part.clone(), health.clone());
    WorkerThread::spawn(&name, Urgency::Answering, async move || {
        supervise(&part, &health, &stop, || async {
            let mut worker = Worker::open(spec()).await?;
            health.well(&part);
            worker.run(Box::pin(stop.cancelled())).await
        })
        .await;
    })
}
