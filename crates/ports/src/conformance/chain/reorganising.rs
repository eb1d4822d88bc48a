use std::collections::BTreeMap;

use bitcoin::{Amount, BlockHash};
use futures::future::join;

use super::rig::{Rig, pay, spend};
use crate::chain::{BlockRef, ChainEvent, Follower, Locator, TxStatus, follow, locate};

/// Takes events until the follower is at the tip, and gives what is connected then. Checks that each event follows on
/// the one before.
async fn catch_up(
    rig: &Rig,
    follower: &mut Follower,
    view: &mut BTreeMap<u32, BlockHash>,
) -> Vec<ChainEvent> {
    let mut events = Vec::new();
    let tip = rig.tip().await;
    while follower.locator().newest() != tip {
        let before = follower.locator().newest();
        let event = follower.next().await.unwrap();
        match &event {
            ChainEvent::Connected { at, block } => {
                assert_eq!(at.height, before.height + 1);
                assert_eq!(block.header.prev_blockhash, before.hash);
                assert_eq!(block.block_hash(), at.hash);
                view.insert(at.height, at.hash);
            }
            ChainEvent::Disconnected { to, from } => {
                assert_eq!(*from, before);
                assert!(to.height < from.height);
                view.retain(|height, _| *height <= to.height);
            }
        }
        events.push(event);
        // What a consumer persists leads to the same place.
        let bytes = follower.locator().to_bytes();
        assert_eq!(&Locator::from_bytes(&bytes).unwrap(), follower.locator());
    }
    for (height, hash) in view {
        assert_eq!(rig.chain.hash_at(*height).await.unwrap(), Some(*hash), "the view is wrong at {height}");
    }
    events
}

async fn follower_at_tip(rig: &Rig) -> Follower {
    let locator = locate(&*rig.chain, u32::MAX).await.unwrap();
    assert_eq!(locator.newest(), rig.tip().await);
    follow(rig.chain.clone(), locator)
}

pub(super) async fn a_follower_sees_blocks_as_they_come(rig: Rig) {
    // From genesis.
    let genesis = BlockRef { height: 0, hash: rig.chain.identity().genesis };
    let mut follower = follow(rig.chain.clone(), Locator::at(genesis));
    let mut view = BTreeMap::new();
    catch_up(&rig, &mut follower, &mut view).await;
    assert_eq!(view.len(), usize::try_from(rig.tip().await.height).unwrap());
    assert!(follower.try_next().await.unwrap().is_none());
    // One that waits is woken.
    let (event, mined) = join(follower.next(), rig.mine(1)).await;
    let ChainEvent::Connected { at, .. } = event.unwrap() else { panic!("not a block") };
    assert_eq!(at, mined[0].0);
}

pub(super) async fn a_follower_sees_a_reorganisation(rig: Rig) {
    let mut follower = follower_at_tip(&rig).await;
    let base = rig.tip().await;
    let mut view = BTreeMap::new();
    for round in 1..4_u8 {
        let depth = u32::from(round) * 2;
        let old = rig.mine_on(base, depth, round).await;
        catch_up(&rig, &mut follower, &mut view).await;
        assert_eq!(rig.tip().await, old[old.len() - 1].0);
    }
    let events = catch_up(&rig, &mut follower, &mut view).await;
    assert!(events.is_empty());
    rig.mine_on(base, 7, 9).await;
    let events = catch_up(&rig, &mut follower, &mut view).await;
    let ChainEvent::Disconnected { to, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(*to, base);
    assert_eq!(events.len(), 8);
}

pub(super) async fn a_reorganisation_while_away_is_found(rig: Rig) {
    let base = rig.tip().await;
    rig.mine_on(base, 3, 11).await;
    let persisted = follower_at_tip(&rig).await.locator().to_bytes();
    // Deeper than what the follower saw: the fork is below the block where it began.
    let fork = rig.at(base.height - 2).await;
    rig.mine_on(fork, 9, 12).await;
    let mut follower = follow(rig.chain.clone(), Locator::from_bytes(&persisted).unwrap());
    let events = catch_up(&rig, &mut follower, &mut BTreeMap::new()).await;
    let ChainEvent::Disconnected { to, from } = &events[0] else { panic!("{events:?}") };
    assert_eq!((*to, from.height), (fork, base.height + 3));
    assert_eq!(events.len(), 10);
}

pub(super) async fn a_reorganisation_deeper_than_the_locator_knows_is_found(rig: Rig) {
    let base = rig.tip().await;
    rig.mine_on(base, 160, 13).await;
    let persisted = follower_at_tip(&rig).await.locator().to_bytes();
    rig.mine_on(base, 161, 14).await;
    let mut follower = follow(rig.chain.clone(), Locator::from_bytes(&persisted).unwrap());
    let mut view = BTreeMap::new();
    let events = catch_up(&rig, &mut follower, &mut view).await;
    let ChainEvent::Disconnected { to, .. } = &events[0] else { panic!("{events:?}") };
    assert!(to.height <= base.height, "a block of the old branch still counts: {to:?}");
    assert_eq!(view.get(&(base.height + 1)), Some(&rig.at(base.height + 1).await.hash));
}

pub(super) async fn status_goes_from_unknown_to_depth(rig: Rig) {
    let payment = pay(&rig.coin().await);
    let watched = rig.watch(&payment).await;
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::Unknown);
    rig.chain.broadcast(&payment).await.unwrap();
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InMempool);
    let (block, _) = rig.mine_with(vec![payment.clone()]).await;
    for depth in 1..4 {
        assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InBlock { block, depth });
        rig.mine(1).await;
    }
    // Both outputs spent, in a block: it is found all the same.
    let next = pay(&super::rig::change(&payment));
    rig.mine_with(vec![next]).await;
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InBlock { block, depth: 5 });
}

pub(super) async fn a_confirmed_rival_is_a_conflict(rig: Rig) {
    let coin = rig.coin().await;
    let loser = pay(&coin);
    let watched = rig.watch(&loser).await;
    rig.chain.broadcast(&loser).await.unwrap();
    let winner = spend(&coin, Amount::from_sat(25_000), 3);
    let (block, _) = rig.mine_with(vec![winner.clone()]).await;
    let status = rig.chain.status(&watched).await.unwrap();
    assert_eq!(status, TxStatus::Conflicted { by: Some(winner.compute_txid()), block: Some(block) });
}

pub(super) async fn a_reorganised_transaction_is_unconfirmed_again(rig: Rig) {
    let coin = rig.coin().await;
    let base = rig.tip().await;
    let payment = pay(&coin);
    let watched = rig.watch(&payment).await;
    let (block, _) = rig.mine_with(vec![payment.clone()]).await;
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InBlock { block, depth: 1 });
    rig.mine_on(base, 2, 21).await;
    let status = rig.chain.status(&watched).await.unwrap();
    assert!(matches!(status, TxStatus::InMempool | TxStatus::Unknown), "{status:?}");
    rig.chain.broadcast(&payment).await.unwrap();
    assert_eq!(rig.chain.status(&watched).await.unwrap(), TxStatus::InMempool);
    // And again on the new branch, where a rival is mined instead.
    let rival = spend(&coin, Amount::from_sat(90_000), 22);
    let (block, _) = rig.mine_with(vec![rival.clone()]).await;
    let status = rig.chain.status(&watched).await.unwrap();
    assert_eq!(status, TxStatus::Conflicted { by: Some(rival.compute_txid()), block: Some(block) });
}
