//! More than a node takes: told when to come again, and well afterwards.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eschaton_api::ingress::Outcome;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::kit::PATIENCE;
use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;

const ROOM: usize = 16;
const FLOOD: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_shed_with_a_hint_and_all_of_it_is_paid_in_the_end() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    // The window keeps what was taken undecided for as long as the flood needs.
    let options = [mint.options().as_slice(), &["--undecided-max", "16", "--window-ms", "4000"]].concat();
    let node = Node::start(dir.path(), &options);
    let rpc = Rpc::connect(&node.url).await;
    let owner = key(1);
    let issued = mint.issue(&[owner.address(); FLOOD], 10, 0);
    rpc.accept(&issued).await;
    let flood: Vec<Bytes> =
        (0..FLOOD).map(|index| pay(&owner, outpoint(&issued, index), stranger(1), 10).bytes).collect();

    let results = rpc.batch(flood.clone(), true).await;
    let taken = results.iter().filter(|result| result.outcome() == Outcome::Pending).count();
    assert!((1..=ROOM).contains(&taken), "{taken} were taken: {results:?}");
    for result in &results[taken..] {
        assert_eq!(result.outcome(), Outcome::Busy, "{result:?}");
        assert!(result.retry_after_ms > 0 && !result.message.is_empty(), "{result:?}");
    }
    let status = rpc.submit(&flood[FLOOD - 1]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let hint = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert!(hint.parse::<u64>().unwrap() > 0, "{hint}");
    // It goes on serving everything else.
    let status = rpc.status().await;
    assert!(status.undecided <= ROOM as u64 && status.problems.is_empty(), "{status:?}");
    let health = HealthClient::new(rpc.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);

    // A client that comes again when it is told to gets everything through.
    let deadline = Instant::now() + PATIENCE;
    let mut left: VecDeque<Bytes> = flood.into();
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{} payments were never taken", left.len());
        let batch: Vec<Bytes> = left.drain(..).collect();
        let results = rpc.batch(batch.clone(), false).await;
        let mut again_after_ms = 0;
        for (result, bytes) in results.iter().zip(batch) {
            match result.outcome() {
                Outcome::Accepted => {}
                Outcome::Pending | Outcome::Busy => {
                    again_after_ms = again_after_ms.max(result.retry_after_ms);
                    left.push_back(bytes);
                }
                _ => panic!("{result:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(again_after_ms.into())).await;
    }
    assert_eq!(rpc.status().await.undecided, 0);
}
