//! What was acknowledged is there after `kill -9`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bitcoin::{Network, ScriptBuf};
use eschaton_embedded::SystemClock;
use eschaton_ports::chain::Chain;
use eschaton_regtest::{RegtestChain, RegtestConfig, RegtestError};

/// Set in the child, which mines into this directory until it is killed.
const DIR: &str = "ESCHATON_REGTEST_CHILD_DIR";

fn pay_to() -> ScriptBuf {
    let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse();
    bitcoin::Address::p2wpkh(&key.unwrap(), Network::Regtest).script_pubkey()
}

#[tokio::test]
#[ignore = "acknowledged_blocks_survive_kill_9 runs it as a child"]
async fn child() {
    let dir = std::env::var(DIR).unwrap();
    let chain = RegtestChain::open(&RegtestConfig::new(dir), Arc::new(SystemClock)).unwrap();
    loop {
        for hash in chain.mine(1, pay_to()).await.unwrap() {
            println!("mined {hash}");
        }
    }
}

#[tokio::test]
async fn acknowledged_blocks_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut mined = 0;
        while mined < 3 + round * 2 {
            let line = lines.next().expect("the child goes on").unwrap();
            if let Some((_, hash)) = line.split_once("mined ") {
                acknowledged.push(hash.to_owned());
                mined += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // It may have told of more before it died.
        let rest = lines.map_while(Result::ok);
        acknowledged.extend(
            rest.filter_map(|line| line.split_once("mined ").map(|(_, hash)| hash.trim().to_owned()))
                .filter(|hash| hash.len() == 64),
        );
        let chain = RegtestChain::open(&RegtestConfig::new(dir.path()), Arc::new(SystemClock)).unwrap();
        for (height, hash) in (1..).zip(&acknowledged) {
            let found = chain.hash_at(height).await.unwrap().map(|hash| hash.to_string());
            assert_eq!(found.as_ref(), Some(hash), "{height} after round {round}");
        }
        // Of what was not acknowledged, one block at most may be there.
        let tip = usize::try_from(chain.tip().await.unwrap().height).unwrap();
        assert!(tip <= acknowledged.len() + 1, "{tip} of {}", acknowledged.len());
        for height in acknowledged.len()..tip {
            let hash = chain.hash_at(u32::try_from(height).unwrap() + 1).await.unwrap().unwrap();
            acknowledged.push(hash.to_string());
        }
    }
}

#[tokio::test]
async fn a_chain_has_one_owner_and_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let config = RegtestConfig { bytes_max: 4_000, ..RegtestConfig::new(dir.path()) };
    let chain = RegtestChain::open(&config, Arc::new(SystemClock)).unwrap();
    let second = RegtestChain::open(&config, Arc::new(SystemClock));
    assert!(matches!(second.err(), Some(RegtestError::Locked { .. })));
    let error = loop {
        if let Err(error) = chain.mine(1, pay_to()).await {
            break error;
        }
    };
    assert!(matches!(error, RegtestError::Full { bytes_max: 4_000 }), "{error}");
    assert!(chain.tip().await.unwrap().height > 5);
    assert!(matches!(chain.mine(10_001, pay_to()).await, Err(RegtestError::Block { .. })));
}

#[tokio::test]
async fn blocks_that_break_a_rule_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let chain = RegtestChain::open(&RegtestConfig::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let tip = chain.mine(3, pay_to()).await.unwrap()[2];
    let good = (*chain.block(tip).await.unwrap().unwrap()).clone();
    let grind = |mut block: bitcoin::Block, root: bool| {
        if root {
            block.header.merkle_root = block.compute_merkle_root().unwrap();
        }
        while block.header.validate_pow(block.header.target()).is_err() {
            block.header.nonce += 1;
        }
        bitcoin::consensus::serialize(&block)
    };
    let mut greedy = good.clone();
    greedy.txdata[0].output[0].value += bitcoin::Amount::from_sat(1);
    greedy.header.prev_blockhash = tip;
    let mut on_tip = greedy.clone();
    on_tip.txdata[0].output[0].value -= bitcoin::Amount::from_sat(1);
    let mut orphan = good.clone();
    orphan.header.prev_blockhash = bitcoin::hashes::Hash::from_byte_array([1; 32]);
    let mut early = good.clone();
    early.header.time = 1_296_688_602;
    let mut ahead = good.clone();
    ahead.header.time += 3 * 3_600;
    let mut hard = good.clone();
    hard.header.bits = bitcoin::CompactTarget::from_consensus(0x2070_ffff);
    for (what, block) in [
        ("height of the coinbase", grind(on_tip, true)),
        ("too much", grind(greedy, true)),
        ("no parent", grind(orphan, true)),
        ("too early", grind(early, true)),
        ("too far ahead", grind(ahead, true)),
        ("another difficulty", grind(hard, true)),
        ("no block", vec![1, 2, 3]),
    ] {
        let refused = chain.submit_block(block).await;
        assert!(matches!(refused, Err(RegtestError::Block { .. })), "{what}: {refused:?}");
    }
    // Nothing of it stayed, and the chain goes on.
    assert_eq!(chain.tip().await.unwrap().hash, tip);
    chain.submit_block(bitcoin::consensus::serialize(&good)).await.unwrap();
    chain.mine(1, pay_to()).await.unwrap();
}
