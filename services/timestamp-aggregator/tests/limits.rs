//! Who finds no room is told so, and when to come again: a connection too many, and a digest too many.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eschaton_api::timestamp::StampRequest;
use eschaton_api::timestamp::timestamps_server::Timestamps;
use eschaton_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, OsRng, StoreOptions, SystemClock};
use eschaton_kit::{Health, Ports};
use eschaton_ots::{CalendarUri, Chain, Timestamp};
use eschaton_ports::Clock;
use eschaton_timestamp::AnchorInput;
use timestamp_aggregator::{
    Aggregator, AggregatorConfig, Calendar, CalendarLimits, Intake, IntakeLimits, Lookup, TimestampsService,
    listen,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

const PATIENCE: Duration = Duration::from_secs(30);

fn ports(dir: &Path) -> Ports {
    let (log, _) = EmbeddedLog::open(&dir.join("log"), &LogOptions::new(1)).unwrap();
    let (store, _) = EmbeddedStore::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    Ports {
        log: Arc::new(log),
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        rng: Arc::new(OsRng::new().unwrap()),
        signer: None,
    }
}

/// A calendar with its aggregator, on engines of its own.
struct Bench {
    _dir: tempfile::TempDir,
    address: std::net::SocketAddr,
    intake: Intake,
    service: TimestampsService,
    aggregator: Aggregator,
    calendar: Calendar,
    health: Health,
    stop: CancellationToken,
}

impl Bench {
    async fn start(interval_ms: u64, intake: IntakeLimits, calendar: CalendarLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = ports(dir.path());
        let (health, stop) = (Health::default(), CancellationToken::new());
        let mut config = AggregatorConfig { interval_ms, ..AggregatorConfig::new(1) };
        config.anchorer.anchor_ms = 1;
        let listener = listen("127.0.0.1:0".parse().unwrap(), &calendar).unwrap();
        let address = listener.local_addr().unwrap();
        let uri = CalendarUri::new(&format!("http://{address}")).unwrap();
        let intake = Intake::start(1, &uri, intake, &ports, &health, &stop).await.unwrap();
        let aggregator = Aggregator::start(&config, &ports, &health, &stop);
        let lookup = Lookup::new(&ports, &config, uri, Chain::Bitcoin);
        let service = TimestampsService::new(intake.clone(), lookup.clone(), &ports);
        let answers = (intake.clone(), lookup, aggregator.anchors());
        let calendar = Calendar::start(listener, calendar, answers, None, &ports, &stop);
        Self { _dir: dir, address, intake, service, aggregator, calendar, health, stop }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.calendar.join().await;
        self.aggregator.join().await;
    }
}

/// One answer, with a body of the length that it says.
async fn answer(connection: &mut TcpStream) -> (String, Vec<u8>) {
    let read = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(connection.read_u8().await.unwrap());
        }
        let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        connection.read_exact(&mut body).await.unwrap();
        (head, body)
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

fn post(digest: &[u8]) -> Vec<u8> {
    let head = format!("POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", digest.len());
    [head.as_bytes(), digest].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_told_to_come_again() {
    let limits = CalendarLimits { connections_max: 2, ..CalendarLimits::default() };
    let bench = Bench::start(20, IntakeLimits::default(), limits).await;
    let mut served = Vec::new();
    for number in 0..2 {
        let mut connection = bench.connect().await;
        connection.write_all(&post(&[number; 32])).await.unwrap();
        assert!(answer(&mut connection).await.0.starts_with("http/1.1 200 "));
        served.push(connection);
    }
    let mut third = bench.connect().await;
    let (head, body) = answer(&mut third).await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 1\r\n") && head.contains("connection: close\r\n"), "{head}");
    assert_eq!(body, b"too many connections; come again in some seconds");
    // The end of the stream, and nothing after it.
    assert_eq!(tokio::time::timeout(PATIENCE, third.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    // Those that have a place keep it, and one that leaves makes room.
    served[0].write_all(&post(&[9; 32])).await.unwrap();
    assert!(answer(&mut served[0]).await.0.starts_with("http/1.1 200 "));
    drop(served.pop());
    let room = async {
        loop {
            let mut connection = bench.connect().await;
            // It may be turned away before it has spoken.
            let _ = connection.write_all(&post(&[8; 32])).await;
            let mut status = [0; 12];
            if connection.read_exact(&mut status).await.is_ok() && status == *b"HTTP/1.1 200" {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, room).await.unwrap();
    drop(served);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_too_many_is_told_to_come_again() {
    let intake = IntakeLimits { waiting_max: 1, retry_ms: 1_200, ..IntakeLimits::default() };
    // Long enough that the second comes while the first waits.
    let bench = Bench::start(3_000, intake, CalendarLimits::default()).await;
    let mut first = bench.connect().await;
    first.write_all(&post(&[1; 32])).await.unwrap();
    let waits = async {
        while bench.intake.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();

    let mut second = bench.connect().await;
    second.write_all(&post(&[2; 32])).await.unwrap();
    let (head, body) = answer(&mut second).await;
    assert!(head.starts_with("http/1.1 503 ") && head.contains("retry-after: 2\r\n"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("come again in 1200 ms"));

    let request = StampRequest { digest: Bytes::from_static(&[3; 32]) };
    let refused = bench.service.stamp(Request::new(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "1200");

    // Who had room is answered, and then there is room for the one that was refused, on its own connection.
    let (head, body) = answer(&mut first).await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(Timestamp::from_answer(&[1; 32], &body).unwrap().pending(&[1; 32]).unwrap().len(), 1);
    let empty = async {
        while bench.intake.waiting() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, empty).await.unwrap();
    second.write_all(&post(&[2; 32])).await.unwrap();
    assert!(answer(&mut second).await.0.starts_with("http/1.1 200 "));
    drop((first, second));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_are_not_taken_for_ever_while_no_anchor_can_be_made() {
    let intake = IntakeLimits { unanchored_max: 2, ..IntakeLimits::default() };
    // Nobody tells the anchorer a fee, so it makes no anchor.
    let bench = Bench::start(1, intake, CalendarLimits::default()).await;
    let mut taken = 0_u8;
    let mut connection = bench.connect().await;
    let refused = loop {
        connection.write_all(&post(&[taken; 32])).await.unwrap();
        let (head, body) = answer(&mut connection).await;
        if !head.starts_with("http/1.1 200 ") {
            break (head, String::from_utf8(body).unwrap());
        }
        taken += 1;
        SystemClock.sleep_ms(50).await;
        assert!(taken < 200, "nothing is refused");
    };
    assert!(taken >= 2);
    assert!(
        refused.0.starts_with("http/1.1 503 ") && refused.0.contains("retry-after: 60\r\n"),
        "{refused:?}"
    );
    assert!(refused.1.contains("no anchor could be made for long"), "{refused:?}");
    let request = StampRequest { digest: Bytes::from_static(&[0; 32]) };
    let status = bench.service.stamp(Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let problems = bench.health.problems().join("; ");
    for told in ["stamps-intake: ", "at most 2 may", "fee cap"] {
        assert!(problems.contains(told), "{told}: {problems}");
    }

    // An anchor takes all that wait, and the door opens by itself.
    bench.aggregator.inbox().tell(&[AnchorInput::Fee(1_000)]).await.unwrap();
    let again = async {
        loop {
            connection.write_all(&post(&[201; 32])).await.unwrap();
            let (head, _) = answer(&mut connection).await;
            if head.starts_with("http/1.1 200 ") {
                return;
            }
            SystemClock.sleep_ms(50).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert!(!bench.health.problems().join("; ").contains("stamps-intake"));
    drop(connection);
    bench.stop().await;
}
