use std::net::SocketAddr;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use opentelemetry::global;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;

/// Where a process reports to.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Prometheus endpoint; port 0 picks a free one.
    pub metrics: SocketAddr,
    /// OTLP/gRPC collector, such as `http://127.0.0.1:4317`; none: no traces leave.
    pub otlp: Option<String>,
    /// Log filter, as `RUST_LOG` has it.
    pub log: String,
    /// Log lines as JSON.
    pub log_json: bool,
}

/// What was set up; shutting it down flushes traces.
pub struct Telemetry {
    /// Where Prometheus scrapes.
    pub metrics: SocketAddr,
    tracer: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up logging to standard error, metrics and traces. Once in a process.
    pub fn start(config: &TelemetryConfig) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&config.log)
            .context("log filter is malformed; use for example info,eschaton=debug")?;
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        if config.log_json { subscriber.json().try_init() } else { subscriber.try_init() }
            .map_err(|error| anyhow::anyhow!("logging is already set up: {error}"))?;
        let metrics = serve_metrics(config.metrics)?;
        let tracer = config.otlp.as_deref().map(export_traces).transpose()?;
        Ok(Self { metrics, tracer })
    }

    /// Sends what traces are left, for at most a few seconds.
    pub fn shutdown(self) {
        if let Some(Err(error)) = self.tracer.map(|tracer| tracer.shutdown()) {
            tracing::warn!(%error, "some traces were not exported");
        }
    }
}

fn serve_metrics(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    // The exporter binds by itself and keeps its port to itself, so a free port is found first.
    let probe = std::net::TcpListener::bind(address).with_context(|| {
        format!("metrics address {address} cannot be used; choose another with --metrics")
    })?;
    let address = probe.local_addr()?;
    drop(probe);
    let seconds = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
    let opening = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Suffix("_open_seconds".to_owned()), &opening)?
        .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &[1.0, 8.0, 64.0, 256.0, 1024.0])?
        .install()
        .with_context(|| format!("metrics cannot be served at {address}"))?;
    Ok(address)
}

fn export_traces(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| {
        format!("trace collector {endpoint} cannot be used; give an address like http://127.0.0.1:4317")
    })?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name("eschaton").build())
        .build();
    global::set_tracer_provider(provider.clone());
    Ok(provider)
}
