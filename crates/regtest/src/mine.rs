use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness, transaction,
};
use eschaton_headers::{Params, check_proof_of_work};

use crate::ledger::Ledger;
use crate::mempool::Mempool;
use crate::rules;

/// Weight left for the header, the coinbase and the number of transactions.
const RESERVED_WU: u64 = 4_000;

/// A block on the tip with what waits, as much as fits, that pays to this script.
pub(crate) fn block(ledger: &Ledger, mempool: &Mempool, pay_to: &ScriptBuf, now: u32) -> Option<Block> {
    let tip = ledger.tip();
    let place = ledger.next_place();
    let mut weight = RESERVED_WU;
    let mut value = rules::subsidy(place.height);
    let mut left_out = std::collections::HashSet::new();
    let mut chosen = Vec::new();
    for (transaction, fee) in mempool.transactions() {
        let next = weight + transaction.weight().to_wu();
        let orphaned = transaction.input.iter().any(|input| left_out.contains(&input.previous_output.txid));
        let total = value.checked_add(fee);
        match total.filter(|_| next <= bitcoin::Weight::MAX_BLOCK.to_wu() && !orphaned) {
            Some(total) => {
                (weight, value) = (next, total);
                chosen.push((**transaction).clone());
            }
            None => {
                left_out.insert(transaction.compute_txid());
            }
        }
    }
    let mut txdata = vec![coinbase(place.height, value, pay_to)];
    txdata.extend(chosen);
    let commitment = rules::witness_commitment(&txdata)?;
    txdata[0].output.push(commitment);
    let header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: tip.hash,
        merkle_root: TxMerkleNode::all_zeros(),
        time: now.max(place.median + 1),
        bits: CompactTarget::from_consensus(rules::BITS),
        nonce: 0,
    };
    let mut block = Block { header, txdata };
    block.header.merkle_root = block.compute_merkle_root()?;
    let params = Params::bitcoin_regtest();
    // Every second hash will do.
    while check_proof_of_work(&params, &block.header).is_err() {
        block.header.nonce = block.header.nonce.checked_add(1)?;
    }
    Some(block)
}

fn coinbase(height: u32, value: Amount, pay_to: &ScriptBuf) -> Transaction {
    let script = bitcoin::script::Builder::new().push_int(i64::from(height)).push_slice(b"eschaton");
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: script.into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0_u8; 32]]),
        }],
        output: vec![TxOut { value, script_pubkey: pay_to.clone() }],
    }
}
