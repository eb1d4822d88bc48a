//! What a person with the CLI does first.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use serde_json::Value;

use crate::kit::PATIENCE;
use crate::kit::cli::Cli;
use crate::kit::node::Node;

const COIN: u64 = 1_000_000_000;

fn balance(cli: &Cli) -> String {
    let balances = cli.json(&["wallet", "balance"]);
    let native = &balances["balances"][0];
    assert_eq!(native["product"], "native", "{balances}");
    native["spendable"].as_str().unwrap().to_owned()
}

/// Money for an owner of another shard is credited a moment after the payment is accepted.
fn balance_becomes(cli: &Cli, units: u64) {
    let deadline = Instant::now() + PATIENCE;
    while balance(cli) != units.to_string() {
        assert!(Instant::now() < deadline, "the balance is {} and not {units}", balance(cli));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[test]
fn a_wallet_receives_pays_and_shows_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let (payer, payee) = (Cli::new(&node.url), Cli::new(&node.url));

    let wallet = payer.json(&["wallet", "new"]);
    assert_eq!((&wallet["network"], &wallet["encrypted"]), (&"dev".into(), &false.into()));
    let mode = std::fs::metadata(text(&wallet["wallet"])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let address = payee.json(&["wallet", "new"])["address"].clone();
    assert!(text(&address).starts_with("desc1"));

    let received = payer.json(&["wallet", "receive", "--amount", "10coins"]);
    assert_eq!(
        (&received["amount"], &received["address"]),
        (&(10 * COIN).to_string().into(), &wallet["address"])
    );
    assert_eq!(balance(&payer), (10 * COIN).to_string());

    let paid = payer.json(&["pay", text(&address), "1.5coins", "--fee", "10", "--memo", "invoice 7"]);
    assert_eq!(paid["state"], "ACCEPTED");
    assert!(paid["at_ms"].as_u64().is_some_and(|at_ms| at_ms > 0), "{paid}");
    balance_becomes(&payee, COIN + COIN / 2);
    balance_becomes(&payer, 10 * COIN - COIN - COIN / 2 - 10);

    let shown = payer.json(&["tx", "show", text(&paid["txid"])]);
    assert_eq!((&shown["state"], &shown["txid"]), (&"ACCEPTED".into(), &paid["txid"]));
    assert_eq!((&shown["kind"], &shown["memo"]), (&"payment".into(), &"invoice 7".into()));
    assert_eq!(shown["fees"][0]["amount"], "10");

    let history = payer.json_lines(&["wallet", "history"]);
    let mut events: Vec<(&str, &str, &str)> =
        history.iter().map(|row| (text(&row["event"]), text(&row["txid"]), text(&row["amount"]))).collect();
    let (issued, paid) = (text(&received["txid"]), text(&paid["txid"]));
    let (all, change) = ((10 * COIN).to_string(), (10 * COIN - COIN - COIN / 2 - 10).to_string());
    let mut expected =
        [("received", issued, all.as_str()), ("spent", paid, &all), ("received", paid, &change)];
    events.sort_unstable();
    expected.sort_unstable();
    assert_eq!(events, expected);

    let human = payer.run(&["tx", "show", paid]);
    assert!(human.code == 0 && human.stdout.starts_with("ACCEPTED"), "{human:?}");
    let status = payer.json(&["status"]);
    assert_eq!((&status["network"], &status["problems"]), (&"dev".into(), &serde_json::json!([])));
}

#[test]
fn failures_have_an_exit_code_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let cli = Cli::new(&node.url);
    let address = cli.json(&["wallet", "new"])["address"].as_str().unwrap().to_owned();
    cli.json(&["wallet", "receive", "--amount", "100"]);

    for (args, says) in [
        (vec!["pay", "desc1qqqq", "5"], "address"),
        (vec!["pay", &address, "101"], "100"),
        (vec!["wallet", "receive", "--amount", "0"], "above 0"),
        (vec!["wallet", "new"], "wallet.json"),
        (vec!["tx", "show", &"ab".repeat(32)], "never saw"),
        (vec!["prove", "inclusion", &"ab".repeat(32)], "not found"),
        (vec!["verify", "consistency", "--proof", "nowhere.bin"], "--key"),
        (vec!["--node", "http://127.0.0.1:1", "--timeout", "1", "wallet", "balance"], "cannot be reached"),
    ] {
        let line = cli.fails(1, &args);
        assert!(line.contains(says), "{args:?} says: {line}");
    }
    let line = cli.fails(2, &["pay", &address]);
    assert!(line.contains("AMOUNT") && line.contains("--help"), "{line}");
    assert_eq!(balance(&cli), "100", "failures cost nothing");
}
