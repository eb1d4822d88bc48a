//! Engines that are away: waited for at the start, watched afterwards.

use std::time::Duration;

use anyhow::Context;
use eschaton_kit::{Health, Ports};
use eschaton_ports::{Clock, Topic, TopicPartition};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::NodeConfig;
use crate::server;
use crate::wiring::{self, Opened};

/// Between two attempts to open engines.
const OPEN_EVERY_MS: u64 = 1_000;
/// Between two looks at engines that are in use.
const LOOK_EVERY_MS: u64 = 2_000;
/// An engine that takes longer is away.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Opens the engines of a configuration; waits while they cannot be reached, `engines_wait_s` at most. Health is
/// served meanwhile: the process lives and is not ready.
pub(crate) async fn open(
    config: &NodeConfig,
    name: &str,
    listener: &TcpListener,
    clock: &dyn Clock,
) -> anyhow::Result<Opened> {
    let mut waiting = None;
    let began = clock.now_ms();
    let mut attempts = 0_u32;
    let opened = loop {
        let error = match wiring::open_recorded(config, name).await {
            Ok(engines) => break Ok(engines),
            Err(error) => error,
        };
        let waited_s = clock.now_ms().saturating_sub(began) / 1_000;
        if !wiring::is_away(&error) {
            break Err(error);
        }
        if waited_s >= config.engines_wait_s {
            break Err(error.context(format!("an engine was not there for {waited_s} s (engines_wait_s)")));
        }
        attempts += 1;
        if attempts.is_power_of_two() {
            let most_s = config.engines_wait_s;
            tracing::warn!(
                "{error:#}; waiting for it since {waited_s} s, {most_s} s at most (engines_wait_s)"
            );
        }
        if waiting.is_none() {
            waiting = Some(server::serve_waiting(second(listener)?));
        }
        clock.sleep_ms(OPEN_EVERY_MS).await;
    };
    if let Some(waiting) = waiting {
        waiting.abort();
    }
    opened
}

/// The same socket once more.
fn second(listener: &TcpListener) -> anyhow::Result<TcpListener> {
    use std::os::fd::AsFd;
    let socket = listener.as_fd().try_clone_to_owned().context("the gRPC socket cannot be shared")?;
    TcpListener::from_std(socket.into()).context("the gRPC socket cannot be shared")
}

/// Asks both engines again and again and says in `health` which of them is away, until `stop`.
pub(crate) async fn watch(ports: Ports, health: Health, stop: CancellationToken) {
    let at = TopicPartition { topic: Topic::Ledger, partition: 0 };
    loop {
        let log = bounded(async { ports.log.end(at).await.map(drop).map_err(|error| error.to_string()) });
        let store = bounded(async {
            ports.store.watermark("nobody").await.map(drop).map_err(|error| error.to_string())
        });
        let (log, store) = tokio::select! {
            answers = async { tokio::join!(log, store) } => answers,
            () = stop.cancelled() => return,
        };
        for (part, answer, advice) in [
            (
                "log",
                log,
                "payments wait and are taken up when it is back; start the brokers, or mend the way to them",
            ),
            (
                "store",
                store,
                "decisions wait and go on when it is back; start its nodes, or mend the way to them",
            ),
        ] {
            match answer {
                Ok(()) => health.well(part),
                Err(problem) => health.degraded(part, format!("{problem}; {advice}")),
            }
        }
        tokio::select! {
            () = ports.clock.sleep_ms(LOOK_EVERY_MS) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn bounded(question: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let most_s = ANSWER_MAX.as_secs();
    tokio::time::timeout(ANSWER_MAX, question)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {most_s} s")))
}
