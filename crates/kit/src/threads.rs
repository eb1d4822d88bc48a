use std::thread::JoinHandle;

use eschaton_driver::WorkerError;
use eschaton_ports::LogError;
use tokio_util::sync::CancellationToken;

use crate::Health;

/// Whom the scheduler serves first when cores are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for its result.
    Answering,
    /// Its result may come a little later: it must not hold up those who answer.
    Background,
}

/// How long a fenced worker waits for the word that its partition is another's.
const FENCED_PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

/// A sixth or so of an answering thread's share.
const BACKGROUND_NICE: i32 = 8;

/// A worker's own thread with its own single-threaded runtime: steps and store reads are CPU and disk
/// work that must not hold up the threads that serve gRPC.
pub struct WorkerThread {
    name: String,
    handle: JoinHandle<()>,
}

impl WorkerThread {
    /// Runs `body` to its end on a new thread.
    pub fn spawn<F, Fut>(name: &str, urgency: Urgency, body: F) -> std::io::Result<Self>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if urgency == Urgency::Background {
                // On Linux this is per thread. Refused: it runs like the others.
                let _ = rustix::process::nice(BACKGROUND_NICE);
            }
            runtime.block_on(async move { body().await });
        })?;
        Ok(Self { name: name.to_owned(), handle })
    }

    /// Waits for its end without blocking the caller's runtime.
    pub async fn join(self) {
        let name = self.name;
        let joined = tokio::task::spawn_blocking(move || self.handle.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!(worker = name, "worker thread panicked");
        }
    }
}

/// Runs a worker again and again until it is stopped: passing trouble is reported and tried again with
/// a growing pause (100 ms to 2 s), one that was fenced waits to be stopped, anything else is fatal for the
/// process.
#[allow(clippy::disallowed_methods, reason = "pauses between two lives of a worker, outside every core")]
pub async fn supervise<F, Fut>(part: &str, health: &Health, stop: &CancellationToken, mut life: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), WorkerError>>,
{
    let mut pause_ms = 100;
    while !stop.is_cancelled() {
        let began = tokio::time::Instant::now();
        match life().await {
            Ok(()) => break,
            Err(WorkerError::Log(error @ LogError::Fenced { .. })) => {
                // Membership will say so soon, and this worker is told to stop. If it does not, the fence came
                // from one that had no right to the partition any more.
                tracing::warn!(part, %error, "worker was taken over");
                health.degraded(part, error.to_string());
                tokio::select! {
                    () = tokio::time::sleep(FENCED_PAUSE) => {}
                    () = stop.cancelled() => break,
                }
            }
            Err(error) if error.is_passing() => {
                if began.elapsed().as_secs() >= 10 {
                    pause_ms = 100;
                }
                tracing::warn!(part, %error, pause_ms, "worker failed; opening it again");
                health.degraded(part, error.to_string());
                tokio::select! {
                    () = tokio::time::sleep(std::time::Duration::from_millis(pause_ms)) => {}
                    () = stop.cancelled() => break,
                }
                pause_ms = (pause_ms * 2).min(2_000);
            }
            Err(error) => {
                tracing::error!(part, %error, "worker cannot go on");
                health.fatal(part, error.to_string());
                break;
            }
        }
    }
    // Whoever ends here was stopped, and its troubles are another's now.
    if stop.is_cancelled() {
        health.well(part);
    }
}
