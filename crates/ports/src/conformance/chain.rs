//! What every chain promises. The suite mines blocks of its own and hands them to the node, so that it needs nothing of
//! the node but that it takes blocks: reorganisations are longer branches.

mod broadcasting;
mod reading;
mod reorganising;
mod rig;

use std::sync::Arc;

pub use rig::{ChainBench, Lacks, Rig};

use super::{Case, cases, run_cases};
use broadcasting::*;
use reading::*;
use reorganising::*;

/// Runs the suite on one chain, which grows by some hundred blocks.
pub async fn run(bench: Arc<dyn ChainBench>) {
    let rig = Rig::new(bench).await;
    run_cases(&all(), async || rig.clone()).await;
}

/// The suite's cases, for engines that need to run them apart.
pub fn all() -> [Case<Rig>; 27] {
    cases![
        block_zero_is_the_genesis_block,
        the_tip_follows_the_blocks,
        headers_are_found_by_hash_and_by_height,
        headers_come_as_a_bounded_chain,
        what_no_node_has_is_none,
        a_block_comes_whole,
        a_rescan_gives_every_block_in_order,
        a_rescan_beyond_the_tip_says_so,
        a_fee_rate_is_within_bounds,
        a_transaction_may_be_handed_in_again,
        a_mined_transaction_counts_as_handed_in,
        a_transaction_without_parent_is_missing_inputs,
        an_output_that_a_block_spent_is_already_spent,
        a_wrong_signature_is_invalid,
        a_transaction_without_fee_is_refused,
        a_form_that_is_not_relayed_is_refused,
        a_second_spend_is_a_conflict,
        a_higher_fee_replaces,
        a_test_takes_nothing,
        a_package_pays_together,
        status_goes_from_unknown_to_depth,
        a_confirmed_rival_is_a_conflict,
        a_follower_sees_blocks_as_they_come,
        a_follower_sees_a_reorganisation,
        a_reorganisation_while_away_is_found,
        a_reorganisation_deeper_than_the_locator_knows_is_found,
        a_reorganised_transaction_is_unconfirmed_again,
    ]
}
