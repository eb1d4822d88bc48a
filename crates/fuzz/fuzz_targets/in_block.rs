//! Proofs that a transaction is in a block, from a node that is not trusted: judged without panic, and none proves what the
//! block does not hold.
#![no_main]

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction,
};
use eschaton_headers::{Params, TxInBlock};
use libfuzzer_sys::fuzz_target;

fn transaction(mark: u32) -> Transaction {
    let coinbase = mark == 0;
    let previous = OutPoint { txid: Txid::from_byte_array([3; 32]), vout: mark };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: if coinbase { OutPoint::null() } else { previous },
            script_sig: ScriptBuf::from_bytes(vec![1; 4]),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(5),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51; 3]),
        }],
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((shape, data)) = data.split_first() else { return };
    let txdata: Vec<Transaction> = (0..u32::from(shape % 9) + 1).map(transaction).collect();
    let mut block = Block { header: Params::bitcoin_regtest().genesis, txdata };
    block.header.merkle_root = block.compute_merkle_root().expect("a coinbase");
    let judge = |bytes: &[u8]| {
        let Ok(proof) = TxInBlock::from_bytes(bytes) else { return };
        assert_eq!(proof.to_bytes(), bytes, "two forms of one proof");
        if let Ok(proven) = proof.verify(&block.header) {
            let position = usize::try_from(proof.position()).expect("a position");
            assert_eq!(block.txdata.get(position), Some(&proven), "proven what is not there");
        }
    };
    judge(data);
    // An honest proof, spoilt: three bytes each change one place.
    let position = usize::from(shape / 9) % block.txdata.len();
    let mut bytes = TxInBlock::build(&block.txdata, position).expect("an honest block").to_bytes();
    for change in data.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    judge(&bytes);
});
