//! Blocks' bytes, and proofs that a transaction is in a block.

#![allow(clippy::unwrap_used, clippy::panic)]

use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid, Witness,
    transaction,
};
use eschaton_headers::{BlockError, Params, ProofError, TxInBlock, decode_block, decode_transaction};

fn transaction(mark: u32, previous: OutPoint, script: usize) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::from_consensus(mark),
        input: vec![TxIn {
            previous_output: previous,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(5),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51; script]),
        }],
    }
}

fn spend(mark: u32) -> Transaction {
    let mut made = transaction(mark, OutPoint { txid: Txid::from_byte_array([3; 32]), vout: mark }, 22);
    if mark % 3 == 1 {
        made.input[0].witness.push([mark.to_le_bytes()[0]; 71]);
    }
    made
}

fn block(count: u32) -> Block {
    let mut coinbase = transaction(0, OutPoint::null(), 22);
    coinbase.input[0].script_sig = ScriptBuf::from_bytes(vec![1; 8]);
    let txdata = std::iter::once(coinbase).chain((1..count).map(spend)).collect();
    with_root(txdata)
}

fn with_root(txdata: Vec<Transaction>) -> Block {
    let mut block = Block { header: Params::bitcoin_regtest().genesis, txdata };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    block
}

#[test]
fn every_transaction_of_every_shape_of_tree_is_proven() {
    for count in (1..=34).chain([63, 64, 65, 100]) {
        let block = block(count);
        for (position, transaction) in block.txdata.iter().enumerate() {
            let txid = transaction.compute_txid();
            let proof = TxInBlock::build_for(&block.txdata, txid).unwrap();
            assert_eq!(usize::try_from(proof.position()).unwrap(), position);
            let read = TxInBlock::from_bytes(&proof.to_bytes()).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.verify(&block.header).unwrap().compute_txid(), txid, "{position} of {count}");
            let other = Header { merkle_root: TxMerkleNode::from_byte_array([1; 32]), ..block.header };
            assert_eq!(read.verify(&other), Err(ProofError::Root));
        }
        let absent = TxInBlock::build_for(&block.txdata, Txid::from_byte_array([8; 32]));
        assert_eq!(absent, Err(ProofError::Absent));
        assert_eq!(TxInBlock::build(&block.txdata, block.txdata.len()), Err(ProofError::Absent));
    }
}

#[test]
fn a_proof_with_any_bit_changed_proves_nothing_else() {
    for (count, position) in [(1, 0), (2, 1), (7, 6), (13, 4)] {
        let block = block(count);
        let bytes = TxInBlock::build(&block.txdata, position).unwrap().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(proof) = TxInBlock::from_bytes(&changed) {
                assert!(proof.verify(&block.header).is_err(), "bit {bit} of {position} in {count}");
            }
        }
        for end in 0..bytes.len() {
            assert!(TxInBlock::from_bytes(&bytes[..end]).is_err());
        }
        assert!(TxInBlock::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_repeated_list_is_not_the_blocks() {
    // CVE-2012-2459: the last two of six, repeated, have the root of six.
    let honest = block(6);
    let mut repeated = honest.clone();
    repeated.txdata.extend_from_slice(&honest.txdata[4..]);
    assert_eq!(repeated.compute_merkle_root(), honest.compute_merkle_root());
    assert_eq!(TxInBlock::build(&repeated.txdata, 7), Err(ProofError::Duplicate));
    assert_eq!(decode_block(&serialize(&repeated)), Err(BlockError::MerkleRoot));
    assert_eq!(decode_block(&serialize(&honest)).as_ref(), Ok(&honest));
    // A proof of position 5 in a block of 3, where the odd node is its own neighbour.
    let odd = block(3);
    let mut bytes = TxInBlock::build(&odd.txdata, 2).unwrap().to_bytes();
    bytes[4] = 3;
    let proof = TxInBlock::from_bytes(&bytes).unwrap();
    assert_eq!(proof.verify(&odd.header), Err(ProofError::Duplicate));
}

#[test]
fn sixty_four_bytes_are_no_transaction_of_a_proof() {
    // CVE-2017-12842: such a transaction's bytes are those of a node's two children.
    let short = transaction(7, OutPoint { txid: Txid::from_byte_array([3; 32]), vout: 0 }, 4);
    assert_eq!(serialize(&short).len(), 64);
    let mut block = block(4);
    block.txdata.push(short);
    let block = with_root(block.txdata);
    assert_eq!(TxInBlock::build(&block.txdata, 4), Err(ProofError::Ambiguous));
    assert!(TxInBlock::build(&block.txdata, 3).is_ok());
}

#[test]
fn a_deeper_tree_than_the_blocks_is_refused() {
    // The 64 bytes' left half is a txid of the attacker's choice: a branch one level deeper would prove it. The coinbase's branch
    // has the tree's depth, so the two differ in length.
    let block = block(4);
    let bytes = TxInBlock::build(&block.txdata, 3).unwrap().to_bytes();
    let mut deeper = bytes[..5].to_vec();
    deeper.push(3);
    deeper.extend([0x11; 32]);
    deeper.extend(&bytes[6..70]);
    // The coinbase's branch, with a level that does not exist.
    deeper.extend([0x11; 32]);
    deeper.extend(&bytes[70..]);
    let proof = TxInBlock::from_bytes(&deeper).unwrap();
    assert_eq!(proof.verify(&block.header), Err(ProofError::Root));
    // Another first transaction than a coinbase.
    let headless = with_root(block.txdata[1..].to_vec());
    assert_eq!(TxInBlock::build(&headless.txdata, 1), Err(ProofError::Coinbase));
}

/// A Litecoin block's bytes as its node serializes them: the last transaction with flag 8 and a zero byte, then the extension.
fn with_extension(block: &Block, extension: &[u8]) -> Vec<u8> {
    let mut bytes = serialize(&block.header);
    bytes.push(u8::try_from(block.txdata.len()).unwrap());
    let (hogex, others) = block.txdata.split_last().unwrap();
    for transaction in others {
        bytes.extend(serialize(transaction));
    }
    let plain = serialize(hogex);
    bytes.extend(&plain[..4]);
    bytes.extend([0, 8]);
    bytes.extend(&plain[4..plain.len() - 4]);
    bytes.push(0);
    bytes.extend(&plain[plain.len() - 4..]);
    bytes.extend(extension);
    bytes
}

#[test]
fn an_extension_block_is_cut_off() {
    let mut block = block(4);
    // A HogEx has no witness.
    block.txdata.push(spend(6));
    let block = with_root(block.txdata);
    for extension in [&[][..], &[0], &[1, 2, 3, 4, 5]] {
        let bytes = with_extension(&block, extension);
        assert_eq!(decode_block(&bytes).as_ref(), Ok(&block), "{extension:?}");
    }
    for wrong in [&[1][..], &[2, 2, 3], &[0, 0]] {
        assert!(decode_block(&with_extension(&block, wrong)).is_err(), "{wrong:?}");
    }
    // Bytes after an ordinary block.
    assert!(decode_block(&[&serialize(&block)[..], &[0]].concat()).is_err());
    let hogex = with_extension(&block, &[]);
    let hogex = &hogex[serialize(&block).len() + 3 - serialize(&spend(6)).len() - 3..];
    assert_eq!(decode_transaction(hogex).unwrap().compute_txid(), spend(6).compute_txid());
}

#[test]
fn counts_that_lie_cost_nothing() {
    let block = block(3);
    let mut bytes = serialize(&block);
    // Number of transactions: 2^64 - 1.
    bytes.splice(80..81, [0xff; 9]);
    assert!(matches!(decode_block(&bytes), Err(BlockError::Malformed(_))));
    for length in 0..bytes.len() {
        assert!(decode_block(&bytes[..length]).is_err());
    }
    assert!(matches!(decode_block(&vec![0; (8 << 20) + 1]), Err(BlockError::TooLong(_))));
}
