//! What stock clients see: reflection, health, Prometheus.

use std::collections::BTreeSet;
use std::path::Path;

use eschaton_api::proofs::ProveInclusionRequest;
use eschaton_api::proofs::proofs_client::ProofsClient;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;
use crate::kit::until;
use crate::stamps::{ask, digest, post};

async fn reflect(rpc: &Rpc, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(rpc.channel.clone());
    let stream = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
    let answer: ServerReflectionResponse = stream.into_inner().message().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_every_service_and_health_says_serving() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let rpc = Rpc::connect(&node.url).await;
    let MessageResponse::ListServicesResponse(listed) =
        reflect(&rpc, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services");
    };
    let names: BTreeSet<&str> = listed.service.iter().map(|service| service.name.as_str()).collect();
    for service in [
        "eschaton.ingress.v1.Ingress",
        "eschaton.query.v1.Query",
        "eschaton.proofs.v1.Proofs",
        "eschaton.dev.v1.Faucet",
        "eschaton.timestamp.v1.Timestamps",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(service), "{service} is not in {names:?}");
        let file = reflect(&rpc, MessageRequest::FileContainingSymbol(service.to_owned())).await;
        assert!(matches!(file, MessageResponse::FileDescriptorResponse(_)), "{service}: {file:?}");
    }
    let mut health = HealthClient::new(rpc.channel);
    let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

/// Every metric that the services' `metrics.rs` files name.
fn named() -> BTreeSet<String> {
    let services = Path::new("..");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(services).unwrap() {
        let Ok(source) = std::fs::read_to_string(entry.unwrap().path().join("src/metrics.rs")) else {
            continue;
        };
        let quoted = source.split('"').filter(|part| part.starts_with("eschaton_"));
        names.extend(quoted.map(str::to_owned));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_and_a_proof_move_every_named_metric() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let node = Node::start(dir.path(), &[mint.options().as_slice(), &["--window-ms", "1"]].concat());
    let rpc = Rpc::connect(&node.url).await;
    let owner = key(1);
    let issued = mint.issue(&[owner.address()], 10, 0);
    rpc.accept(&issued).await;
    let payment = pay(&owner, outpoint(&issued, 0), stranger(1), 10);
    rpc.accept(&payment).await;
    let proofs = ProofsClient::new(rpc.channel.clone());
    until("an inclusion proof", async || {
        proofs.clone().prove_inclusion(ProveInclusionRequest { txid: payment.txid.to_bytes() }).await.ok()
    })
    .await;

    let calendar = node.calendar.clone().unwrap();
    assert!(ask(&calendar, &post(&digest(1))).0.starts_with("http/1.1 200 "));

    let named = named();
    assert!(named.len() >= 12, "names are missing: {named:?}");
    let text = node.scrape();
    for name in &named {
        // Counted when something goes wrong, and here nothing does.
        let trouble = [
            "eschaton_worker_repeated_records_total",
            "eschaton_worker_store_retries_total",
            "eschaton_stamps_refused_total",
            "eschaton_calendar_turned_away_total",
        ];
        let shown = text.lines().any(|line| line.starts_with(name.as_str()));
        assert_eq!(shown, !trouble.contains(&name.as_str()), "{name} in\n{text}");
        assert!(!shown || text.contains(&format!("# TYPE {name} ")), "{name} has no type");
    }
    assert!(text.contains("eschaton_ingress_transactions_total{outcome=\"accepted\"} 2"), "{text}");
}
