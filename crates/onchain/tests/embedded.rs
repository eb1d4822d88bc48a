//! The wallet on the chain in process, and what its file survives.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bench;
#[path = "bench/embedded.rs"]
mod embedded;

use std::path::Path;

use bench::{Bench, Purse, elsewhere, inputs, spend};
use bitcoin::consensus::serialize;
use embedded::embedded;
use eschaton_onchain::{SeedSigner, Spend, Wallet, WalletConfig, WalletError};
use eschaton_ports::chain::{ChainSigner, Purpose};

#[tokio::test]
async fn spends_and_replaces() {
    bench::life(&embedded(), Purpose::Taproot).await;
    bench::life(&embedded(), Purpose::Segwit).await;
}

#[tokio::test]
async fn reorganisations_take_back() {
    bench::reorganised(&embedded(), Purpose::Taproot).await;
}

#[tokio::test]
async fn a_child_pays_for_its_parent() {
    bench::child(&embedded(), Purpose::Taproot).await;
    bench::child(&embedded(), Purpose::Segwit).await;
}

/// What is told of the wallet: everything that must be the same after a restart.
fn told(purse: &mut Purse) -> String {
    let wallet = &mut purse.wallet;
    format!("{:?} {:?} {:?} {:?}", wallet.tip(), wallet.coins(), wallet.reservations(), wallet.locator())
}

#[tokio::test]
async fn the_file_survives_a_cut_at_every_byte() {
    let (bench, dir) = (embedded(), tempfile::tempdir().unwrap());
    let (path, chain) = (dir.path().join("wallet"), bench.chain());
    let open = |path: &Path| Purse::open(chain.as_ref(), Purpose::Taproot, path, 0);
    let mut purse = open(&path);
    let script = purse.wallet.script().unwrap();
    bench.mine(1, &script).await;
    bench.mine(100, &elsewhere()).await;
    purse.sync(&chain).await;
    let length = |path: &Path| usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
    let (before, synced) = (told(&mut purse), length(&path));
    let psbt = purse.wallet.build(&spend(1, 0x77, 2_000)).unwrap();
    assert_eq!(purse.wallet.reservations().len(), 1);
    let after = told(&mut purse);
    drop((purse, psbt));
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > synced);
    let (mut old, mut new) = (0, 0);
    for end in synced..=bytes.len() {
        let cut = dir.path().join("cut");
        std::fs::write(&cut, &bytes[..end]).unwrap();
        let mut purse = open(&cut);
        let now = told(&mut purse);
        // The last frames are the change's address and then the reservation.
        match now == after {
            true => new += 1,
            false => {
                assert_eq!(now, before, "cut at {end}");
                old += 1;
            }
        }
        // Whatever was lost, it goes on.
        let again = purse.wallet.build(&Spend { coins_wanted: 3, ..spend(1, 0x77, 2_000) }).unwrap();
        assert_eq!(again.unsigned_tx.input.len(), 1);
        assert_eq!(purse.wallet.reservations().len(), 1);
    }
    assert!(old > 100 && new == 1, "{old} {new}");

    // Damage before the end is told, not cut off.
    let mut damaged = bytes.clone();
    damaged[100] ^= 1;
    let file = dir.path().join("damaged");
    std::fs::write(&file, &damaged).unwrap();
    let signer = SeedSigner::new(&bench::SEED, &chain.identity(), Purpose::Taproot).unwrap();
    let reopen = |path: &Path, signer: &SeedSigner| {
        let config = WalletConfig { path: path.to_owned(), birthday: 0 };
        Wallet::open(&config, chain.identity(), &signer.account()).map(drop)
    };
    assert!(matches!(reopen(&file, &signer), Err(WalletError::Damaged { .. })));
    // Other keys, another account, two at once.
    let other = SeedSigner::new(&[1; 32], &chain.identity(), Purpose::Taproot).unwrap();
    assert!(matches!(reopen(&path, &other), Err(WalletError::Foreign { .. })));
    let segwit = SeedSigner::new(&bench::SEED, &chain.identity(), Purpose::Segwit).unwrap();
    assert!(matches!(reopen(&path, &segwit), Err(WalletError::Foreign { .. })));
    let purse = open(&path);
    assert!(matches!(reopen(&path, &signer), Err(WalletError::Locked { .. })));
    drop(purse);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_short_file_says_the_same() {
    let (bench, dir) = (embedded(), tempfile::tempdir().unwrap());
    let (path, chain) = (dir.path().join("wallet"), bench.chain());
    let mut purse = Purse::open(chain.as_ref(), Purpose::Taproot, &path, 0);
    let script = purse.wallet.script().unwrap();
    bench.mine(2, &script).await;
    bench.mine(600, &elsewhere()).await;
    purse.sync(&chain).await;
    let signed = purse.sign(&spend(1, 1, 2_000)).await.unwrap();
    chain.broadcast(&signed.transaction).await.unwrap();
    bench.mine(400, &elsewhere()).await;
    purse.sync(&chain).await;
    let pending = purse.sign(&spend(2, 2, 2_000)).await.unwrap();
    let before = (purse.wallet.coins(), purse.wallet.tip(), purse.wallet.reservations().clone());
    let long = std::fs::metadata(&path).unwrap().len();
    purse.wallet.compact().unwrap();
    let short = std::fs::metadata(&path).unwrap().len();
    assert!(short * 2 < long, "{short} of {long}");
    for _ in 0..2 {
        let after = (purse.wallet.coins(), purse.wallet.tip(), purse.wallet.reservations().clone());
        assert_eq!(after, before);
        drop(purse);
        purse = Purse::open(chain.as_ref(), Purpose::Taproot, &path, 0);
    }
    // It goes on from there, over a fork too.
    assert!(inputs(&pending).iter().all(|input| purse.wallet.reservations().contains_key(input)));
    bench.reorganise(3).await;
    purse.sync(&chain).await;
    assert_eq!(purse.wallet.tip(), chain.tip().await.unwrap());
    assert_eq!(purse.wallet.coins(), before.0);
}

#[tokio::test]
async fn blocks_that_the_node_lost_are_taken_back() {
    // A node that crashed may come back without its last blocks, and with no others in their place.
    let (bench, shorter, dir) = (embedded(), embedded(), tempfile::tempdir().unwrap());
    let (path, chain) = (dir.path().join("wallet"), bench.chain());
    let mut purse = Purse::open(chain.as_ref(), Purpose::Taproot, &path, 0);
    let script = purse.wallet.script().unwrap();
    bench.mine(5, &script).await;
    purse.sync(&chain).await;
    for height in 1..=3 {
        let hash = chain.hash_at(height).await.unwrap().unwrap();
        let block = chain.block(hash).await.unwrap().unwrap();
        shorter.chain.submit_block(serialize(block.as_ref())).await.unwrap();
    }
    let behind = shorter.chain();
    purse.sync(&behind).await;
    assert_eq!(purse.wallet.tip(), behind.tip().await.unwrap());
    assert_eq!(purse.wallet.coins().len(), 3);
    drop(purse);
    let mut purse = Purse::open(chain.as_ref(), Purpose::Taproot, &path, 0);
    assert_eq!(purse.wallet.coins().len(), 3);
    purse.sync(&chain).await;
    assert_eq!(purse.wallet.coins().len(), 5);
}
