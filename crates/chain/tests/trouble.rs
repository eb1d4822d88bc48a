//! A node that is away, another one's, refuses the login, has deleted blocks, or lies.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eschaton_chain::{ChainKind, Credentials, RpcConfig};
use eschaton_ports::chain::{Chain, ChainError, ChainState, follow, locate};
use kit::{Node, open};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_goes_and_comes_back() {
    let node = Node::start("bitcoind", 28_543, &[]);
    node.run(&["mine", "3"]);
    let config = RpcConfig { request_ms: 1_500, ..node.config(ChainKind::BitcoinRegtest) };
    let chain: Arc<dyn Chain> = open(config);
    let tip = chain.tip().await.unwrap();
    let mut follower = follow(chain.clone(), locate(&*chain, 1).await.unwrap());
    // It hangs: the call ends all the same.
    node.run(&["pause"]);
    let started = Instant::now();
    let hung = chain.tip().await;
    assert!(matches!(hung, Err(ChainError::Away { .. })), "{hung:?}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    node.run(&["resume"]);
    assert_eq!(chain.tip().await.unwrap(), tip);
    // It crashes, after it wrote its blocks out: this question makes it do so.
    node.rpc("gettxoutsetinfo", json!([]));
    node.run(&["kill9"]);
    let error = chain.tip().await.unwrap_err();
    assert!(matches!(&error, ChainError::Away { node, .. } if node == "127.0.0.1:28543"), "{error}");
    assert!(!error.to_string().contains("secret"));
    assert_eq!(chain.state().await, ChainState::Away);
    assert!(follower.next().await.is_err());
    // It comes back as a node of the same chain, then as one of another.
    node.run(&["start"]);
    assert_eq!(chain.tip().await.unwrap(), tip);
    assert!(follower.next().await.is_ok());
    node.run(&["kill9"]);
    assert_eq!(chain.state().await, ChainState::Away);
    let other = Node::start("litecoind", 28_543, &[]);
    let error = chain.hash_at(0).await.unwrap_err();
    assert!(matches!(error, ChainError::WrongNetwork { .. }), "{error}");
    assert_eq!(chain.state().await, ChainState::WrongNetwork);
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_and_a_cookie_that_changes() {
    let node = Node::start("bitcoind", 28_643, &[]);
    let dir = tempfile::tempdir().unwrap();
    let cookie = dir.path().join(".cookie");
    let config = RpcConfig {
        credentials: Credentials::File(cookie.clone()),
        ..node.config(ChainKind::BitcoinRegtest)
    };
    let chain = open(config);
    assert_eq!(chain.state().await, ChainState::Credentials);
    std::fs::write(&cookie, "eschaton:wrong-secret").unwrap();
    let error = chain.tip().await.unwrap_err();
    assert!(matches!(&error, ChainError::Credentials { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong-secret"));
    std::fs::write(&cookie, kit::LOGIN).unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_deleted_blocks_says_so() {
    let env = [("CHAIN_INDEX", "0"), ("CHAIN_ARGS", "-prune=1 -fastprune")];
    let node = Node::start("bitcoind", 28_743, &env);
    for _ in 0..9 {
        node.run(&["mine", "100"]);
    }
    node.rpc("pruneblockchain", json!([500]));
    let chain = open(node.config(ChainKind::BitcoinRegtest));
    let deleted = chain.hash_at(5).await.unwrap().unwrap();
    let error = chain.block(deleted).await.unwrap_err();
    assert!(matches!(error, ChainError::Pruned { .. }), "{error}");
    let kept = chain.tip().await.unwrap().hash;
    assert!(chain.block(kept).await.unwrap().is_some());
}

/// Answers every call with what a function makes of the real node's answer.
async fn liar(real: u16, lie: fn(&str, &mut Value)) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                let mut length = 0;
                let body = loop {
                    length += client.read(&mut bytes[length..]).await.unwrap();
                    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
                    if let Ok(body) = serde_json::from_str::<Value>(body) {
                        break body;
                    }
                };
                let mut node = tokio::net::TcpStream::connect(("127.0.0.1", real)).await.unwrap();
                let mut request = String::from_utf8(bytes[..length].to_vec()).unwrap();
                request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                node.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                node.read_to_string(&mut answer).await.unwrap();
                let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
                let mut answer: Value = serde_json::from_str(answer).unwrap();
                lie(body["method"].as_str().unwrap(), &mut answer);
                let answer = answer.to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                client.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_are_found_out() {
    let node = Node::start("bitcoind", 28_843, &[]);
    node.run(&["mine", "2"]);
    let honest = open(node.config(ChainKind::BitcoinRegtest));
    let tip = honest.tip().await.unwrap();

    async fn seen(real: u16, lie: fn(&str, &mut Value)) -> Arc<eschaton_chain::RpcChain> {
        open(kit::config(ChainKind::BitcoinRegtest, &format!("127.0.0.1:{}", liar(real, lie).await)))
    }
    let silent = seen(node.port, |_, _| {}).await;
    assert!(silent.block(tip.hash).await.unwrap().is_some(), "the liar's truth does not arrive");
    // Another block's bytes, and a changed transaction.
    let lie: fn(&str, &mut Value) = |method, answer| {
        if method == "getblock" {
            let text = answer["result"].as_str().unwrap().to_owned();
            answer["result"] = json!(text.replacen("0000000000", "0000000001", 1));
        }
    };
    let error = seen(node.port, lie).await.block(tip.hash).await.unwrap_err();
    assert!(matches!(error, ChainError::Lying { .. }), "{error}");
    // A header that is another's.
    let lie: fn(&str, &mut Value) = |method, answer| {
        if method == "getblockheader" && answer["result"].is_string() {
            let text = answer["result"].as_str().unwrap().to_owned();
            answer["result"] = json!(format!("{}ffffffff", &text[..152]));
        }
    };
    let error = seen(node.port, lie).await.header(tip.hash).await.unwrap_err();
    assert!(matches!(error, ChainError::Lying { .. }), "{error}");
    // Another genesis block.
    let lie: fn(&str, &mut Value) = |method, answer| {
        if method == "getblockhash" {
            answer["result"] = json!("5a".repeat(32));
        }
    };
    let error = seen(node.port, lie).await.tip().await.unwrap_err();
    assert!(matches!(error, ChainError::WrongNetwork { .. }), "{error}");
    // What is no answer at all.
    let lie: fn(&str, &mut Value) = |_, answer| *answer = json!({ "result": 1 });
    let error = seen(node.port, lie).await.tip().await.unwrap_err();
    assert!(matches!(error, ChainError::Lying { .. }), "{error}");
}
