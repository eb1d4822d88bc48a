//! One payment is one trace across services.

use std::sync::{Arc, Mutex};

use eschaton_api::ingress::{Outcome, SubmitRequest};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;

/// Keeps what is exported to it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes =
            request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_through_ingress_and_resolver() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let node = Node::start(dir.path(), &[mint.options().as_slice(), &["--otlp", &endpoint]].concat());
    let rpc = Rpc::connect(&node.url).await;
    let owner = key(1);
    let issued = mint.issue(&[owner.address(); 2], 10, 0);
    // Neither asks for a trace: the second names one that its caller does not sample.
    rpc.accept(&issued).await;
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    for (index, flags) in [(0, "00"), (1, "01")] {
        let payment = pay(&owner, outpoint(&issued, index), stranger(1), 10);
        let mut request = Request::new(SubmitRequest { transaction: payment.bytes, no_wait: false });
        request.metadata_mut().insert("traceparent", format!("00-{trace}-{caller}-{flags}").parse().unwrap());
        let answer = rpc.ingress.clone().submit(request).await.unwrap().into_inner();
        assert_eq!(answer.outcome(), Outcome::Accepted, "{answer:?}");
    }
    // Draining exports what is left.
    drop(rpc);
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
    serving.abort();

    let spans = collector.0.lock().unwrap().clone();
    let shown: Vec<String> =
        spans.iter().map(|span| format!("{} {}", span.name, hex::encode(&span.trace_id))).collect();
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) == trace), "other traces: {shown:?}");
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let submits = named("gossip-ingress.submit");
    let [submit] = submits[..] else { panic!("not one submission: {shown:?}") };
    assert_eq!(hex::encode(&submit.parent_span_id), caller);
    let steps = named("conflict-resolver.step");
    assert!(!steps.is_empty(), "no step: {shown:?}");
    assert!(
        steps.iter().any(|step| step.parent_span_id == submit.span_id),
        "no step hangs on the submission"
    );
}
