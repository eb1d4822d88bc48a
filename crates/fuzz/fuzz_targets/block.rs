//! Blocks and transactions of Bitcoin and Litecoin, extension blocks (MWEB) too: read without panic, and as the library for
//! Bitcoin reads them where it can.
#![no_main]

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Block, Transaction};
use eschaton_headers::{TxInBlock, decode_block, decode_transaction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let plain = deserialize::<Transaction>(data);
    match decode_transaction(data) {
        Ok(ours) => {
            if let Ok(plain) = plain {
                assert_eq!(plain, ours);
            }
            // What is read has one ordinary form, which the library reads the same.
            assert_eq!(deserialize::<Transaction>(&serialize(&ours)).ok().as_ref(), Some(&ours));
        }
        Err(_) => assert!(
            plain.is_err() || plain.is_ok_and(|plain| plain.input.is_empty()),
            "refused what the library reads"
        ),
    }
    // With the root put right, whatever the transactions are: the search would never find it.
    let mut bytes = data.to_vec();
    if let Ok(mut block) = deserialize::<Block>(data)
        && let Some(root) = block.compute_merkle_root()
    {
        block.header.merkle_root = root;
        bytes = serialize(&block);
    }
    if let Ok(block) = decode_block(&bytes) {
        assert!(block.check_merkle_root());
        for position in 0..block.txdata.len().min(4) {
            if let Ok(proof) = TxInBlock::build(&block.txdata, position) {
                assert!(proof.verify(&block.header).is_ok());
            }
        }
    }
});
