//! The anchorer as a worker, and what the part that talks to a chain sees of it and tells it.
//!
//! That part is level-triggered: it looks at the anchorer as its last commit left it ([`AnchorView`]), does what
//! [`Anchorer::wants`] says, and tells what it finds as records ([`AnchorInbox`]). Whatever it did before it
//! crashed is wanted again or known already.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eschaton_core::{Family, Topic, TopicPartition};
use eschaton_driver::{Host, Limits, WorkerError, WorkerSpec};
use eschaton_kit::Ports;
use eschaton_ports::{Clock, Log, LogError, NewRecord, Store};
use eschaton_timestamp::{AnchorInput, Anchorer, AnchorerConfig};
use tokio::sync::watch;

use crate::metrics::{FOLLOWED, WAITING_INTERVALS};
use crate::stampers::{Timer, core_error, load_rows};

/// Consumer group of the anchorer.
pub const ANCHORERS: &str = "timestamp-anchorer";

const INPUT: TopicPartition = TopicPartition { topic: Topic::Anchors, partition: 0 };

/// The anchorer as its last commit left it; none while another process has it, or while it is being opened.
pub type AnchorView = watch::Receiver<Option<Arc<Anchorer>>>;

/// Makes the anchorer for the driver.
pub struct AnchorerHost {
    config: AnchorerConfig,
    timer: Arc<Timer>,
    view: watch::Sender<Option<Arc<Anchorer>>>,
}

impl AnchorerHost {
    /// Shows the anchorer through `view` after each commit.
    pub fn new(
        config: AnchorerConfig,
        timer: Arc<Timer>,
        view: watch::Sender<Option<Arc<Anchorer>>>,
    ) -> Self {
        Self { config, timer, view }
    }
}

/// The anchorer may be another process's from now on: nobody here acts on what it wanted.
impl Drop for AnchorerHost {
    fn drop(&mut self) {
        self.timer.set(None);
        self.view.send_replace(None);
    }
}

#[async_trait]
impl Host for AnchorerHost {
    type Core = Anchorer;

    async fn load(&self, store: &dyn Store) -> Result<Anchorer, WorkerError> {
        let rows = load_rows(store, |head: Option<&Bytes>| Anchorer::rows_for_load(head)).await?;
        let read = |key: &[u8]| rows.get(key).cloned();
        let anchorer = Anchorer::load(self.config, &read).map_err(core_error)?;
        self.observe(&anchorer);
        Ok(anchorer)
    }

    fn observe(&self, core: &Anchorer) {
        self.timer.set(core.next_timer_ms());
        metrics::gauge!(WAITING_INTERVALS).set(core.waiting().0);
        metrics::gauge!(FOLLOWED).set(u32::try_from(core.anchors().count()).unwrap_or(u32::MAX));
        self.view.send_replace(Some(Arc::new(core.clone())));
    }
}

/// The anchorer's worker.
pub fn anchorer_spec(
    config: AnchorerConfig,
    ports: &Ports,
    timer: Arc<Timer>,
    view: watch::Sender<Option<Arc<Anchorer>>>,
) -> WorkerSpec<AnchorerHost> {
    WorkerSpec {
        group: ANCHORERS.to_owned(),
        input: INPUT,
        family: Family::Stamps,
        changes: Topic::AnchorChanges,
        host: AnchorerHost::new(config, timer, view),
        log: ports.log.clone(),
        store: ports.store.clone(),
        clock: ports.clock.clone(),
        limits: Limits::default(),
        observer: None,
    }
}

/// Where the anchorer is told of the chain, by whichever process. Records that do not fit change nothing, so telling
/// twice is harmless.
#[derive(Clone)]
pub struct AnchorInbox {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
}

impl AnchorInbox {
    /// Over the ports of this process.
    pub fn new(ports: &Ports) -> Self {
        Self { log: ports.log.clone(), clock: ports.clock.clone() }
    }

    /// Tells these in this order; durable when it returns. The anchorer has taken them when its view says so.
    ///
    /// # Errors
    /// See [`Log::append`]: some may have been told; tell all again.
    pub async fn tell(&self, inputs: &[AnchorInput]) -> Result<(), LogError> {
        let at_ms = self.clock.now_ms();
        let record = |input: &AnchorInput| NewRecord {
            to: INPUT,
            at_ms,
            id: None,
            trace: None,
            payload: input.encode(),
        };
        if inputs.is_empty() {
            return Ok(());
        }
        self.log.append(inputs.iter().map(record).collect()).await.map(drop)
    }
}
