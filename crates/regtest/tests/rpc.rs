//! The JSON-RPC that timestamp clients make.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bitcoin::block::Header;
use eschaton_embedded::SystemClock;
use eschaton_regtest::{RegtestChain, RegtestConfig, RpcOptions, RpcServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

const ADDRESS: &str = "bcrt1q0xcqpzrky6eff2g52qdye53xkk9jxkvrl4xfg5";

struct Served {
    server: RpcServer,
    _dir: tempfile::TempDir,
}

async fn serve(login: Option<&str>) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let chain = RegtestChain::open(&RegtestConfig::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let login = login.map(|login| Zeroizing::new(login.to_owned()));
    Served { server: RpcServer::start(chain, RpcOptions { listen, login }).await.unwrap(), _dir: dir }
}

impl Served {
    /// Sends these bytes and gives all that comes back until the server closes, or for three seconds.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        // The server may answer and close before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn post(&self, login: Option<&str>, body: &str) -> String {
        let login = login.map(|login| {
            format!("authorization: Basic {}\r\n", base64::prelude::BASE64_STANDARD.encode(login))
        });
        let login = login.unwrap_or_default();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{login}content-length: {}\r\n\r\n",
            body.len()
        );
        self.raw(format!("{head}{body}").as_bytes()).await
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "version": "1.1", "id": 7, "method": method, "params": params }).to_string();
        let answer = self.post(None, &body).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method}: {answer}"));
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{method}: {answer}"));
        assert_eq!(answer["id"], 7);
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timestamp_clients_calls() {
    let served = serve(None).await;
    let mined = served.call("generatetoaddress", json!([3, ADDRESS])).await;
    let mined = mined["result"].as_array().unwrap().clone();
    assert_eq!(served.call("getblockcount", json!([])).await["result"], 3);
    assert_eq!(served.call("getblockhash", json!([2])).await["result"], mined[1]);
    let header = served.call("getblockheader", json!([mined[1], false])).await;
    let bytes = hex::decode(header["result"].as_str().unwrap()).unwrap();
    let header: Header = bitcoin::consensus::deserialize(&bytes).unwrap();
    assert_eq!(mined[1], json!(header.block_hash()));
    let verbose = served.call("getblockheader", json!([mined[1]])).await;
    assert_eq!(verbose["result"]["merkleroot"], json!(header.merkle_root));
    assert_eq!(verbose["result"]["confirmations"], 2);
    let info = served.call("getblockchaininfo", json!([])).await;
    assert_eq!((&info["result"]["chain"], &info["result"]["bestblockhash"]), (&json!("regtest"), &mined[2]));
    let block = served.call("getblock", json!([mined[2], 1])).await;
    let coinbase = served.call("getrawtransaction", json!([block["result"]["tx"][0], true])).await;
    assert_eq!(
        (&coinbase["result"]["blockhash"], &coinbase["result"]["confirmations"]),
        (&mined[2], &json!(1))
    );
    for (method, params, code) in [
        ("getblockhash", json!([4]), -8),
        ("getblockhash", json!(["x"]), -8),
        ("getblockheader", json!(["5a".repeat(32), false]), -5),
        ("getrawtransaction", json!(["5a".repeat(32)]), -5),
        ("sendrawtransaction", json!(["00"]), -22),
        ("generatetoaddress", json!([1, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]), -5),
        ("generatetoaddress", json!([1_000_000, ADDRESS]), -1),
        ("stop", json!([]), -32_601),
    ] {
        let answer = served.call(method, params).await;
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
        assert!(answer["result"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_without_login_and_bad_requests() {
    let served = serve(Some("some:secret")).await;
    let body = json!({ "id": 1, "method": "getblockcount", "params": [] }).to_string();
    for wrong in [None, Some("some:secreT"), Some("")] {
        assert!(served.post(wrong, &body).await.starts_with("HTTP/1.1 401"), "{wrong:?}");
    }
    assert!(served.post(Some("some:secret"), &body).await.starts_with("HTTP/1.1 200"));
    let served = serve(None).await;
    assert!(served.raw(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.starts_with("HTTP/1.1 405"));
    assert!(served.post(None, "{").await.contains("-32700"));
    assert!(served.post(None, "[]").await.contains("-32601"));
    let long = format!("{body}{}", " ".repeat(2 << 20));
    assert!(served.post(None, &long).await.starts_with("HTTP/1.1 413"));
    // One that sends nothing is cut off.
    let started = tokio::time::timeout(Duration::from_secs(7), served.raw(b"POST / HT")).await;
    assert!(started.is_ok(), "a silent connection stays open");
}
