//! Which adapters, which services, in which order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use conflict_resolver::{Resolver, ResolverConfig};
use eschaton_embedded::{
    EmbeddedLog, EmbeddedStore, FileSigner, LogOptions, OpenError, OsRng, StoreOptions, SystemClock,
};
use eschaton_kit::{Health, Ports, Urgency, WorkerThread};
use eschaton_ports::{Log, Rng, Signer, Store};
use eschaton_proof::VerifierKey;
use eschaton_types::{Network, Rules};
use gossip_ingress::{Ingress, IngressConfig};
use merkle_prover::{Prover, ProverConfig};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::anchoring::Anchoring;
use crate::config::{Engines, NodeConfig};
use crate::query::Query;
use crate::services::Service;
use crate::stamps::{self, Stamps};
use crate::{engines, faucet, identity, presence, proofs, server};

/// How long connections may take to end after a stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long workers may take to write what they committed. Only an engine that is away takes longer.
const FINISH: Duration = Duration::from_secs(20);

/// A running node.
pub struct Node {
    grpc: SocketAddr,
    verifier_key: String,
    health: Health,
    stop_serving: CancellationToken,
    stop_working: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    presences: Vec<tokio::task::JoinHandle<()>>,
    ingress: Option<Ingress>,
    resolver: Option<Resolver>,
    prover: Option<Prover>,
    stamps: Option<Stamps>,
    anchoring: Option<Anchoring>,
    store: Arc<dyn Store>,
}

impl Node {
    /// Opens the engines, starts the services from the log outwards, and serves.
    pub async fn start(config: NodeConfig) -> anyhow::Result<Self> {
        let rng = OsRng::new().context("the system gives no randomness")?;
        match &config.engines {
            Engines::Embedded { .. } => fix_identity(&config, &rng)?,
            #[cfg(feature = "cluster")]
            Engines::Cluster { .. } if config.keys_dir.is_some() => identity::require(&config)?,
            #[cfg(feature = "cluster")]
            Engines::Cluster { .. } => {}
        }
        // First, because a member of a cluster tells the others where it is reached.
        let listener = TcpListener::bind(config.grpc).await.with_context(|| {
            format!("gRPC address {} cannot be used; choose another with --grpc", config.grpc)
        })?;
        let grpc = listener.local_addr()?;
        let stamping = config.services.has(Service::TimestampAggregator);
        let calendar = stamping.then(|| stamps::socket(&config)).transpose()?;
        let advertise = config.advertise.clone().unwrap_or_else(|| grpc.to_string());
        let signer = config.keys_dir.as_deref().map(|dir| open_signer(dir, &rng)).transpose()?;
        let key = |signer: &Arc<dyn Signer>| VerifierKey::from_public(&config.origin, &signer.public_key());
        let own = signer.as_ref().map(key).transpose()?;
        let Opened { log, store, ledger } =
            engines::open(&config, &advertise, &listener, &SystemClock).await?;
        let verifier = match &config.engines {
            Engines::Embedded { .. } => own.context("an embedded node has a key")?,
            #[cfg(feature = "cluster")]
            Engines::Cluster { .. } => identity::compare(&config, own.as_ref(), ledger.as_deref())?,
        };
        #[cfg(not(feature = "cluster"))]
        let _ = ledger;
        let ports = Ports { log, store, clock: Arc::new(SystemClock), rng: Arc::new(rng), signer };
        let health = Health::default();
        let issues = config.network == Network::Dev
            && config.native_issuer.is_none()
            && config.services.has(Service::GossipIngress);
        let issuer = issues
            .then(|| identity::dev_issuer(config.keys()?, config.network, ports.rng.as_ref()))
            .transpose()?;
        let native_issuer = config.native_issuer.or_else(|| issuer.as_ref().map(|key| key.address()));
        let rules = Rules { network: config.network, native_issuer };
        let (stop_serving, stop_working) = (CancellationToken::new(), CancellationToken::new());
        let resolver_config = ResolverConfig {
            cache_bytes: config.shard_cache_bytes,
            turn_ms: config.shard_turn_ms,
            write_ms: config.shard_write_ms,
            ..ResolverConfig::new(config.shards, config.window_ms)
        };
        let resolver = config
            .services
            .has(Service::ConflictResolver)
            .then(|| Resolver::start(&resolver_config, &ports, &health, &stop_working));
        let prover_config = ProverConfig {
            interval_ms: config.checkpoint_ms,
            ..ProverConfig::new(config.shards, config.origin.clone())
        };
        let prover = config
            .services
            .has(Service::MerkleProver)
            .then(|| Prover::start(&prover_config, &ports, &health, &stop_working))
            .transpose()?;
        let stamps = match calendar {
            Some(calendar) => {
                let stop = (&stop_serving, &stop_working);
                Some(Stamps::start(&config, calendar, &ports, &health, stop).await?)
            }
            None => None,
        };
        if let Some((stamps, prover)) = stamps.as_ref().zip(prover.as_ref()) {
            stamps.stamp_checkpoints(prover.latest(), stop_working.clone());
        }
        let anchoring = match &stamps {
            Some(stamps) => {
                Anchoring::start(&config, &ports, stamps.aggregator(), &health, &stop_working).await?
            }
            None => None,
        };
        if let Some((stamps, anchoring)) = stamps.as_ref().zip(anchoring.as_ref()) {
            stamps.show_chain(anchoring.handle());
        }
        let ingress_config = IngressConfig {
            undecided_max: config.undecided_max,
            trace_one_in: config.trace_one_in,
            ..IngressConfig::new(rules, config.shards)
        };
        // Queries follow decisions as ingress does.
        let (takes, answers) =
            (config.services.has(Service::GossipIngress), config.services.has(Service::Query));
        let ingress = match takes || answers {
            true => Some(Ingress::start(ingress_config, &ports, &health, &stop_working).await?),
            false => None,
        };

        let query = ingress.as_ref().filter(|_| answers).map(|ingress| {
            let verifier_key = verifier.to_string();
            Query::new(&config, ports.clone(), health.clone(), verifier_key, ingress, resolver.as_ref())
        });
        let here = prover.as_ref().map(|prover| (prover.service(), prover.at_work()));
        let proofs = match (&config.engines, here) {
            // The only process: a question waits until the trees are loaded.
            (Engines::Embedded { .. }, Some((service, _))) => server::Proofs::Here(Box::new(service)),
            (_, here) => {
                let here = here.map(|(service, at_work)| proofs::Here { service, at_work });
                server::Proofs::Anywhere(Box::new(proofs::Gateway::new(here, ports.log.clone())))
            }
        };
        let taking = ingress.as_ref().filter(|_| takes);
        let faucet = taking
            .zip(issuer)
            .map(|(ingress, key)| faucet::Faucet::new(key, &config, ports.clone(), ingress.submitter()));
        let services = server::Services {
            ingress: taking.map(Ingress::service),
            query,
            proofs,
            faucet,
            chain: anchoring.as_ref().map(Anchoring::grpc),
            timestamps: stamps.as_ref().map(Stamps::service),
        };
        let mut presences = Vec::new();
        if !matches!(config.engines, Engines::Embedded { .. }) {
            tokio::spawn(engines::watch(ports.clone(), health.clone(), stop_working.clone()));
            // Resolvers and provers are members of groups anyway: there they get their work.
            for service in [Service::GossipIngress, Service::Query] {
                if config.services.has(service) {
                    let (log, clock, stop) = (ports.log.clone(), ports.clock.clone(), stop_working.clone());
                    presences.push(tokio::spawn(presence::show(service.name(), log, clock, stop)));
                }
            }
        }
        let store = ports.store;
        let serving = tokio::spawn(server::serve(listener, services, health.clone(), stop_serving.clone()));
        let verifier_key = verifier.to_string();
        Ok(Self {
            grpc,
            verifier_key,
            health,
            stop_serving,
            stop_working,
            serving,
            presences,
            ingress,
            resolver,
            prover,
            stamps,
            anchoring,
            store,
        })
    }

    /// Where it serves.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where its private chain answers JSON-RPC, if it has one.
    pub fn bitcoin_rpc(&self) -> Option<SocketAddr> {
        self.anchoring.as_ref().and_then(Anchoring::rpc)
    }

    /// The timestamps' calendar as its clients know it, if this process has one.
    pub fn calendar(&self) -> Option<&str> {
        self.stamps.as_ref().map(Stamps::url)
    }

    /// The key that verifies its checkpoints (C2SP vkey).
    pub fn verifier_key(&self) -> String {
        self.verifier_key.clone()
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
        let (calendar, aggregator) = self.stamps.map(Stamps::split).unzip();
        if let Some(calendar) = calendar
            && tokio::time::timeout(DRAIN, calendar.join()).await.is_err()
        {
            tracing::warn!("some of the calendar's connections did not end in time");
        }
        self.stop_working.cancel();
        let finish = async {
            for presence in self.presences {
                // It cannot fail but by a panic, which has been told.
                let _ = presence.await;
            }
            if let Some(ingress) = self.ingress {
                ingress.join().await;
            }
            if let Some(resolver) = self.resolver {
                resolver.join().await;
            }
            if let Some(prover) = self.prover {
                prover.join().await;
            }
            if let Some(anchoring) = self.anchoring {
                anchoring.join().await;
            }
            if let Some(aggregator) = aggregator {
                aggregator.join().await;
            }
            Ok(self.store.flush().await?)
        };
        let finished = tokio::time::timeout(FINISH, finish).await;
        finished.unwrap_or_else(|_| {
            let (most_s, problems) = (FINISH.as_secs(), self.health.problems().join("; "));
            bail!(
                "workers did not finish within {most_s} s of the stop ({problems}); nothing that was acknowledged is \
                 lost, whoever comes next goes on from the log"
            )
        })
    }
}

/// At first start: the node's key, and the record of what never changes.
pub(crate) fn fix_identity(config: &NodeConfig, rng: &OsRng) -> anyhow::Result<()> {
    identity::fix(config, |path| Ok(FileSigner::open(path, rng).map(drop)?))
}

pub(crate) async fn open(config: &NodeConfig, rng: OsRng, advertise: &str) -> anyhow::Result<Ports> {
    let rng: Arc<dyn Rng> = Arc::new(rng);
    let signer = Some(open_signer(config.keys()?, rng.as_ref())?);
    let (log, store) = open_engines(config, advertise).await?;
    Ok(Ports { log, store, clock: Arc::new(SystemClock), rng, signer })
}

fn open_signer(keys_dir: &Path, rng: &dyn Rng) -> anyhow::Result<Arc<dyn Signer>> {
    Ok(Arc::new(FileSigner::open(&keys_dir.join(identity::NODE_KEY), rng)?))
}

/// Engines in use.
pub(crate) struct Opened {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) store: Arc<dyn Store>,
    /// What a cluster's store records of its ledger.
    pub(crate) ledger: Option<String>,
}

/// The log and the store that a configuration names. `name` is this process's among those that use them.
pub async fn open_engines(config: &NodeConfig, name: &str) -> anyhow::Result<(Arc<dyn Log>, Arc<dyn Store>)> {
    let Opened { log, store, .. } = open_recorded(config, name).await?;
    Ok((log, store))
}

/// As [`open_engines`], with what the store records.
pub(crate) async fn open_recorded(config: &NodeConfig, name: &str) -> anyhow::Result<Opened> {
    match &config.engines {
        Engines::Embedded { data_dir } => {
            let _ = name;
            let (log, store) = embedded(data_dir, config.shards).await?;
            Ok(Opened { log, store, ledger: None })
        }
        #[cfg(feature = "cluster")]
        Engines::Cluster { kafka, cql } => {
            let kafka = eschaton_kafka::KafkaConfig { client_id: name.to_owned(), ..(**kafka).clone() };
            let log = eschaton_kafka::KafkaLog::open(kafka).await?;
            let store = eschaton_cql::CqlStore::open(cql).await?;
            let ledger = store.ledger().map(str::to_owned);
            Ok(Opened { log: Arc::new(log), store: Arc::new(store), ledger })
        }
    }
}

/// Whether engines could not be opened because one cannot be reached: then waiting may help.
pub(crate) fn is_away(error: &anyhow::Error) -> bool {
    #[cfg(feature = "cluster")]
    {
        let log = error.downcast_ref::<eschaton_kafka::OpenError>();
        let store = error.downcast_ref::<eschaton_cql::OpenError>();
        log.is_some_and(eschaton_kafka::OpenError::is_passing)
            || store.is_some_and(eschaton_cql::OpenError::is_passing)
    }
    #[cfg(not(feature = "cluster"))]
    {
        let _ = error;
        false
    }
}

async fn embedded(dir: &Path, shards: u32) -> anyhow::Result<(Arc<dyn Log>, Arc<dyn Store>)> {
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
    Ok((Arc::new(log), Arc::new(store)))
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
