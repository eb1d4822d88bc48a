//! `kill -9` in the middle of a submit stream.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use eschaton_api::ingress::{Outcome, SubmitBatch, SubmitResult};
use eschaton_types::{Transaction, TxId};
use tonic::Status;

use crate::kit::money::{Mint, key, outpoint, pay, stranger};
use crate::kit::node::Node;
use crate::kit::rpc::{Rpc, Submissions};

const KILLS: usize = 5;
/// Outputs; each has two payments that exclude one another.
const OUTPUTS: u64 = 256 * 3;
const BATCH: usize = 16;
const STREAMS: usize = 3;
/// Answers before each kill. All kills together leave payments over.
const ANSWERS_BEFORE_KILL: usize = 150;

/// What the client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Accepted,
    Rejected,
}

struct Item {
    txid: TxId,
    bytes: Bytes,
    told: Option<Told>,
}

impl Item {
    /// Notes a decision; it must be the one that was told before, if one was.
    fn note(&mut self, result: &SubmitResult) {
        let told = match result.outcome() {
            Outcome::Accepted => Told::Accepted,
            Outcome::Rejected => Told::Rejected,
            _ => panic!("not decided: {result:?}"),
        };
        assert_eq!(*self.told.get_or_insert(told), told, "another decision than before: {result:?}");
    }
}

/// Submits from the queue until the node dies or nothing is left. What had no answer goes back.
async fn load(rpc: &Rpc, items: &Mutex<Vec<Item>>, queue: &Mutex<VecDeque<usize>>) -> Result<(), Status> {
    let mut stream = Submissions::open(rpc).await?;
    for id in 0.. {
        let batch: Vec<usize> = {
            let mut queue = queue.lock().unwrap();
            let size = BATCH.min(queue.len());
            queue.drain(..size).collect()
        };
        if batch.is_empty() {
            break;
        }
        let transactions = batch.iter().map(|at| items.lock().unwrap()[*at].bytes.clone()).collect();
        match stream.exchange(SubmitBatch { id, transactions, no_wait: false }).await {
            Ok(answer) => {
                let mut items = items.lock().unwrap();
                for (at, result) in batch.iter().zip(&answer.results) {
                    items[*at].note(result);
                }
            }
            Err(status) => {
                queue.lock().unwrap().extend(batch);
                return Err(status);
            }
        }
    }
    Ok(())
}

fn told(items: &Mutex<Vec<Item>>) -> usize {
    items.lock().unwrap().iter().filter(|item| item.told.is_some()).count()
}

/// Issuances, and two payments of each output.
fn contenders(mint: &Mint) -> (Vec<Transaction>, Vec<Item>) {
    let (mut issued, mut items) = (Vec::new(), Vec::new());
    for first in (0..OUTPUTS).step_by(256) {
        let owners: Vec<_> = (first..first + 256).map(key).collect();
        let addresses: Vec<_> = owners.iter().map(|owner| owner.address()).collect();
        let issuance = mint.issue(&addresses, 10, first);
        for (at, owner) in owners.iter().enumerate() {
            for receiver in [1, 2] {
                let payment = pay(owner, outpoint(&issuance, at), stranger(receiver), 10);
                items.push(Item { txid: payment.txid, bytes: payment.bytes, told: None });
            }
        }
        issued.push(issuance);
    }
    (issued, items)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_is_spent_twice() {
    let (dir, mint) = (tempfile::tempdir().unwrap(), Mint::new());
    let (issued, items) = contenders(&mint);
    let queue = Mutex::new((0..items.len()).collect::<VecDeque<_>>());
    let items = Mutex::new(items);

    for kill in 0..KILLS {
        let node = Node::start(dir.path(), &mint.options());
        let rpc = Rpc::connect(&node.url).await;
        if kill == 0 {
            for issuance in &issued {
                rpc.accept(issuance).await;
            }
        }
        let streams = futures::future::join_all((0..STREAMS).map(|_| load(&rpc, &items, &queue)));
        let enough = told(&items) + ANSWERS_BEFORE_KILL;
        let killer = async {
            crate::kit::until("answers before a kill", async || (told(&items) >= enough).then_some(())).await;
            node.kill();
        };
        let (ended, ()) = tokio::join!(streams, killer);
        assert!(ended.iter().any(Result::is_err), "kill {kill} hit no stream at work; give it more to do");
    }

    let node = Node::start(dir.path(), &mint.options());
    let rpc = Rpc::connect(&node.url).await;
    let mut items = items.into_inner().unwrap();
    for item in items.iter().filter(|item| item.told == Some(Told::Accepted)) {
        let state = rpc.transaction(&item.txid).await.map(|found| found.state);
        assert_eq!(state.as_deref(), Some("ACCEPTED"), "{} was acknowledged", item.txid);
    }
    for batch in items.chunks_mut(64) {
        let results = rpc.batch(batch.iter().map(|item| item.bytes.clone()).collect(), false).await;
        for (item, result) in batch.iter_mut().zip(&results) {
            item.note(result);
        }
    }
    for pair in items.chunks(2) {
        let accepted = pair.iter().filter(|item| item.told == Some(Told::Accepted)).count();
        assert_eq!(accepted, 1, "{} and {} spend one output", pair[0].txid, pair[1].txid);
    }
    node.stop();

    let report = eschaton_node::check(dir.path(), &dir.path().join("scratch"), 0, |_, _| {}).await.unwrap();
    assert!(report.rows > OUTPUTS, "{report:?}");
    assert_eq!(report.store_hash, report.replay_hash, "{:?}", report.first_difference);
}
