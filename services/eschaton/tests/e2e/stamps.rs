//! Timestamps from outside: the calendar over raw sockets, gRPC, the command line, and what a crash leaves.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eschaton_api::timestamp::timestamps_client::TimestampsClient;
use eschaton_api::timestamp::{
    GetTimestampRequest, Progress, StampBatchRequest, StampRequest, WatchUpgradesRequest,
};
use eschaton_ots::{DetachedFile, Timestamp};
use tonic::Code;

use crate::kit::cli::Cli;
use crate::kit::node::Node;
use crate::kit::{PATIENCE, until};

fn connect(calendar: &str) -> TcpStream {
    let connection = TcpStream::connect(calendar.strip_prefix("http://").unwrap()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

pub(crate) fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// Head and body of one answer; none when the connection ended before it.
fn read(connection: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match connection.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
    }
    let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    connection.read_exact(&mut body).ok()?;
    Some((head, body))
}

pub(crate) fn ask(calendar: &str, request: &[u8]) -> (String, Vec<u8>) {
    let mut connection = connect(calendar);
    connection.write_all(request).unwrap();
    read(&mut connection).unwrap()
}

pub(crate) fn digest(number: u32) -> [u8; 32] {
    let mut digest = [0x5a; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    digest
}

/// The root that a stamp's promise is of.
fn promised(calendar: &str, digest: &[u8], answer: &[u8]) -> Vec<u8> {
    let pending = Timestamp::from_answer(digest, answer).unwrap().pending(digest).unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].uri.as_str(), calendar);
    pending[0].commitment.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_answers_what_its_clients_know() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::process(dir.path(), &[]).unwrap();
    let calendar = node.calendar.clone().unwrap();
    // Two requests on one connection; the same digest gets the same answer.
    let mut connection = connect(&calendar);
    let mut answers = Vec::new();
    for _ in 0..2 {
        connection.write_all(&post(&digest(1))).unwrap();
        let (head, body) = read(&mut connection).unwrap();
        assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: application/octet-stream"));
        answers.push(body);
    }
    assert_eq!(answers[0], answers[1]);
    let root = promised(&calendar, &digest(1), &answers[0]);
    let path = format!("/timestamp/{}", hex::encode(&root));
    until("the interval is known to the anchorer", async || {
        let (head, body) = ask(&calendar, &get(&path));
        assert!(head.starts_with("http/1.1 404 "), "{head}");
        (body == b"Pending confirmation in Bitcoin blockchain").then_some(())
    })
    .await;
    let unknown = format!("/timestamp/{}", "ab".repeat(32));
    let long = format!("/timestamp/{}", "ab".repeat(300));
    for (request, status, words) in [
        (post(&[7; 65]), "400", "digest too long"),
        (post(&[]), "400", "0 bytes"),
        (get(&unknown), "404", "Not found"),
        (get("/timestamp/zz"), "400", "hex"),
        (get(&long), "400", "hex"),
        (get("/nowhere"), "404", "Not found"),
        (get("/digest"), "405", "POST"),
        (get("/"), "200", "<table>"),
    ] {
        let (head, body) = ask(&calendar, &request);
        let body = String::from_utf8(body).unwrap();
        assert!(head.starts_with(&format!("http/1.1 {status} ")) && body.contains(words), "{head} {body}");
    }
    // A length that is announced is believed: nothing of the body is waited for.
    let (head, _) = ask(&calendar, b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n");
    assert!(head.starts_with("http/1.1 400 ") && head.contains("connection: close"), "{head}");
    // Headers without end are cut off.
    let mut connection = connect(&calendar);
    let endless = format!("GET / HTTP/1.1\r\nHost: {}", "x".repeat(1 << 20));
    // It may have ended before all was written.
    let _ = connection.write_all(endless.as_bytes());
    assert!(read(&mut connection).is_none_or(|(head, _)| head.starts_with("http/1.1 4")));
    assert!(node.scrape().contains("eschaton_stamps_acknowledged_total"));
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_let_go_while_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::process(dir.path(), &[]).unwrap();
    let calendar = node.calendar.clone().unwrap();
    let slow: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut connection = connect(&calendar);
            // Half have headers without end, half a body.
            let part: &[u8] = if n % 2 == 0 {
                b"GET / HTTP/1.1\r\nHost:"
            } else {
                b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 32\r\n\r\nabc"
            };
            connection.write_all(part).unwrap();
            connection
        })
        .collect();
    let began = Instant::now();
    assert!(ask(&calendar, &post(&digest(2))).0.starts_with("http/1.1 200 "));
    for mut connection in slow {
        let mut rest = Vec::new();
        // The end, or a reset: what counts is that it does not go on.
        let _ = connection.read_to_end(&mut rest);
    }
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_over_grpc_and_upgrades() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::process(dir.path(), &[]).unwrap();
    let calendar = node.calendar.clone().unwrap();
    let mut client = TimestampsClient::connect(node.url.clone()).await.unwrap();
    let batch = |id: u64| StampBatchRequest {
        id,
        digests: (0..1_000).map(|n| digest(u32::try_from(id).unwrap() * 500 + n).to_vec().into()).collect(),
    };
    let batches: Vec<StampBatchRequest> = (0..5).map(batch).collect();
    let mut answers = client.stamp_batch(tokio_stream::iter(batches.clone())).await.unwrap().into_inner();
    let mut seen = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        let batch = &batches[usize::try_from(answer.id).unwrap()];
        assert_eq!(answer.stamps.len(), batch.digests.len());
        for (digest, stamp) in batch.digests.iter().zip(&answer.stamps) {
            assert_eq!(promised(&calendar, digest, &stamp.timestamp), stamp.commitment);
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
    let stamp = client.stamp(StampRequest { digest: digest(3).to_vec().into() }).await.unwrap().into_inner();
    let asked = GetTimestampRequest { commitment: digest(3).to_vec().into() };
    let known = client.get_timestamp(asked).await.unwrap().into_inner();
    // The private chain may have taken its anchor already; there is no block before one is mined.
    assert!(matches!(known.progress(), Progress::Pending | Progress::Anchoring), "{known:?}");
    assert_eq!(known.timestamp, stamp.timestamp);
    let asked = WatchUpgradesRequest { commitments: vec![digest(3).to_vec().into()] };
    let first = client.watch_upgrades(asked).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!((&first.commitment, &first.timestamp), (&known.commitment, &known.timestamp));
    for (refused, code) in [
        (client.stamp(StampRequest { digest: Bytes::new() }).await.map(drop), Code::InvalidArgument),
        (client.stamp(StampRequest { digest: vec![1; 65].into() }).await.map(drop), Code::InvalidArgument),
        (
            client.get_timestamp(GetTimestampRequest { commitment: vec![1; 32].into() }).await.map(drop),
            Code::NotFound,
        ),
    ] {
        assert_eq!(refused.unwrap_err().code(), code);
    }
    node.stop();
}

/// T1: what was acknowledged is there after a crash, with the same proof.
#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_digest_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<([u8; 32], Vec<u8>)> = Vec::new();
    let mut options: Vec<String> = Vec::new();
    for round in 0..6_u32 {
        let given: Vec<&str> = options.iter().map(String::as_str).collect();
        let node = Node::process(dir.path(), &given).unwrap();
        let calendar = node.calendar.clone().unwrap();
        // Proofs carry the address, so it stays.
        options = vec!["--calendar".to_owned(), calendar.strip_prefix("http://").unwrap().to_owned()];
        for (digest, answer) in &acknowledged {
            let (head, again) = ask(&calendar, &post(digest));
            assert!(
                head.starts_with("http/1.1 200 ") && again == *answer,
                "a digest has another place: {head}"
            );
        }
        let clients: Vec<_> = (0..8_u32)
            .map(|client| {
                let calendar = calendar.clone();
                std::thread::spawn(move || {
                    let mut taken = Vec::new();
                    let mut connection = connect(&calendar);
                    for number in 0..1_000 {
                        let digest = digest(1_000_000 * (round + 1) + 10_000 * client + number);
                        if connection.write_all(&post(&digest)).is_err() {
                            break;
                        }
                        match read(&mut connection) {
                            Some((head, body)) if head.starts_with("http/1.1 200 ") => {
                                taken.push((digest, body))
                            }
                            Some((head, _)) => panic!("{head}"),
                            None => break,
                        }
                    }
                    taken
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300 + 170 * u64::from(round))).await;
        node.kill();
        acknowledged.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
    }
    assert!(acknowledged.len() > 20, "{} digests were acknowledged before the kills", acknowledged.len());
    let given: Vec<&str> = options.iter().map(String::as_str).collect();
    let node = Node::process(dir.path(), &given).unwrap();
    let calendar = node.calendar.clone().unwrap();
    for (digest, answer) in &acknowledged {
        assert_eq!(ask(&calendar, &post(digest)).1, *answer);
    }
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_stamped_beside_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::process(dir.path(), &[]).unwrap();
    let cli = Cli::new(&node.url);
    std::fs::create_dir_all(cli.file("papers/old")).unwrap();
    for (name, text) in [("papers/a", "one"), ("papers/old/b", "two"), ("c", "three")] {
        std::fs::write(cli.file(name), text).unwrap();
    }
    let done = cli.run(&["stamp", "papers", "c", "--json"]);
    assert_eq!((done.code, done.stdout.lines().count()), (0, 3), "{done:?}");
    for name in ["papers/a", "papers/old/b", "c"] {
        let proof = std::fs::read(cli.file(&format!("{name}.ots"))).unwrap();
        let proof = DetachedFile::from_bytes(&proof).unwrap();
        let pending = proof.timestamp().pending(proof.digest()).unwrap();
        assert_eq!(pending[0].uri.as_str(), node.calendar.as_deref().unwrap());
    }
    let before = std::fs::read(cli.file("c.ots")).unwrap();
    let again = cli.run(&["stamp", "papers", "c"]);
    assert!(again.code == 0 && again.stdout.contains("c has c.ots already"), "{again:?}");
    assert_eq!(std::fs::read(cli.file("c.ots")).unwrap(), before, "a proof is never written over");
    let missing = cli.run(&["stamp", "nothing"]);
    assert!(missing.code == 1 && missing.stderr.contains("nothing cannot be read"), "{missing:?}");
    node.stop();
}
