//! Two payments of one output, at once, over different connections.

use bytes::Bytes;
use eschaton_api::ingress::{Outcome, SubmitResult};
use futures::StreamExt;

use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::Rpc;

const PAIRS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_of_two_contenders_is_accepted() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let node = Node::start(dir.path(), &mint.options());
    let (left, right) = (Rpc::connect(&node.url).await, Rpc::connect(&node.url).await);
    let owners: Vec<_> = (0..PAIRS).map(key).collect();
    let issued = mint.issue(&owners.iter().map(|owner| owner.address()).collect::<Vec<_>>(), 10, 0);
    left.accept(&issued).await;

    let decided: Vec<[SubmitResult; 2]> = futures::stream::iter(owners.iter().enumerate())
        .map(|(at, owner)| {
            let (left, right, output) = (&left, &right, outpoint(&issued, at));
            async move {
                let (one, other) = (pay(owner, output, stranger(1), 10), pay(owner, output, stranger(2), 10));
                // Who goes first changes, so that neither connection has the advantage.
                let (a, b) = if at % 2 == 0 { (left, right) } else { (right, left) };
                let (one, other) = tokio::join!(a.submit(&one.bytes), b.submit(&other.bytes));
                [one.unwrap(), other.unwrap()]
            }
        })
        .buffer_unordered(16)
        .collect()
        .await;

    assert_eq!(decided.len(), owners.len());
    // Looked up in one question, in the order of the ids; one that nobody ever sent is among them.
    let mut ids: Vec<Bytes> = decided.iter().flatten().map(|result| result.txid.clone()).collect();
    ids.push(Bytes::from_static(&[7; 32]));
    let states = right.states(ids.clone()).await.unwrap();
    let told =
        |result: &SubmitResult| result.outcome().as_str_name().trim_start_matches("OUTCOME_").to_owned();
    let expected: Vec<String> = decided.iter().flatten().map(told).chain([String::new()]).collect();
    assert_eq!(states, expected);
    for refused in [vec![Bytes::from_static(b"short")], vec![ids[0].clone(); 1_001]] {
        let refused = right.states(refused).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    }
    for pair in &decided {
        let (winner, loser) = match pair.each_ref().map(SubmitResult::outcome) {
            [Outcome::Accepted, Outcome::Rejected] => (&pair[0], &pair[1]),
            [Outcome::Rejected, Outcome::Accepted] => (&pair[1], &pair[0]),
            _ => panic!("not exactly one of two was accepted: {pair:?}"),
        };
        assert!(["REASON_SPENT", "REASON_CONFLICT_LOST"].contains(&loser.reason.as_str()), "{loser:?}");
        assert_eq!(loser.spent_by, winner.txid, "{loser:?}");
        assert!(loser.message.contains("choose another output"), "{loser:?}");
    }
}
