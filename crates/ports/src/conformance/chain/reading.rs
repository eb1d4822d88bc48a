use bitcoin::Amount;

use super::rig::{Rig, nowhere, pay};
use crate::chain::{BlockRef, ChainError, ChainState, FEE_RATE_MAX, HEADERS_MAX, rescan};

pub(super) async fn block_zero_is_the_genesis_block(rig: Rig) {
    let identity = rig.chain.identity();
    assert_eq!(rig.chain.hash_at(0).await.unwrap(), Some(identity.genesis));
    let header = rig.chain.header(identity.genesis).await.unwrap().unwrap();
    assert_eq!(header.at, BlockRef { height: 0, hash: identity.genesis });
    assert_eq!(header.header.block_hash(), identity.genesis);
    assert_eq!(rig.chain.state().await, ChainState::Ready);
}

pub(super) async fn the_tip_follows_the_blocks(rig: Rig) {
    let before = rig.tip().await;
    let mined = rig.mine(3).await;
    let after = rig.tip().await;
    assert_eq!(after, mined[2].0);
    assert_eq!(after.height, before.height + 3);
    rig.chain.changed(before.hash).await.unwrap();
}

pub(super) async fn headers_are_found_by_hash_and_by_height(rig: Rig) {
    let mined = rig.mine(2).await;
    for (at, block) in &mined {
        assert_eq!(rig.chain.hash_at(at.height).await.unwrap(), Some(at.hash));
        let header = rig.chain.header(at.hash).await.unwrap().unwrap();
        assert_eq!((header.at, header.header, header.best), (*at, block.header, true));
    }
    // A branch that is not longer: known, not the best.
    let parent = rig.at(mined[0].0.height - 1).await;
    let (side, block) = rig.mine_one(parent, Vec::new(), 77).await;
    assert_eq!(rig.tip().await, mined[1].0);
    let header = rig.chain.header(side.hash).await.unwrap().unwrap();
    assert_eq!((header.at, header.header, header.best), (side, block.header, false));
}

pub(super) async fn headers_come_as_a_bounded_chain(rig: Rig) {
    rig.mine(12).await;
    let tip = rig.tip().await;
    let from = tip.height - 9;
    let headers = rig.chain.headers(from, 6).await.unwrap();
    assert_eq!(headers.len(), 6);
    let all = rig.chain.headers(from, u32::MAX).await.unwrap();
    assert_eq!(all.len(), 10);
    assert_eq!(all[..6], headers);
    assert_eq!(all[9].at, tip);
    for (height, header) in (from..).zip(&all) {
        assert_eq!(header.at.height, height);
        assert_eq!(header.header.block_hash(), header.at.hash);
        assert!(header.best);
    }
    for pair in all.windows(2) {
        assert_eq!(pair[1].header.prev_blockhash, pair[0].at.hash);
    }
    assert!(rig.chain.headers(tip.height + 1, 10).await.unwrap().is_empty());
    assert!(rig.chain.headers(0, 0).await.unwrap().is_empty());
    let most = rig.chain.headers(0, u32::MAX).await.unwrap();
    assert_eq!(most.len(), usize::try_from((tip.height + 1).min(HEADERS_MAX)).unwrap());
}

pub(super) async fn what_no_node_has_is_none(rig: Rig) {
    let tip = rig.tip().await;
    assert_eq!(rig.chain.hash_at(tip.height + 1).await.unwrap(), None);
    assert_eq!(rig.chain.hash_at(u32::MAX).await.unwrap(), None);
    assert_eq!(rig.chain.header(nowhere()).await.unwrap(), None);
    assert_eq!(rig.chain.block(nowhere()).await.unwrap(), None);
}

pub(super) async fn a_block_comes_whole(rig: Rig) {
    let payment = pay(&rig.coin().await);
    let (at, mined) = rig.mine_with(vec![payment.clone()]).await;
    let block = rig.chain.block(at.hash).await.unwrap().unwrap();
    assert_eq!(*block, mined);
    assert_eq!(block.txdata[1].compute_txid(), payment.compute_txid());
    assert!(block.check_merkle_root());
    // Again, perhaps from a cache.
    assert_eq!(*rig.chain.block(at.hash).await.unwrap().unwrap(), mined);
    let genesis = rig.chain.identity().genesis;
    assert_eq!(rig.chain.block(genesis).await.unwrap().unwrap().block_hash(), genesis);
}

pub(super) async fn a_rescan_gives_every_block_in_order(rig: Rig) {
    let mined = rig.mine(5).await;
    let heights = mined[0].0.height..=mined[4].0.height;
    let mut scan = rescan(rig.chain.clone(), heights);
    for (at, block) in &mined {
        let (found, scanned) = scan.next().await.unwrap().expect("a block of the range");
        assert_eq!((found, &*scanned), (*at, block));
    }
    assert!(scan.next().await.unwrap().is_none());
    assert!(scan.next().await.unwrap().is_none());
    #[allow(clippy::reversed_empty_ranges)]
    let mut nothing = rescan(rig.chain.clone(), 5..=4);
    assert!(nothing.next().await.unwrap().is_none());
}

pub(super) async fn a_rescan_beyond_the_tip_says_so(rig: Rig) {
    let tip = rig.tip().await;
    let mut scan = rescan(rig.chain.clone(), tip.height..=tip.height + 1);
    assert_eq!(scan.next().await.unwrap().unwrap().0, tip);
    let end = scan.next().await;
    assert_eq!(end.err(), Some(ChainError::Reorganised { height: tip.height + 1 }));
    // A block of another branch does not follow on what was read.
    let mined = rig.mine(2).await;
    let mut scan = rescan(rig.chain.clone(), mined[0].0.height..=mined[1].0.height);
    scan.next().await.unwrap().unwrap();
    rig.mine_on(tip, 3, 78).await;
    assert!(matches!(scan.next().await, Err(ChainError::Reorganised { .. })));
}

pub(super) async fn a_fee_rate_is_within_bounds(rig: Rig) {
    for target in [1, 2, 6, 144, 1_008] {
        let fee = rig.chain.fee_rate(target).await.unwrap();
        assert!(fee.rate <= FEE_RATE_MAX && fee.rate > bitcoin::FeeRate::ZERO, "{fee:?}");
    }
    assert!(matches!(rig.chain.fee_rate(0).await, Err(ChainError::Invalid { .. })));
    assert!(matches!(rig.chain.fee_rate(1_009).await, Err(ChainError::Invalid { .. })));
    // The least rate that it names is taken.
    let floor = rig.chain.fee_rate(1_008).await.unwrap().rate;
    let coin = rig.coin().await;
    let vbytes = pay(&coin).weight();
    let fee = floor.fee_wu(vbytes).unwrap() + Amount::from_sat(2);
    rig.chain.broadcast(&super::rig::spend(&coin, fee, 9)).await.unwrap();
}
