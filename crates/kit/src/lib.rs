//! What every service needs to run: the ports in one hand, worker threads, stopping in order, health
//! in words, telemetry.

mod health;
mod lookup;
mod staff;
mod telemetry;
mod threads;
mod trace;

use std::sync::Arc;

use eschaton_ports::{Clock, Log, Rng, Signer, Store};

pub use health::Health;
pub use lookup::{Found, transaction};
pub use staff::{Duty, staff};
pub use telemetry::{Telemetry, TelemetryConfig};
pub use threads::{Urgency, WorkerThread, supervise};
pub use trace::{StepSpans, Tracing};

/// The adapters that this process runs on. Only the wiring knows which they are.
#[derive(Clone)]
pub struct Ports {
    /// The truth.
    pub log: Arc<dyn Log>,
    /// A view of it.
    pub store: Arc<dyn Store>,
    /// Time at the edges.
    pub clock: Arc<dyn Clock>,
    /// Randomness at the edges.
    pub rng: Arc<dyn Rng>,
    /// The node's identity, where this process has it.
    pub signer: Option<Arc<dyn Signer>>,
}
