//! Litecoin with its extension blocks (MWEB) active.

#![allow(clippy::unwrap_used, clippy::panic)]

mod kit;

use std::sync::Arc;

use bitcoin::Txid;
use eschaton_chain::ChainKind;
use eschaton_ports::chain::{BlockRef, Chain, ChainEvent, TxStatus, Watched, follow, locate, rescan};
use kit::{Node, open};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_with_an_extension_are_read() {
    let node = Node::start("litecoind", 29_443, &[("CHAIN_MWEB", "1")]);
    node.rpc("createwallet", json!(["test"]));
    let address = node.rpc("getnewaddress", json!([]));
    node.rpc("generatetoaddress", json!([431, address]));
    // The extension begins at height 432, with what was sent into it before.
    let inside = node.rpc("getnewaddress", json!(["", "mweb"]));
    node.rpc("sendtoaddress", json!([inside, 10]));
    let chain: Arc<dyn Chain> = open(node.config(ChainKind::LitecoinRegtest));
    let mut follower = follow(chain.clone(), locate(&*chain, 431).await.unwrap());
    node.rpc("generatetoaddress", json!([3, address]));
    // Within the extension, out of it, and an ordinary payment, in one block.
    node.rpc("sendtoaddress", json!([inside, 2]));
    let outside = node.rpc("sendtoaddress", json!([address, 1]));
    node.rpc("generatetoaddress", json!([4, address]));

    let tip = chain.tip().await.unwrap();
    assert_eq!(tip.height, 438);
    let mut scan = rescan(chain.clone(), 425..=tip.height);
    let mut extended = 0;
    while let Some((at, block)) = scan.next().await.unwrap() {
        let told = node.rpc("getblock", json!([at.hash.to_string(), 1]));
        let told: Vec<&str> = told["tx"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let found: Vec<String> = block.txdata.iter().map(|one| one.compute_txid().to_string()).collect();
        assert_eq!(found, told, "block {}", at.height);
        if at.height >= 432 {
            // A plain decoder must fail here, or the extension was not active and this test says nothing.
            let hex = node.rpc("getblock", json!([at.hash.to_string(), 0]));
            let bytes = hex::decode(hex.as_str().unwrap()).unwrap();
            assert!(
                bitcoin::consensus::deserialize::<bitcoin::Block>(&bytes).is_err(),
                "block {}",
                at.height
            );
            extended += 1;
            let ChainEvent::Connected { at: connected, block: same } = follower.next().await.unwrap() else {
                panic!("a reorganisation that was none")
            };
            assert_eq!((connected, same), (at, block));
        }
    }
    assert_eq!(extended, 7);
    // The ordinary payment, and the last transaction of the block, which settles with the extension. The wallet may have
    // paid from within the extension; then the payment has no transaction of this id, and the node's own list says so.
    let paid_at = chain.hash_at(435).await.unwrap().unwrap();
    let told = node.rpc("getblock", json!([paid_at.to_string(), 1]));
    let told: Vec<Txid> =
        told["tx"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect();
    let outside: Txid = outside.as_str().unwrap().parse().unwrap();
    for txid in [outside, *told.last().unwrap()] {
        let watched = Watched { txid, inputs: Vec::new(), outputs: 1, since: 430 };
        let expected = match told.contains(&txid) {
            true => TxStatus::InBlock { block: BlockRef { height: 435, hash: paid_at }, depth: 4 },
            false => TxStatus::Unknown,
        };
        assert_eq!(chain.status(&watched).await.unwrap(), expected);
    }
    // A reorganisation with the extension active.
    let undone = chain.hash_at(436).await.unwrap().unwrap();
    node.rpc("invalidateblock", json!([undone.to_string()]));
    // To another address: an empty block to the same one in the same second is the one just invalidated.
    let other = node.rpc("getnewaddress", json!([]));
    node.rpc("generatetoaddress", json!([5, other]));
    let ChainEvent::Disconnected { to, from } = follower.next().await.unwrap() else {
        panic!("no reorganisation")
    };
    assert_eq!((to.height, from.height), (435, 438));
    for height in 436..=440 {
        let ChainEvent::Connected { at, .. } = follower.next().await.unwrap() else { panic!("no block") };
        assert_eq!(at.height, height);
    }
}
