//! Two levels of aggregators: the lower one has no chain, and its proofs end in the upper one's block.

use serde_json::Value;

use crate::kit::cli::Cli;
use crate::kit::node::Node;
use crate::kit::until;

/// Anchors at once, blocks by hand.
const UPPER: [&str; 6] = ["--mine-ms", "0", "--anchor-interval-ms", "100", "--anchor-confirmations", "3"];

fn lower(upstream: &str) -> Vec<String> {
    let options = ["--anchor-interval-ms", "100", "--upstream-ask-ms", "200", "--anchor-upstream", upstream];
    options.map(str::to_owned).into()
}

fn start(dir: &tempfile::TempDir, options: &[String]) -> Node {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Node::process(dir.path(), &options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_goes_through_two_levels_and_a_kill() {
    let [above, below] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let upper = Node::process(above.path(), &UPPER).unwrap();
    let upper_cli = Cli::new(&upper.url);
    let (calendar, rpc) = (upper.calendar.clone().unwrap(), upper.bitcoin_rpc.clone().unwrap());
    let options = lower(&calendar);
    let mut node = start(&below, &options);
    assert_eq!(node.bitcoin_rpc, None, "no private chain beside an upstream");
    let own = node.calendar.clone().unwrap();
    let cli = Cli::new(&node.url);
    std::fs::write(cli.file("paper"), "paper").unwrap();
    assert_eq!(cli.run(&["stamp", "paper"]).code, 0);
    // Killed wherever it is: with the promise told, or asked for again.
    node.kill();
    let again = [&options[..], &["--calendar".to_owned(), own.replace("http://", "")]].concat();
    node = start(&below, &again);

    let args = [
        "verify",
        "paper.ots",
        "--json",
        "--upgrade",
        "--write",
        "--bitcoin-rpc",
        &rpc,
        "--chain",
        "bitcoin-regtest",
    ];
    let line: Value = until("the proof of the upper level", async || {
        let done = cli.run(&args);
        assert!(matches!(done.code, 0 | 3), "{done:?}");
        if done.code == 0 {
            return Some(serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap());
        }
        upper_cli.mine_if_awaited();
        None
    })
    .await;
    assert_eq!((&line["result"], &line["chain"]), (&"verified".into(), &"bitcoin".into()), "{line}");
    // The file holds both levels: its proof is checked without either of them.
    let offline = cli.run(&["verify", "paper.ots", "--bitcoin-rpc", &rpc, "--chain", "bitcoin-regtest"]);
    assert_eq!(offline.code, 0, "{offline:?}");
    node.stop();
    upper.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_away_is_named_and_waited_for() {
    let [above, below] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let upper = Node::process(above.path(), &UPPER).unwrap();
    let calendar = upper.calendar.clone().unwrap();
    upper.stop();
    let node = start(&below, &lower(&calendar));
    let cli = Cli::new(&node.url);
    std::fs::write(cli.file("paper"), "paper").unwrap();
    // Digests are taken as ever.
    assert_eq!(cli.run(&["stamp", "paper"]).code, 0);
    until("the problem in the metrics", async || {
        let metrics = node.scrape();
        metrics.contains("eschaton_problem{part=\"upstream\"} 1").then_some(())
    })
    .await;
    let listen = calendar.replace("http://", "");
    let upper = Node::process(above.path(), &[&UPPER[..], &["--calendar", &listen]].concat()).unwrap();
    until("the upstream's answer", async || {
        let metrics = node.scrape();
        let answered = metrics.lines().any(|line| {
            line.starts_with("eschaton_upstream_answers_total") && line.contains("outcome=\"answered\"")
        });
        (answered && metrics.contains("eschaton_problem{part=\"upstream\"} 0")).then_some(())
    })
    .await;
    node.stop();
    upper.stop();
}
