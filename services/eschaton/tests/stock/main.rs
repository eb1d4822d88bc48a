//! The stock OpenTimestamps client, unmodified, against a node. Its program is named by `ESCHATON_TEST_OTS`;
//! `deploy/engines/ots/run.sh fetch` gets it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod bitcoind;
#[allow(dead_code, reason = "the other test binaries use the rest")]
#[path = "../e2e/kit/mod.rs"]
mod kit;

use std::path::{Path, PathBuf};
use std::process::Command;

use bitcoind::Bitcoind;
use kit::cli::Cli;
use kit::node::Node;
use kit::until;

/// What [`kit::node::Node`] starts.
const SHAPE: kit::node::Shape = kit::node::Shape::Embedded;

/// Anchors at once, blocks by hand.
const PRIVATE: [&str; 6] = ["--mine-ms", "0", "--anchor-interval-ms", "100", "--anchor-confirmations", "3"];

/// What the client did.
#[derive(Debug)]
struct Said {
    done: bool,
    /// Both streams: it speaks on standard error.
    words: String,
}

/// Runs the client in `home`, and nowhere else: no cache, no calendars but ours.
fn ots(home: &Path, calendar: &str, args: &[&str]) -> Said {
    let program = std::env::var("ESCHATON_TEST_OTS")
        .expect("ESCHATON_TEST_OTS names no program; run deploy/engines/ots/run.sh fetch and set it to what that prints");
    let output = Command::new(program)
        .args(["--no-cache", "--no-default-whitelist", "-l", calendar])
        .args(args)
        .env("HOME", home)
        .current_dir(home)
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    Said { done: output.status.success(), words: String::from_utf8_lossy(&words).into_owned() }
}

struct Bench {
    _dir: tempfile::TempDir,
    node: Node,
    cli: Cli,
    home: PathBuf,
    calendar: String,
    /// Instead of the private chain.
    bitcoind: Option<Bitcoind>,
}

impl Bench {
    fn start() -> Self {
        Self::with(None, &PRIVATE)
    }

    /// Its wallet has the coins of one block.
    async fn on(bitcoind: Bitcoind) -> Self {
        let url = bitcoind.url();
        let options = ["--bitcoin-rpc", &url, "--anchor-interval-ms", "100", "--anchor-confirmations", "3"];
        let bench = Self::with(Some(bitcoind), &options);
        let address = bench.cli.json(&["anchor", "address"]);
        let bitcoind = bench.bitcoind.as_ref().unwrap();
        bitcoind.mine_to(address["address"].as_str().unwrap());
        bitcoind.mine(100);
        until("coins", async || {
            let balance = bench.cli.json(&["anchor", "balance"]);
            (balance["free_sat"].as_u64() > Some(0)).then_some(())
        })
        .await;
        bench
    }

    fn with(bitcoind: Option<Bitcoind>, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::process(dir.path(), options).unwrap();
        let cli = Cli::new(&node.url);
        let (home, calendar) = (cli.file(""), node.calendar.clone().unwrap());
        Self { _dir: dir, node, cli, home, calendar, bitcoind }
    }

    /// With its login, if it asks for one.
    fn bitcoin_rpc(&self) -> String {
        match &self.bitcoind {
            Some(bitcoind) => bitcoind.url(),
            None => self.node.bitcoin_rpc.clone().unwrap(),
        }
    }

    fn ots(&self, args: &[&str]) -> Said {
        ots(&self.home, &self.calendar, args)
    }

    fn write(&self, name: &str) {
        std::fs::write(self.home.join(name), name).unwrap();
    }

    /// Mines until this calendar gives the client the rest of a proof.
    async fn finish(&self, calendar: &str, name: &str) {
        until("a finished proof", async || {
            let upgraded = ots(&self.home, calendar, &["upgrade", name]);
            if upgraded.done {
                assert!(upgraded.words.contains("Success! Timestamp complete"), "{upgraded:?}");
                return Some(());
            }
            match &self.bitcoind {
                Some(bitcoind) => bitcoind.mine(1),
                None => self.cli.mine_if_awaited(),
            }
            None
        })
        .await;
    }

    /// The client's verdict with the chain's node; it insists on a login.
    fn verify(&self, args: &[&str]) -> Said {
        let mut rpc = self.bitcoin_rpc();
        if self.bitcoind.is_none() {
            rpc = rpc.replace("http://", "http://user:password@");
        }
        self.ots(&[&["--bitcoin-node", &rpc, "verify"], args].concat())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_client_stamps_and_waits() {
    let bench = Bench::start();
    for name in ["one", "two", "three"] {
        bench.write(name);
    }
    let stamped = bench.ots(&["stamp", "-c", &bench.calendar, "-m", "1", "one", "two", "three"]);
    assert!(stamped.done, "{stamped:?}");
    for name in ["one", "two", "three"] {
        let info = bench.ots(&["info", &format!("{name}.ots")]);
        assert!(info.done && info.words.contains("File sha256 hash: "), "{info:?}");
        assert!(info.words.contains(&format!("PendingAttestation('{}')", bench.calendar)), "{info:?}");
        let before = std::fs::read(bench.home.join(format!("{name}.ots"))).unwrap();
        until("its interval", async || {
            let upgraded = bench.ots(&["upgrade", &format!("{name}.ots")]);
            assert!(!upgraded.done, "{upgraded:?}");
            let pending = upgraded.words.contains("Pending confirmation in Bitcoin blockchain")
                || upgraded.words.contains("waiting for 3 confirmations");
            pending.then_some(())
        })
        .await;
        assert_eq!(std::fs::read(bench.home.join(format!("{name}.ots"))).unwrap(), before);
        // What the client wrote is as pending for us.
        let ours = bench.cli.run(&["verify", &format!("{name}.ots")]);
        assert!(ours.code == 3 && ours.stdout.contains(&bench.calendar), "{ours:?}");
    }
    // Another file under the same proof is refused by both.
    std::fs::write(bench.home.join("one"), "changed").unwrap();
    let wrong = bench.verify(&["one.ots"]);
    assert!(!wrong.done && wrong.words.contains("File does not match original"), "{wrong:?}");
    let ours = bench.cli.fails(1, &["verify", "one.ots"]);
    assert!(ours.contains("the document was changed"), "{ours}");
    bench.node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_client_goes_the_whole_circle() {
    whole_circle(Bench::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_client_goes_the_whole_circle_on_bitcoind() {
    whole_circle(Bench::on(Bitcoind::start(18_803)).await).await;
}

async fn whole_circle(bench: Bench) {
    bench.write("theirs");
    bench.write("ours");
    assert!(bench.ots(&["stamp", "-c", &bench.calendar, "-m", "1", "theirs"]).done);
    assert_eq!(bench.cli.run(&["stamp", "ours"]).code, 0);
    let early = bench.verify(&["theirs.ots"]);
    assert!(!early.done && !early.words.contains("Success"), "{early:?}");

    // Blocks come until the anchors of both are deep enough.
    for name in ["theirs.ots", "ours.ots"] {
        bench.finish(&bench.calendar, name).await;
        let verified = bench.verify(&[name]);
        assert!(verified.done && verified.words.contains("Success! Bitcoin block "), "{verified:?}");
        let rpc = bench.bitcoin_rpc();
        let with = ["verify", name, "--bitcoin-rpc", &rpc, "--chain", "bitcoin-regtest"];
        let ours = bench.cli.json(&with);
        assert_eq!(ours["result"], "verified", "{ours}");
        let block = format!("Bitcoin block {} ", ours["height"]);
        assert!(verified.words.contains(&block), "{verified:?} {ours}");
        // Wrong documents, with the finished proof.
        let wrong = if name == "ours.ots" { "theirs" } else { "ours" };
        let refused = bench.verify(&["-f", wrong, name]);
        assert!(!refused.done && refused.words.contains("File does not match original"), "{refused:?}");
        let refused = bench.cli.run(&[&with[..], &["--document", wrong]].concat());
        assert!(refused.code == 1 && refused.stderr.contains("another's"), "{refused:?}");
    }
    bench.node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_client_has_one_proof_of_two_levels() {
    let upper = Bench::start();
    let dir = tempfile::tempdir().unwrap();
    let options =
        ["--anchor-interval-ms", "100", "--upstream-ask-ms", "200", "--anchor-upstream", &upper.calendar];
    let lower = Node::process(dir.path(), &options).unwrap();
    let calendar = lower.calendar.clone().unwrap();
    upper.write("paper");
    assert!(ots(&upper.home, &calendar, &["stamp", "-c", &calendar, "-m", "1", "paper"]).done);
    upper.finish(&calendar, "paper.ots").await;
    // Neither calendar is asked any more.
    lower.stop();
    let verified = upper.verify(&["paper.ots"]);
    assert!(verified.done && verified.words.contains("Success! Bitcoin block "), "{verified:?}");
    std::fs::write(upper.home.join("paper"), "changed").unwrap();
    let wrong = upper.verify(&["paper.ots"]);
    assert!(!wrong.done && wrong.words.contains("File does not match original"), "{wrong:?}");
    upper.node.stop();
}
