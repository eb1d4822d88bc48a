//! Timestamps in this process: workers, intake, look-up and calendar, put together.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use bytes::Bytes;
use eschaton_kit::{Health, Ports};
use eschaton_ots::CalendarUri;
use eschaton_proof::SignedCheckpoint;
use sha2::{Digest, Sha256};
use timestamp_aggregator::chain::ChainHandle;
use timestamp_aggregator::upstream::{self, UpstreamConfig, UpstreamParts, UpstreamReport};
use timestamp_aggregator::{
    Aggregator, AggregatorConfig, Calendar, CalendarLimits, ChainReport, ChainStatus, Intake, IntakeLimits,
    Lookup, TimestampsService, listen,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::NodeConfig;

/// Where the calendar listens unless told.
const DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1)), 7375);

/// What pending attestations carry.
pub(crate) fn uri(url: &str) -> Result<CalendarUri, String> {
    let known = url.starts_with("http://") || url.starts_with("https://");
    if !known || url.ends_with('/') {
        return Err("it must begin with http:// or https:// and end without a slash".to_owned());
    }
    CalendarUri::new(url).map_err(|error| error.to_string())
}

/// The calendar's socket.
pub(crate) fn socket(config: &NodeConfig) -> anyhow::Result<TcpListener> {
    let limits = CalendarLimits::default();
    if let Some(address) = config.calendar {
        return listen(address, &limits).with_context(|| {
            format!("calendar address {address} cannot be used; choose another with --calendar")
        });
    }
    listen(DEFAULT, &limits).or_else(|error| {
        tracing::warn!(
            %error, "the calendar's usual address {DEFAULT} is taken, so another is used; proofs carry it, so choose a \
             lasting one with --calendar"
        );
        listen(SocketAddr::new(DEFAULT.ip(), 0), &limits).context("no address is free for the calendar")
    })
}

/// A process's part in timestamps.
pub(crate) struct Stamps {
    aggregator: Aggregator,
    calendar: Calendar,
    service: TimestampsService,
    intake: Intake,
    url: String,
    chain: Arc<Late>,
}

/// The chain's part starts after the calendar, which shows it.
#[derive(Default)]
struct Late {
    chain: OnceLock<ChainHandle>,
    upstream: UpstreamReport,
}

impl ChainStatus for Late {
    fn report(&self) -> ChainReport {
        let upstream = self.upstream.calendars();
        let Some(status) = self.chain.get().map(ChainHandle::status) else {
            return ChainReport { upstream, ..ChainReport::default() };
        };
        let height = status.tip.map_or(0, |tip| tip.height);
        let balance = status.balance;
        ChainReport {
            node: Some(status.problem.unwrap_or_else(|| format!("well, at height {height}"))),
            balance_sat: Some(balance.free_sat.saturating_add(balance.reserved_sat)),
            upstream,
        }
    }
}

fn ask_upstream(
    config: &NodeConfig,
    aggregator: &Aggregator,
    ports: &Ports,
    health: &Health,
    stop: &CancellationToken,
) -> UpstreamReport {
    let asking = UpstreamConfig {
        calendars: config.anchor.upstream.clone(),
        ask_ms: config.anchor.upstream_ask_ms,
        retry_ms: config.anchor.upstream_ask_ms.min(10_000),
        alone: config.anchor.upstream_only(),
    };
    let clock = ports.clock.clone();
    let parts = UpstreamParts { view: aggregator.anchors(), inbox: aggregator.inbox(), clock };
    upstream::start(asking, parts, health.clone(), stop.clone())
}

impl Stamps {
    /// Serves on `listener` until `stop_serving`, and works until `stop_working`.
    pub(crate) async fn start(
        config: &NodeConfig,
        listener: TcpListener,
        ports: &Ports,
        health: &Health,
        (stop_serving, stop_working): (&CancellationToken, &CancellationToken),
    ) -> anyhow::Result<Self> {
        let aggregating = AggregatorConfig {
            anchorer: config.anchor.anchorer(config.shards),
            ..AggregatorConfig::new(config.shards)
        };
        let address = listener.local_addr()?;
        let url = config.calendar_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let uri = uri(&url).map_err(|problem| anyhow::anyhow!("calendar_url is {url}: {problem}"))?;
        let limits = IntakeLimits::default();
        let intake = Intake::start(config.shards, &uri, limits, ports, health, stop_working).await?;
        let aggregator = Aggregator::start(&aggregating, ports, health, stop_working);
        let lookup = Lookup::new(ports, &aggregating, uri, config.anchor.attests());
        let service = TimestampsService::new(intake.clone(), lookup.clone(), ports);
        let answers = (intake.clone(), lookup, aggregator.anchors());
        let limits = CalendarLimits::default();
        let upstream = match config.anchor.upstream.is_empty() {
            true => UpstreamReport::default(),
            false => ask_upstream(config, &aggregator, ports, health, stop_working),
        };
        let chain = Arc::new(Late { chain: OnceLock::new(), upstream });
        let calendar = Calendar::start(listener, limits, answers, Some(chain.clone()), ports, stop_serving);
        Ok(Self { aggregator, calendar, service, intake, url, chain })
    }

    /// The status page shows the chain from now on.
    pub(crate) fn show_chain(&self, handle: ChainHandle) {
        // It is set once, at the start.
        let _ = self.chain.chain.set(handle);
    }

    /// Timestamps every checkpoint that is shown, by the SHA-256 of its signed note, until `stop`.
    pub(crate) fn stamp_checkpoints(
        &self,
        mut latest: watch::Receiver<Option<SignedCheckpoint>>,
        stop: CancellationToken,
    ) {
        let intake = self.intake.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = latest.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
                let note = latest.borrow_and_update().as_ref().map(|checkpoint| checkpoint.note().clone());
                let Some(note) = note else { continue };
                let (intake, digest) = (intake.clone(), Bytes::copy_from_slice(&Sha256::digest(&note)));
                let stop = stop.clone();
                // The next checkpoint does not wait for this one's interval.
                tokio::spawn(async move {
                    if let Err(error) = intake.stamp(digest).await
                        && !stop.is_cancelled()
                    {
                        tracing::warn!(%error, "a checkpoint was not timestamped; the next one covers it");
                    }
                });
            }
        });
    }

    /// The workers, for the part that talks to a chain.
    pub(crate) fn aggregator(&self) -> &Aggregator {
        &self.aggregator
    }

    /// gRPC.
    pub(crate) fn service(&self) -> TimestampsService {
        self.service.clone()
    }

    /// The calendar's address as clients know it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends what serves; nothing waits for workers after it.
    pub(crate) fn split(self) -> (Calendar, Aggregator) {
        (self.calendar, self.aggregator)
    }
}
