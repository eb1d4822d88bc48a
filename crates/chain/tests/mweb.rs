//! Litecoin with its extension blocks (MWEB) active.

#![allow(clippy::unwrap_used, clippy::panic)]

mod kit;

use std::sync::Arc;

use eschaton_chain::ChainKind;
use eschaton_ports::chain::{Chain, ChainEvent, TxStatus, Watched, follow, locate, rescan};
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
    // A transaction that the wallet made of coins inside and outside: if it has a part on the main chain, it is found.
    if let Some(status) = outside.as_str().and_then(|txid| txid.parse().ok()) {
        let watched = Watched { txid: status, inputs: Vec::new(), outputs: 1, since: 430 };
        let status = chain.status(&watched).await.unwrap();
        assert!(matches!(status, TxStatus::InBlock { .. } | TxStatus::Unknown), "{status:?}");
    }
    // A reorganisation with the extension active.
    let undone = chain.hash_at(436).await.unwrap().unwrap();
    node.rpc("invalidateblock", json!([undone.to_string()]));
    node.rpc("generatetoaddress", json!([5, address]));
    let ChainEvent::Disconnected { to, from } = follower.next().await.unwrap() else {
        panic!("no reorganisation")
    };
    assert_eq!((to.height, from.height), (435, 438));
    for height in 436..=440 {
        let ChainEvent::Connected { at, .. } = follower.next().await.unwrap() else { panic!("no block") };
        assert_eq!(at.height, height);
    }
}
