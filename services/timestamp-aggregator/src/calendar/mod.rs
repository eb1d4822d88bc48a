//! The OpenTimestamps calendar over HTTP/1.1. Every connection, header, body and wait has a bound; who is over one is
//! told so and let go.

mod page;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eschaton_kit::Ports;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use page::{ChainReport, ChainStatus};

use crate::metrics::{CONNECTIONS, TURNED_AWAY};
use crate::{AnchorView, Intake, Lookup};

/// Bounds of the calendar's server.
#[derive(Clone, Copy, Debug)]
pub struct CalendarLimits {
    /// Most connections at a time; fewer where the system allows fewer files.
    pub connections_max: usize,
    /// Connections that wait to be taken.
    pub backlog: u32,
    /// Most bytes of a request's line and headers.
    pub header_bytes: usize,
    /// Most header fields.
    pub headers: usize,
    /// How long a connection may take to send a request's headers, idle time before it included, ms.
    pub header_ms: u64,
    /// How long a body may take, ms.
    pub body_ms: u64,
    /// Longest life of a connection, ms.
    pub connection_ms: u64,
}

impl Default for CalendarLimits {
    fn default() -> Self {
        Self {
            connections_max: 8_192,
            backlog: 4_096,
            header_bytes: 16 << 10,
            headers: 64,
            header_ms: 10_000,
            body_ms: 5_000,
            connection_ms: 3_600_000,
        }
    }
}

/// Files that the rest of the process may need.
const FILES_KEPT: u64 = 1_024;

/// What an answer is made of.
pub(crate) struct Parts {
    pub(crate) intake: Intake,
    pub(crate) lookup: Lookup,
    pub(crate) anchors: AnchorView,
    pub(crate) chain: Option<Arc<dyn ChainStatus>>,
    pub(crate) ports: Ports,
    pub(crate) limits: CalendarLimits,
}

/// A calendar that serves.
pub struct Calendar {
    task: JoinHandle<()>,
}

/// Opens the calendar's socket.
///
/// # Errors
/// The address cannot be used.
pub fn listen(address: SocketAddr, limits: &CalendarLimits) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits.backlog)
}

impl Calendar {
    /// Serves on `listener` until `stop`; `chain` tells the status page what the chain's part knows.
    pub fn start(
        listener: TcpListener,
        limits: CalendarLimits,
        (intake, lookup, anchors): (Intake, Lookup, AnchorView),
        chain: Option<Arc<dyn ChainStatus>>,
        ports: &Ports,
        stop: &CancellationToken,
    ) -> Self {
        let parts = Arc::new(Parts { intake, lookup, anchors, chain, ports: ports.clone(), limits });
        Self { task: tokio::spawn(serve(listener, parts, stop.clone())) }
    }

    /// Waits until what was under way is answered. Cancel `stop` first.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the calendar's task failed");
        }
    }
}

/// As many connections as the process may have files for.
fn connections_max(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    // The usual soft limit is for programs that use select(2).
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = usize::try_from(files.saturating_sub(FILES_KEPT)).unwrap_or(usize::MAX).max(64);
    if room < wanted {
        tracing::warn!(room, wanted, "the calendar takes fewer connections; raise the limit of open files");
    }
    wanted.min(room)
}

async fn serve(listener: TcpListener, parts: Arc<Parts>, stop: CancellationToken) {
    let most = connections_max(parts.limits.connections_max);
    let room = Arc::new(Semaphore::new(most));
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let connection = match accepted {
            Ok((connection, _)) => connection,
            Err(error) => {
                // No files are left, or the peer is gone already: the socket stays.
                tracing::debug!(%error, "a connection was not taken");
                parts.ports.clock.sleep_ms(5).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            metrics::counter!(TURNED_AWAY).increment(1);
            turn_away(&connection);
            continue;
        };
        metrics::gauge!(CONNECTIONS).set(u32::try_from(most - room.available_permits()).unwrap_or(u32::MAX));
        let (parts, stop, room) = (parts.clone(), stop.clone(), room.clone());
        open.spawn(async move {
            talk(connection, parts, stop).await;
            drop(place);
            let taken = u32::try_from(most - room.available_permits()).unwrap_or(u32::MAX);
            metrics::gauge!(CONNECTIONS).set(taken);
        });
    }
    open.close();
    open.wait().await;
}

/// Says why, without waiting for anybody: a fresh socket has room for these bytes.
fn turn_away(connection: &TcpStream) {
    let _ = connection.try_write(refusal().as_bytes());
}

fn refusal() -> String {
    let body = "too many connections; come again in some seconds";
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn talk(connection: TcpStream, parts: Arc<Parts>, stop: CancellationToken) {
    let _ = connection.set_nodelay(true);
    let (limits, clock) = (parts.limits, parts.ports.clock.clone());
    let service = service_fn(move |request| {
        let parts = parts.clone();
        async move { Ok::<_, std::convert::Infallible>(routes::answer(request, &parts).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_ms))
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .keep_alive(true)
        .serve_connection(TokioIo::new(connection), service);
    let mut served = std::pin::pin!(served);
    let life = clock.sleep_ms(limits.connection_ms);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = async { tokio::select! { () = life => {}, () = stop.cancelled() => {} } } => {
            // The request under way is answered, and none after it.
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a calendar's connection ended");
    }
}
