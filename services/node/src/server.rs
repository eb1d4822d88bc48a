use std::time::Duration;

use anyhow::Context;
use eschaton_api::anchor::anchors_server::AnchorsServer;
use eschaton_api::chain::chain_server::ChainServer;
use eschaton_api::dev::faucet_server::FaucetServer;
use eschaton_api::ingress::ingress_server::IngressServer;
use eschaton_api::proofs::proofs_server::ProofsServer;
use eschaton_api::query::query_server::QueryServer;
use eschaton_api::timestamp::timestamps_server::TimestampsServer;
use eschaton_api::{DESCRIPTORS, MESSAGE_BYTES_MAX};
use eschaton_kit::Health;
use gossip_ingress::IngressService;
use merkle_prover::ProofsService;
use timestamp_aggregator::TimestampsService;
use timestamp_aggregator::chain::ChainGrpc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::faucet::Faucet;
use crate::proofs::Gateway;
use crate::query::Query;

/// The health service's name for "no part has trouble". The empty name says that the process need not be ended.
pub(crate) const READY: &str = "ready";

/// Calls that one connection may have under way.
const CALLS_PER_CONNECTION: usize = 256;

/// What is served.
pub(crate) struct Services {
    pub(crate) ingress: Option<IngressService>,
    pub(crate) query: Option<Query>,
    pub(crate) proofs: Proofs,
    /// On a development network.
    pub(crate) faucet: Option<Faucet>,
    /// Where the anchors' chain is looked at.
    pub(crate) chain: Option<ChainGrpc>,
    pub(crate) timestamps: Option<TimestampsService>,
}

/// Where proofs are made.
pub(crate) enum Proofs {
    /// In this process, always.
    Here(Box<ProofsService>),
    /// In one process of a cluster.
    Anywhere(Box<Gateway>),
}

/// Serves until `stop`, then answers what is under way.
pub(crate) async fn serve(
    listener: TcpListener,
    services: Services,
    health: Health,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let mut all_well = health.all_well();
    let ingress = services
        .ingress
        .map(|ingress| IngressServer::new(ingress).max_decoding_message_size(MESSAGE_BYTES_MAX));
    let timestamps = services
        .timestamps
        .map(|service| TimestampsServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX));
    let (here, anywhere) = match services.proofs {
        Proofs::Here(service) => (Some(ProofsServer::new(*service)), None),
        Proofs::Anywhere(gateway) => (None, Some(ProofsServer::new(*gateway))),
    };
    let watch = {
        let stop = stop.clone();
        tokio::spawn(async move {
            let tell = async {
                loop {
                    let ready = match *all_well.borrow_and_update() {
                        true => ServingStatus::Serving,
                        false => ServingStatus::NotServing,
                    };
                    reporter.set_service_status(READY, ready).await;
                    if all_well.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                _ = health.wait_fatal() => {}
                () = stop.cancelled() => {}
                () = tell => {}
            }
            for name in ["", READY] {
                reporter.set_service_status(name, ServingStatus::NotServing).await;
            }
        })
    };
    let mut server = Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)));
    let router = server
        .add_service(health_service)
        .add_optional_service(ingress)
        .add_optional_service(services.query.map(QueryServer::new))
        .add_optional_service(here)
        .add_optional_service(anywhere)
        .add_optional_service(services.faucet.map(FaucetServer::new))
        .add_optional_service(services.chain.clone().map(AnchorsServer::new))
        .add_optional_service(services.chain.map(ChainServer::new))
        .add_optional_service(timestamps);
    let router = match reflection() {
        Ok(reflection) => router.add_service(reflection),
        Err(error) => {
            tracing::error!(%error, "reflection is not served");
            router
        }
    };
    // The builder's own setting does not reach connections that come from a listener of ours; without it
    // an answer waits for the client's next packet.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = router.serve_with_incoming_shutdown(incoming, stop.cancelled()).await;
    watch.abort();
    served
}

/// Says that the process lives and is not ready, and nothing else, until it is dropped.
pub(crate) fn serve_waiting(listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let (reporter, health_service) = tonic_health::server::health_reporter();
        reporter.set_service_status("", ServingStatus::Serving).await;
        reporter.set_service_status(READY, ServingStatus::NotServing).await;
        let served = Server::builder()
            .add_service(health_service)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        if let Err(error) = served.await {
            tracing::warn!(%error, "health is not served while the engines are waited for");
        }
    })
}

fn reflection() -> anyhow::Result<ServerReflectionServer<impl ServerReflection>> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("service descriptors do not fit together")
}
