use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};

use super::rig::{Coin, Rig, change, nobody, pay, script, spend, spend_into};
use crate::chain::{Acceptance, Broadcast, ChainError, RejectClass, TxStatus};

/// A broadcast is refused for a reason of one of these classes. The mempool test, where there is one, must say the same.
async fn assert_refused(rig: &Rig, transaction: &Transaction, classes: &[RejectClass]) {
    let tested = rig.chain.accepts(transaction).await;
    let class = match rig.chain.broadcast(transaction).await {
        Err(ChainError::Rejected { class, detail }) => {
            assert!(classes.contains(&class), "refused as {class:?}, not {classes:?}: {detail}");
            class
        }
        other => panic!("not refused: {other:?}"),
    };
    match tested {
        Ok(Acceptance::Rejected { class: tested, detail }) => assert_eq!(tested, class, "{detail}"),
        Err(ChainError::Unsupported { .. }) if rig.bench.lacks().accepts => {}
        other => panic!("tested otherwise than refused ({class:?}): {other:?}"),
    }
    let watched = rig.watch(transaction).await;
    assert_ne!(rig.chain.status(&watched).await.unwrap(), TxStatus::InMempool);
}

pub(super) async fn a_transaction_may_be_handed_in_again(rig: Rig) {
    let payment = pay(&rig.coin().await);
    assert_eq!(rig.chain.broadcast(&payment).await.unwrap(), Broadcast::Accepted);
    assert_eq!(rig.chain.broadcast(&payment).await.unwrap(), Broadcast::Known);
    assert_eq!(rig.chain.broadcast(&payment).await.unwrap(), Broadcast::Known);
}

pub(super) async fn a_mined_transaction_counts_as_handed_in(rig: Rig) {
    let payment = pay(&rig.coin().await);
    rig.mine_with(vec![payment.clone()]).await;
    assert_eq!(rig.chain.broadcast(&payment).await.unwrap(), Broadcast::InBlock);
    // All its outputs are spent: most of a node's memory of it is gone.
    let all = [change(&payment)];
    let output = vec![TxOut { value: all[0].value - Amount::from_sat(20_000), script_pubkey: script() }];
    let next = spend_into(&all, output);
    rig.mine_with(vec![next.clone()]).await;
    assert_eq!(rig.chain.broadcast(&payment).await.unwrap(), Broadcast::InBlock);
    assert_eq!(rig.chain.broadcast(&next).await.unwrap(), Broadcast::InBlock);
}

pub(super) async fn a_transaction_without_parent_is_missing_inputs(rig: Rig) {
    let coin = Coin { outpoint: OutPoint { txid: nobody(), vout: 3 }, value: Amount::from_sat(100_000) };
    assert_refused(&rig, &pay(&coin), &[RejectClass::MissingInputs]).await;
    // An output beyond the last of a transaction that is there.
    let parent = pay(&rig.coin().await);
    rig.mine_with(vec![parent.clone()]).await;
    let beyond = Coin { outpoint: OutPoint { vout: 2, ..change(&parent).outpoint }, ..change(&parent) };
    assert_refused(&rig, &pay(&beyond), &[RejectClass::MissingInputs]).await;
}

pub(super) async fn an_output_that_a_block_spent_is_already_spent(rig: Rig) {
    let coin = rig.coin().await;
    rig.mine_with(vec![pay(&coin)]).await;
    let late = spend(&coin, Amount::from_sat(30_000), 2);
    assert_refused(&rig, &late, &[RejectClass::AlreadySpent]).await;
}

pub(super) async fn a_wrong_signature_is_invalid(rig: Rig) {
    let coin = rig.coin().await;
    let mut forged = pay(&coin);
    forged.output[0].value -= Amount::from_sat(1);
    assert_refused(&rig, &forged, &[RejectClass::Invalid]).await;
    let mut inflated = pay(&coin);
    inflated.output[0].value = coin.value * 2;
    super::rig::sign(&mut inflated, std::slice::from_ref(&coin));
    assert_refused(&rig, &inflated, &[RejectClass::Invalid]).await;
    // The coin is free still.
    assert_eq!(rig.chain.broadcast(&pay(&coin)).await.unwrap(), Broadcast::Accepted);
}

pub(super) async fn a_transaction_without_fee_is_refused(rig: Rig) {
    // Of a coin that no block holds yet: ltcd takes old coins without a fee, by their age times value.
    let parent = pay(&rig.coin().await);
    rig.chain.broadcast(&parent).await.unwrap();
    let free = spend(&change(&parent), Amount::ZERO, 1);
    assert_refused(&rig, &free, &[RejectClass::FeeTooLow]).await;
}

pub(super) async fn a_form_that_is_not_relayed_is_refused(rig: Rig) {
    let coin = rig.coin().await;
    let output = vec![
        TxOut { value: coin.value / 2, script_pubkey: script() },
        // OP_ADD alone: no form that anybody uses.
        TxOut { value: coin.value / 4, script_pubkey: ScriptBuf::from_bytes(vec![0x93]) },
    ];
    assert_refused(&rig, &spend_into(&[coin], output), &[RejectClass::NonStandard]).await;
}

pub(super) async fn a_second_spend_is_a_conflict(rig: Rig) {
    let coin = rig.coin().await;
    let first = spend(&coin, Amount::from_sat(50_000), 1);
    rig.chain.broadcast(&first).await.unwrap();
    // Less than the first: no replacement.
    let second = spend(&coin, Amount::from_sat(40_000), 2);
    assert_refused(&rig, &second, &[RejectClass::Conflict, RejectClass::FeeTooLow]).await;
    assert_replaced(&rig, &second, &first).await;
    let watched = rig.watch(&first).await;
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InMempool);
}

async fn assert_replaced(rig: &Rig, loser: &Transaction, winner: &Transaction) {
    let watched = rig.watch(loser).await;
    let status = rig.chain.status(&watched).await.unwrap();
    assert_eq!(status, TxStatus::Conflicted { by: Some(winner.compute_txid()), block: None });
}

pub(super) async fn a_higher_fee_replaces(rig: Rig) {
    let coin = rig.coin().await;
    let first = spend(&coin, Amount::from_sat(20_000), 1);
    let second = spend(&coin, Amount::from_sat(80_000), 2);
    rig.chain.broadcast(&first).await.unwrap();
    if rig.bench.lacks().replacement {
        assert_refused(&rig, &second, &[RejectClass::Conflict]).await;
        return assert_replaced(&rig, &second, &first).await;
    }
    assert_eq!(rig.chain.broadcast(&second).await.unwrap(), Broadcast::Accepted);
    assert_replaced(&rig, &first, &second).await;
    let watched = rig.watch(&second).await;
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InMempool);
}

pub(super) async fn a_test_takes_nothing(rig: Rig) {
    let payment = pay(&rig.coin().await);
    let tested = rig.chain.accepts(&payment).await;
    if rig.bench.lacks().accepts {
        assert!(matches!(tested, Err(ChainError::Unsupported { .. })), "{tested:?}");
    } else {
        assert_eq!(tested.unwrap(), Acceptance::Accepted);
    }
    let watched = rig.watch(&payment).await;
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::Unknown);
    rig.chain.broadcast(&payment).await.unwrap();
    if !rig.bench.lacks().accepts {
        assert_eq!(rig.chain.accepts(&payment).await.unwrap(), Acceptance::Accepted);
    }
}

pub(super) async fn a_package_pays_together(rig: Rig) {
    let coin = rig.coin().await;
    // Nodes ask of each transaction what is relayed at all; the parent pays that and no more.
    let parent = spend(&coin, Amount::from_sat(200), 1);
    let child = spend(&change(&parent), Amount::from_sat(50_000), 2);
    let package = [parent.clone(), child.clone()];
    let handed_in = rig.chain.broadcast_package(&package).await;
    if rig.bench.lacks().packages {
        assert!(matches!(handed_in, Err(ChainError::Unsupported { .. })), "{handed_in:?}");
        return;
    }
    assert_eq!(handed_in.unwrap(), [Broadcast::Accepted; 2]);
    assert_eq!(rig.chain.broadcast_package(&package).await.unwrap(), [Broadcast::Known; 2]);
    for transaction in &package {
        let watched = rig.watch(transaction).await;
        assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InMempool);
    }
    // Together not enough, either.
    let poor = spend(&rig.coin().await, Amount::ZERO, 1);
    let poor_child = spend(&change(&poor), Amount::ZERO, 2);
    let refused = rig.chain.broadcast_package(&[poor, poor_child]).await;
    assert!(
        matches!(refused, Err(ChainError::Rejected { class: RejectClass::FeeTooLow, .. })),
        "{refused:?}"
    );
    let unrelated = [pay(&rig.coin().await), pay(&rig.coin().await)];
    let refused = rig.chain.broadcast_package(&unrelated).await;
    assert!(matches!(refused, Err(ChainError::Invalid { .. })), "{refused:?}");
}
