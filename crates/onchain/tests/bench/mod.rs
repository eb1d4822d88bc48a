//! What every chain must do with the wallet's transactions, whatever node has it.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, ScriptBuf, TxOut};
use eschaton_onchain::{Child, SeedSigner, Signed, Spend, Wallet, WalletConfig, WalletError};
use eschaton_ports::chain::{Broadcast, Chain, ChainSigner, Purpose, TxStatus, Watched};

/// A chain that can be made to do what chains do.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    fn chain(&self) -> Arc<dyn Chain>;
    /// Blocks with what waits, their subsidy to this script.
    async fn mine(&self, count: u32, pay_to: &ScriptBuf);
    /// Replaces the last blocks by one more of them, without transactions.
    async fn reorganise(&self, depth: u32);
}

pub(crate) const SEED: [u8; 32] = [42; 32];

pub(crate) struct Purse {
    pub(crate) wallet: Wallet,
    pub(crate) signer: SeedSigner,
}

impl Purse {
    pub(crate) fn open(chain: &dyn Chain, purpose: Purpose, path: &Path, birthday: u32) -> Self {
        let signer = SeedSigner::new(&SEED, &chain.identity(), purpose).unwrap();
        let config = WalletConfig { path: path.to_owned(), birthday };
        let wallet = Wallet::open(&config, chain.identity(), &signer.account()).unwrap();
        Self { wallet, signer }
    }

    pub(crate) async fn sync(&mut self, chain: &Arc<dyn Chain>) {
        while !self.wallet.catch_up(chain, 100).await.unwrap() {}
    }

    pub(crate) async fn sign(&mut self, spend: &Spend) -> Result<Signed, WalletError> {
        let psbt = self.wallet.build(spend)?;
        let psbt = self.signer.sign(psbt).await?;
        self.wallet.finish(psbt)
    }
}

pub(crate) fn spend(tag: u64, root: u8, sat_per_kvb: u64) -> Spend {
    let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return([root; 32]) };
    Spend {
        tag,
        outputs: vec![output],
        sat_per_kvb,
        cap_sat_per_kvb: 200_000,
        above_sat: 0,
        input: None,
        coins_wanted: 1,
    }
}

/// A script that nobody has the key of.
pub(crate) fn elsewhere() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([7; 20]))
}

pub(crate) fn inputs(signed: &Signed) -> Vec<OutPoint> {
    signed.transaction.input.iter().map(|input| input.previous_output).collect()
}

/// Pays the wallet by mining, spends, replaces, confirms; then looks again with nothing but the keys.
pub(crate) async fn life(bench: &dyn Bench, purpose: Purpose) {
    let dir = tempfile::tempdir().unwrap();
    let chain = bench.chain();
    let mut purse = Purse::open(chain.as_ref(), purpose, &dir.path().join("wallet"), 0);
    let script = purse.wallet.script().unwrap();
    bench.mine(3, &script).await;
    bench.mine(99, &elsewhere()).await;
    purse.sync(&chain).await;
    let birthday = purse.wallet.tip().height - 101;
    let coins = purse.wallet.coins();
    assert_eq!(coins.len(), 3, "{coins:?}");
    let balance = purse.wallet.balance();
    assert_eq!(
        balance.free_sat,
        coins.iter().filter(|coin| coin.mature).map(|coin| coin.value_sat).sum::<u64>()
    );
    assert_eq!(coins.iter().filter(|coin| coin.mature).count(), 3);

    // Two at once, of different coins; a rate that a node relays, and not less than what was asked.
    let first = purse.sign(&spend(1, 0x11, 2_000)).await.unwrap();
    let second = purse.sign(&spend(2, 0x22, 2_000)).await.unwrap();
    assert!(inputs(&first).iter().all(|input| !inputs(&second).contains(input)));
    for signed in [&first, &second] {
        let rate = signed.fee_sat * 1_000 / u64::from(signed.vbytes);
        assert!((2_000..2_100).contains(&rate), "{rate} sat/kvB");
        assert!(signed.transaction.is_explicitly_rbf());
        assert_eq!(chain.broadcast(&signed.transaction).await.unwrap(), Broadcast::Accepted);
    }
    let both: Vec<OutPoint> = [inputs(&first), inputs(&second)].concat();
    assert_eq!(
        purse.wallet.reservations().keys().copied().collect::<std::collections::BTreeSet<_>>(),
        both.into_iter().collect()
    );

    // Replaced at the same rate: the sum must still rise by what the network asks for.
    let again = Spend { above_sat: first.fee_sat, input: Some(inputs(&first)[0]), ..spend(1, 0x11, 2_000) };
    let replacement = purse.sign(&again).await.unwrap();
    assert!(replacement.fee_sat >= first.fee_sat + u64::from(replacement.vbytes), "{replacement:?}");
    assert_eq!(chain.broadcast(&replacement.transaction).await.unwrap(), Broadcast::Accepted);
    // The cap holds.
    let dear = Spend { cap_sat_per_kvb: 1_500, ..again.clone() };
    assert!(matches!(purse.sign(&dear).await, Err(WalletError::FeeAboveCap { .. })));

    bench.mine(1, &elsewhere()).await;
    purse.sync(&chain).await;
    let confirmed = purse.wallet.confirmed();
    assert_eq!(confirmed.get(&replacement.transaction.compute_txid()), Some(&purse.wallet.tip()));
    assert_eq!(confirmed.get(&first.transaction.compute_txid()), None);
    assert_eq!(purse.wallet.spenders(inputs(&first)[0]), [replacement.transaction.compute_txid()]);
    let paid = replacement.fee_sat + second.fee_sat;
    let sum: u64 = purse.wallet.coins().iter().map(|coin| coin.value_sat).sum();
    assert_eq!(sum, balance.free_sat - paid);
    purse.wallet.reserve(&BTreeMap::new()).unwrap();
    assert_eq!(purse.wallet.balance().free_sat, sum);

    // Change is split when there are fewer coins than wanted, and pays what its size costs.
    let wide = purse.sign(&Spend { coins_wanted: 6, ..spend(3, 0x33, 2_000) }).await.unwrap();
    assert_eq!(wide.transaction.output.len(), 5, "root, three parts, change");
    assert_eq!(chain.broadcast(&wide.transaction).await.unwrap(), Broadcast::Accepted);
    bench.mine(1, &elsewhere()).await;
    purse.sync(&chain).await;
    assert_eq!(purse.wallet.coins().len(), 6);

    // Nothing but the keys, from the birthday on.
    let mut anew = Purse::open(chain.as_ref(), purpose, &dir.path().join("anew"), birthday);
    anew.sync(&chain).await;
    let known = |purse: &Purse| {
        purse.wallet.coins().into_iter().map(|coin| (coin.outpoint, coin.value_sat)).collect::<Vec<_>>()
    };
    assert_eq!(known(&anew), known(&purse));
}

/// A reorganisation takes payments back, awake or away; what was spent comes back, and what was mined is gone.
pub(crate) async fn reorganised(bench: &dyn Bench, purpose: Purpose) {
    let dir = tempfile::tempdir().unwrap();
    let (path, chain) = (dir.path().join("wallet"), bench.chain());
    let mut purse = Purse::open(chain.as_ref(), purpose, &path, 0);
    let script = purse.wallet.script().unwrap();
    bench.mine(1, &script).await;
    bench.mine(100, &elsewhere()).await;
    purse.sync(&chain).await;
    let before = purse.wallet.coins();
    let signed = purse.sign(&spend(1, 0x44, 3_000)).await.unwrap();
    let transaction = &signed.transaction;
    chain.broadcast(transaction).await.unwrap();
    bench.mine(2, &elsewhere()).await;
    purse.sync(&chain).await;
    let txid = transaction.compute_txid();
    let held = purse.wallet.confirmed()[&txid];
    assert_eq!(held.height + 1, purse.wallet.tip().height);
    drop(purse);

    bench.reorganise(2).await;
    let mut purse = Purse::open(chain.as_ref(), purpose, &path, 0);
    assert_eq!(purse.wallet.reservations().len(), 1);
    purse.sync(&chain).await;
    assert_eq!(purse.wallet.confirmed().get(&txid), None);
    assert_eq!(purse.wallet.last_height(txid), Some(held.height));
    assert_eq!(purse.wallet.transaction(transaction.compute_txid()).as_ref(), Some(transaction));
    let coins = purse.wallet.coins();
    assert_eq!((coins.len(), coins[0].outpoint), (1, before[0].outpoint));
    assert_eq!(coins[0].reserved, Some(1));
    // The same input again, and nobody else gets it.
    assert!(matches!(purse.sign(&spend(2, 0x55, 3_000)).await, Err(WalletError::Funds { .. })));
    let watched = Watched::new(transaction, 1);
    if chain.status(&watched).await.unwrap() == TxStatus::Unknown {
        chain.broadcast(transaction).await.unwrap();
    }
    bench.mine(1, &elsewhere()).await;
    purse.sync(&chain).await;
    assert!(purse.wallet.confirmed().contains_key(&txid));
}

/// A child pays for its parent.
pub(crate) async fn child(bench: &dyn Bench, purpose: Purpose) {
    let dir = tempfile::tempdir().unwrap();
    let chain = bench.chain();
    let mut purse = Purse::open(chain.as_ref(), purpose, &dir.path().join("wallet"), 0);
    let script = purse.wallet.script().unwrap();
    bench.mine(1, &script).await;
    bench.mine(100, &elsewhere()).await;
    purse.sync(&chain).await;
    let parent = purse.sign(&spend(1, 0x66, 1_000)).await.unwrap();
    chain.broadcast(&parent.transaction).await.unwrap();
    let wanted = Child {
        parent: parent.transaction.clone(),
        parent_fee_sat: parent.fee_sat,
        sat_per_kvb: 20_000,
        fee_max_sat: 100_000,
    };
    let psbt = purse.wallet.child(&wanted).unwrap();
    let psbt = purse.signer.sign(psbt).await.unwrap();
    let child = purse.wallet.finish(psbt).unwrap();
    let (fees, vbytes) = (parent.fee_sat + child.fee_sat, u64::from(parent.vbytes + child.vbytes));
    let rate = fees * 1_000 / vbytes;
    assert!((20_000..20_400).contains(&rate), "{rate} sat/kvB");
    assert_eq!(chain.broadcast(&child.transaction).await.unwrap(), Broadcast::Accepted);
    let dear = Child { fee_max_sat: 100, ..wanted };
    assert!(matches!(purse.wallet.child(&dear), Err(WalletError::FeeAboveCap { .. })));
    bench.mine(1, &elsewhere()).await;
    purse.sync(&chain).await;
    let coins = purse.wallet.coins();
    assert_eq!((coins.len(), coins[0].outpoint.txid), (1, child.transaction.compute_txid()));
}
