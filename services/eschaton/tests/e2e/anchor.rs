//! Anchors from outside: the private chain, the wallet's commands, and what a light client checks.

use bitcoin::Txid;
use bytes::Bytes;
use eschaton_api::timestamp::StampRequest;
use eschaton_api::timestamp::timestamps_client::TimestampsClient;
use eschaton_client::{Node as Client, NodeOptions};
use eschaton_headers::{HeaderChain, Params};
use serde_json::Value;

use crate::kit::cli::Cli;
use crate::kit::node::Node;
use crate::kit::until;
use crate::stamps::ask;

/// The oldest anchor, once it is in this state.
async fn anchor(cli: &Cli, state: &str) -> Value {
    until(state, async || cli.json_lines(&["anchor", "list"]).pop().filter(|anchor| anchor["state"] == state))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_chain_carries_anchors() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--mine-ms", "0", "--anchor-interval-ms", "100", "--anchor-confirmations", "3"];
    let node = Node::process(dir.path(), &options).unwrap();
    let cli = Cli::new(&node.url);
    let address = cli.json(&["anchor", "address"]);
    assert_eq!(address["chain"], "bitcoin-regtest");
    assert!(address["address"].as_str().unwrap().starts_with("bcrt1p"), "{address}");
    assert_ne!(cli.json(&["anchor", "address", "--new"]), address);
    let balance = until("coins", async || {
        Some(cli.json(&["anchor", "balance"])).filter(|balance| balance["free_sat"].as_u64() > Some(0))
    })
    .await;
    assert_eq!((balance["free_sat"].as_u64(), &balance["problem"]), (Some(20_000_000_000), &Value::Null));

    let mut stamps = TimestampsClient::connect(node.url.clone()).await.unwrap();
    stamps.stamp(StampRequest { digest: Bytes::from_static(&[7; 32]) }).await.unwrap();
    let sent = anchor(&cli, "broadcast").await;
    // A wish within the cap raises the fee; one above it, or for what is not there, is refused.
    let number = sent["anchor"].to_string();
    assert_eq!(cli.run(&["anchor", "bump", &number, "--fee", "101"]).code, 1);
    assert_eq!(cli.run(&["anchor", "bump", "999999", "--fee", "5"]).code, 1);
    cli.json(&["anchor", "bump", &number, "--fee", "5"]);
    let raised = until("a higher fee", async || {
        let anchor = cli.json_lines(&["anchor", "list"]).pop()?;
        (anchor["attempts"] == 2 && anchor["state"] == "broadcast").then_some(anchor)
    })
    .await;
    assert!(raised["fee_sat"].as_u64() > sent["fee_sat"].as_u64().map(|fee| fee * 4), "{raised}");

    let mined = cli.json(&["chain", "mine", "1"]);
    let confirmed = anchor(&cli, "confirmed").await;
    assert_eq!((&confirmed["height"], &confirmed["confirmations"]), (&mined["height"], &Value::from(1)));
    assert_eq!(cli.json(&["beacon", "--blocks", "1"])["hash"], mined["hash"]);

    // What the only anchors of the day cost, on the page and in the metrics.
    let fees: Vec<u64> =
        cli.json_lines(&["anchor", "list"]).iter().filter_map(|anchor| anchor["fee_sat"].as_u64()).collect();
    let cost = fees.iter().sum::<u64>();
    until("the day's cost in the metrics", async || {
        node.scrape().lines().any(|line| line == format!("eschaton_anchor_day_cost_sat {cost}")).then_some(())
    })
    .await;
    let page = ask(node.calendar.as_ref().unwrap(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let page = String::from_utf8_lossy(&page.1).into_owned();
    assert!(page.contains(&format!("cost of the last day's anchors<td>{cost} sat")), "{page}");

    // A light client: all headers from genesis, and the transaction under one of them.
    let client = Client::new(NodeOptions { endpoint: node.url.clone(), ..NodeOptions::default() }).unwrap();
    let mut chain = HeaderChain::new(Params::bitcoin_regtest());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    client.follow_headers(&mut chain, u32::try_from(now).unwrap()).await.unwrap();
    let txid: Txid = confirmed["txid"].as_str().unwrap().parse().unwrap();
    let height = u32::try_from(confirmed["height"].as_u64().unwrap()).unwrap();
    let found = client.transaction_in_block(txid, height).await.unwrap();
    assert_eq!(chain.place(found.header.block_hash()), Some((height, 1)));
    let root = hex::decode(confirmed["root"].as_str().unwrap()).unwrap();
    assert!(found.transaction.output.iter().any(|output| output.script_pubkey.as_bytes()[2..] == root[..]));
    assert!(client.transaction_in_block(txid, height - 1).await.is_err());

    // All of it is there after a kill.
    drop(node);
    let node = Node::process(dir.path(), &options).unwrap();
    let cli = Cli::new(&node.url);
    cli.json(&["chain", "mine", "2"]);
    let last = anchor(&cli, "final").await;
    assert_eq!((&last["txid"], &last["attempts"]), (&confirmed["txid"], &confirmed["attempts"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_node_that_is_away_is_told_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens there: it was ours a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://someone:hunter2@{free}");
    let node = Node::process(dir.path(), &["--bitcoin-rpc", &url]).unwrap();
    let cli = Cli::new(&node.url);
    let problems = until("the word of it", async || {
        let problems = cli.json(&["status"])["problems"].to_string();
        problems.contains("is away").then_some(problems)
    })
    .await;
    assert!(!problems.contains("hunter2"), "{problems}");
    let mut stamps = TimestampsClient::connect(node.url.clone()).await.unwrap();
    stamps.stamp(StampRequest { digest: Bytes::from_static(&[8; 32]) }).await.unwrap();
    assert!(cli.json(&["anchor", "address"])["address"].as_str().unwrap().starts_with("bcrt1p"));
    assert_ne!(cli.json(&["anchor", "balance"])["problem"], Value::Null);
    let refused = cli.run(&["chain", "mine", "1"]);
    assert!(refused.code == 1 && refused.stderr.contains("mine with the node"), "{refused:?}");
}
