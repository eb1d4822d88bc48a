//! Which adapters, which services, in which order. The only file that names concrete adapters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use conflict_resolver::{Resolver, ResolverConfig};
use eschaton_embedded::{
    EmbeddedLog, EmbeddedStore, FileSigner, LogOptions, OpenError, OsRng, StoreOptions, SystemClock,
};
use eschaton_kit::{Health, Ports, Urgency, WorkerThread};
use eschaton_ports::{Rng, Store};
use eschaton_types::{Network, Rules};
use gossip_ingress::{Ingress, IngressConfig};
use merkle_prover::{Prover, ProverConfig};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::query::Query;
use crate::{NodeConfig, faucet, identity, server};

/// How long connections may take to end after a stop.
const DRAIN: Duration = Duration::from_secs(10);

/// A running node.
pub struct Node {
    grpc: SocketAddr,
    health: Health,
    stop_serving: CancellationToken,
    stop_working: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    ingress: Ingress,
    resolver: Resolver,
    prover: Prover,
    store: Arc<dyn Store>,
}

impl Node {
    /// Opens the data directory, starts the services from the log outwards, and serves.
    pub async fn start(config: NodeConfig) -> anyhow::Result<Self> {
        let rng = OsRng::new().context("the system gives no randomness")?;
        identity::fix(&config, |path| Ok(FileSigner::open(path, &rng).map(drop)?))?;
        let ports = open(&config, rng).await?;
        let health = Health::default();
        let issuer = (config.network == Network::Dev && config.native_issuer.is_none())
            .then(|| identity::dev_issuer(&config.data_dir, config.network, ports.rng.as_ref()))
            .transpose()?;
        let native_issuer = config.native_issuer.or_else(|| issuer.as_ref().map(|key| key.address()));
        let rules = Rules { network: config.network, native_issuer };
        let (stop_serving, stop_working) = (CancellationToken::new(), CancellationToken::new());

        let resolver_config =
            ResolverConfig { shards: config.shards, window_ms: config.window_ms, tick_ms: 20 };
        let resolver = Resolver::start(&resolver_config, &ports, &health, &stop_working)?;
        let prover_config = ProverConfig {
            interval_ms: config.checkpoint_ms,
            ..ProverConfig::new(config.shards, config.origin.clone())
        };
        let prover = Prover::start(&prover_config, &ports, &health, &stop_working)?;
        let ingress_config = IngressConfig {
            undecided_max: config.undecided_max,
            trace_one_in: config.trace_one_in,
            ..IngressConfig::new(rules, config.shards)
        };
        let ingress = Ingress::start(ingress_config, &ports, &health, &stop_working).await?;

        let listener = TcpListener::bind(config.grpc).await.with_context(|| {
            format!("gRPC address {} cannot be used; choose another with --grpc", config.grpc)
        })?;
        let grpc = listener.local_addr()?;
        let store = ports.store.clone();
        let query = Query::new(&config, ports.clone(), health.clone(), &ingress, &resolver, &prover);
        let faucet = issuer.map(|key| faucet::Faucet::new(key, &config, ports, ingress.submitter()));
        let services =
            server::Services { ingress: ingress.service(), query, proofs: prover.service(), faucet };
        let serving = tokio::spawn(server::serve(listener, services, health.clone(), stop_serving.clone()));
        Ok(Self { grpc, health, stop_serving, stop_working, serving, ingress, resolver, prover, store })
    }

    /// Where it serves.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// The key that verifies its checkpoints (C2SP vkey).
    pub fn verifier_key(&self) -> String {
        self.prover.verifier().to_string()
    }

    /// Resolves when a part cannot go on, with the reason.
    pub async fn failed(&self) -> String {
        self.health.wait_fatal().await
    }

    /// Drains: no new connections, calls under way are answered, workers finish their batches, the
    /// store is synced.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop_serving.cancel();
        let mut serving = self.serving;
        if tokio::time::timeout(DRAIN, &mut serving).await.is_err() {
            // Watchers never end by themselves; what was submitted is on the log.
            serving.abort();
        }
        self.stop_working.cancel();
        self.ingress.join().await;
        self.resolver.join().await;
        self.prover.join().await;
        self.store.flush().await?;
        Ok(())
    }
}

async fn open(config: &NodeConfig, rng: OsRng) -> anyhow::Result<Ports> {
    let (dir, shards) = (config.data_dir.clone(), config.shards);
    let rng: Arc<dyn Rng> = Arc::new(rng);
    let signer = FileSigner::open(&dir.join(identity::NODE_KEY), rng.as_ref())?;
    // Journals are checked and replayed with blocking reads, on threads of their own.
    let (log_dir, store_dir) = (dir.join("log"), dir.join("store"));
    let log = opening("open-log", Urgency::Answering, move || {
        EmbeddedLog::open(&log_dir, &LogOptions::new(shards))
    });
    // The engine's own threads, which compact the store, inherit the urgency of the thread that opens it.
    let store = opening("open-store", Urgency::Background, move || {
        EmbeddedStore::open(&store_dir, &StoreOptions::default())
    });
    let (log, report) = log.await?;
    if report.tail_bytes_cut > 0 {
        tracing::warn!(?report, "the log's tail was torn or damaged; recovered to the last good record");
    }
    let (store, cuts) = store.await?;
    for cut in cuts {
        tracing::info!(?cut, "the store's tail was torn; the log has what it lacks");
    }
    Ok(Ports {
        log: Arc::new(log),
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        rng,
        signer: Arc::new(signer),
    })
}

/// Opens an engine on a thread of its own.
async fn opening<T: Send + 'static>(
    name: &'static str,
    urgency: Urgency,
    open: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> anyhow::Result<T> {
    let (done, opened) = oneshot::channel();
    WorkerThread::spawn(name, urgency, move || async move {
        // The receiver is gone only when the start was given up.
        let _ = done.send(open());
    })?;
    Ok(opened.await.context("the thread that opens an engine panicked")??)
}
