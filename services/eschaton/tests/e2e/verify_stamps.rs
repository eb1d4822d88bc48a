//! Timestamps of documents: pending, anchored on the private chain, verified with a node and offline, and what is wrong.

use std::path::{Path, PathBuf};

use bitcoin::consensus::serialize;
use eschaton_client::{Node as Client, NodeOptions};
use eschaton_headers::{HeaderChain, Params};
use eschaton_ots::DetachedFile;
use serde_json::Value;

use crate::kit::cli::{Cli, text};
use crate::kit::node::Node;
use crate::kit::until;

/// Anchors at once, blocks by hand.
const PRIVATE: [&str; 6] = ["--mine-ms", "0", "--anchor-interval-ms", "100", "--anchor-confirmations", "3"];

/// The private chain's headers from genesis, as a file of them is.
async fn headers(node: &Node, path: &Path) -> u32 {
    let client = Client::new(NodeOptions { endpoint: node.url.clone(), ..NodeOptions::default() }).unwrap();
    let mut chain = HeaderChain::new(Params::bitcoin_regtest());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    client.follow_headers(&mut chain, u32::try_from(now).unwrap()).await.unwrap();
    let tip = chain.tip().height;
    let bytes: Vec<u8> = (0..=tip).flat_map(|height| serialize(&chain.at(height).unwrap())).collect();
    std::fs::write(path, bytes).unwrap();
    tip
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circle_of_a_timestamp() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::process(dir.path(), &PRIVATE).unwrap();
    let cli = Cli::new(&node.url);
    let (calendar, rpc) = (node.calendar.clone().unwrap(), node.bitcoin_rpc.clone().unwrap());
    std::fs::create_dir_all(cli.file("papers/old")).unwrap();
    for name in ["papers/a", "papers/old/b"] {
        std::fs::write(cli.file(name), name).unwrap();
    }
    assert_eq!(cli.run(&["stamp", "papers"]).code, 0);
    let ots = cli.file("papers/a.ots");
    let pending = std::fs::read(&ots).unwrap();

    // A promise: its own exit status, one line, the calendar's name; nobody is asked before it is told to.
    let told = cli.run(&["verify", "papers/a.ots"]);
    assert_eq!((told.code, told.stderr.as_str()), (3, ""), "{told:?}");
    assert!(told.stdout.contains(&format!("pending at {calendar}; ask with --upgrade")), "{told:?}");
    let lines = until("the interval at the anchorer", async || {
        let asked = cli.run(&["verify", "papers", "--upgrade", "--json"]);
        assert_eq!((asked.code, asked.stdout.lines().count()), (3, 2), "{asked:?}");
        let lines: Vec<Value> =
            asked.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said = |line: &Value| line["pending"][0]["said"].as_str().unwrap().to_owned();
        let known = |said: String| said.starts_with("Pending") || said.starts_with("Timestamped by");
        lines.iter().all(|line| known(said(line))).then_some(lines)
    })
    .await;
    for line in lines {
        assert_eq!((&line["result"], &line["upgraded"]), (&"pending".into(), &false.into()), "{line}");
    }

    let with_node = ["--bitcoin-rpc", &rpc, "--chain", "bitcoin-regtest"];
    let verify = async |more: &[&str]| {
        let args = [&["verify", "papers", "--json", "--upgrade"], &with_node[..], more].concat();
        until("the proofs", async || {
            let done = cli.run(&args);
            assert!(matches!(done.code, 0 | 3), "{done:?}");
            if done.code == 0 {
                return Some(done);
            }
            cli.mine_if_awaited();
            None
        })
        .await
    };
    verify(&[]).await;
    assert_eq!(std::fs::read(&ots).unwrap(), pending, "nothing is written unless it is told to");
    let done = verify(&["--write"]).await;
    let line: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&line["result"], &line["written"]), (&"verified".into(), &true.into()), "{line}");
    assert_eq!(line["chain"], "bitcoin");

    // Offline, from then on: with every header, with the upper part, and not with what ends below.
    let tip = headers(&node, &cli.file("headers")).await;
    node.stop();
    let offline = ["verify", "papers", "--headers", "headers", "--chain", "bitcoin-regtest", "--strict"];
    for line in cli.json_lines(&offline) {
        assert_eq!((&line["result"], &line["complete"]), (&"verified".into(), &true.into()), "{line}");
        let height = line["height"].as_u64().unwrap();
        assert_eq!(line["confirmations"], u64::from(tip) - height + 1);
        assert_eq!(line["headers"]["tip"], tip);
    }
    let all = std::fs::read(cli.file("headers")).unwrap();
    std::fs::write(cli.file("headers"), &all[80 * 90..]).unwrap();
    let part = [&offline[..], &["--headers-from", "90"]].concat();
    assert_eq!(cli.json_lines(&part).len(), 2);
    // The same bytes under another height are another block's.
    let shifted = [&offline[..], &["--headers-from", "91"]].concat();
    assert!(cli.run(&shifted).code == 1);
    std::fs::write(cli.file("headers"), &all[..80 * 50]).unwrap();
    assert!(cli.run(&offline).stderr.contains("not among the headers; the last is 49"));
    let mut lied = all.clone();
    lied[80 * 60 + 40] ^= 1;
    std::fs::write(cli.file("headers"), lied).unwrap();
    assert!(cli.run(&offline).stderr.contains("header 6"), "{:?}", cli.run(&offline));
    std::fs::write(cli.file("headers"), &all).unwrap();

    refusals(&cli, &ots);
}

/// What is not the document's proof, and every byte of one that is.
fn refusals(cli: &Cli, ots: &PathBuf) {
    let check = ["--headers", "headers", "--chain", "bitcoin-regtest"];
    let alone = |path: &str, more: &[&str]| cli.run(&[&["verify", path], more, &check].concat());
    assert_eq!(alone("papers/a", &[]).code, 0, "a document's proof is found beside it");
    std::fs::write(cli.file("other"), "other").unwrap();
    let wrong = alone("papers/a.ots", &["--document", "other"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("was changed, or the proof is another's"), "{wrong:?}");
    assert_eq!(wrong.stderr.lines().count(), 1, "{wrong:?}");
    let none = alone("other", &[]);
    assert!(none.code == 1 && none.stderr.contains("is no .ots file"), "{none:?}");
    assert_eq!(cli.run(&["verify"]).code, 2);
    let unchecked = cli.run(&["verify", "papers/a.ots"]);
    assert!(unchecked.code == 1 && unchecked.stderr.contains("--headers or --bitcoin-rpc"), "{unchecked:?}");
    let mainnet = cli.run(&["verify", "papers/a.ots", "--headers", "headers"]);
    assert!(mainnet.code == 1 && mainnet.stderr.contains("header 0"), "{mainnet:?}");

    let good = std::fs::read(ots).unwrap();
    assert!(DetachedFile::from_bytes(&good).unwrap().finished().unwrap().to_bytes().unwrap() == good);
    std::fs::create_dir(cli.file("flips")).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= if at % 2 == 0 { 1 } else { 0x80 };
        std::fs::write(cli.file(&format!("flips/{at}.ots")), bytes).unwrap();
        std::fs::write(cli.file(&format!("flips/{at}")), "papers/a").unwrap();
    }
    let all = cli.run(&[&["verify", "flips", "--json"][..], &check].concat());
    assert_eq!((all.code, all.stdout.lines().count()), (1, good.len()), "{}", all.stderr);
    for line in all.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["result"], "verified", "{line}");
    }
    // The same run tells the good one from them.
    std::fs::write(cli.file("flips/good.ots"), &good).unwrap();
    std::fs::write(cli.file("flips/good"), "papers/a").unwrap();
    let all = cli.run(&[&["verify", "flips"][..], &check].concat());
    let held = all.stdout.lines().filter(|line| line.contains("existed before")).count();
    assert_eq!((all.code, held), (1, 1), "{}", all.stderr);
    assert!(text(ots).ends_with("a.ots"));
}
