use bitcoin::block::Header;
use bitcoin::consensus::encode::{Decodable, VarInt};
use bitcoin::io::Read;
use bitcoin::{Block, Transaction, TxIn, TxOut, Witness, absolute, transaction};

use crate::BlockError;

/// The longest block that is read. Consensus allows 4,000,000 weight units, Litecoin an extension block besides.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;
/// No input or output takes fewer bytes on the wire than 9; a claim of more of them than fit is refused unread.
const PART_BYTES_MIN: usize = 9;
/// No transaction takes fewer.
const TRANSACTION_BYTES_MIN: usize = 10;

/// Witness data follows (BIP 144).
const FLAG_WITNESS: u8 = 1;
/// Litecoin: an extension part follows (LIP 3). In a block only the HogEx has it, and it is a single zero byte.
const FLAG_MWEB: u8 = 8;

fn malformed<E>(what: &'static str) -> impl FnOnce(E) -> BlockError {
    move |_| BlockError::Malformed(what)
}

fn count(bytes: &mut &[u8], least: usize) -> Result<usize, BlockError> {
    let count = VarInt::consensus_decode(bytes).map_err(malformed("a count is cut off"))?.0;
    let count = usize::try_from(count).map_err(malformed("a count is too large"))?;
    if count > bytes.len() / least {
        return Err(BlockError::Malformed("a count is larger than what follows"));
    }
    Ok(count)
}

fn byte(bytes: &mut &[u8]) -> Result<u8, BlockError> {
    let mut byte = [0];
    bytes.read_exact(&mut byte).map_err(malformed("cut off"))?;
    Ok(byte[0])
}

/// A transaction, and whether it is a HogEx.
fn transaction(bytes: &mut &[u8]) -> Result<(Transaction, bool), BlockError> {
    let version =
        transaction::Version::consensus_decode(bytes).map_err(malformed("a transaction's version"))?;
    // A zero where the number of inputs should be: the next byte says what follows the outputs.
    let flags = match bytes {
        [0, flags, rest @ ..] => {
            let flags = *flags;
            *bytes = rest;
            if flags == 0 || flags & !(FLAG_WITNESS | FLAG_MWEB) != 0 {
                return Err(BlockError::Malformed("unknown flags of a transaction"));
            }
            flags
        }
        _ => 0,
    };
    let mut input = Vec::new();
    for _ in 0..count(bytes, PART_BYTES_MIN)? {
        input.push(TxIn::consensus_decode(bytes).map_err(malformed("an input"))?);
    }
    let mut output = Vec::new();
    for _ in 0..count(bytes, PART_BYTES_MIN)? {
        output.push(TxOut::consensus_decode(bytes).map_err(malformed("an output"))?);
    }
    if flags & FLAG_WITNESS != 0 {
        for input in &mut input {
            input.witness = Witness::consensus_decode(bytes).map_err(malformed("a witness"))?;
        }
        if input.iter().all(|input| input.witness.is_empty()) {
            return Err(BlockError::Malformed("a witness that is empty"));
        }
    }
    let hogex = flags & FLAG_MWEB != 0;
    if hogex && byte(bytes)? != 0 {
        return Err(BlockError::Malformed("a transaction of the extension block, which stands in no block"));
    }
    if input.is_empty() {
        return Err(BlockError::Malformed("a transaction without inputs"));
    }
    let lock_time = absolute::LockTime::consensus_decode(bytes).map_err(malformed("a lock time"))?;
    Ok((Transaction { version, lock_time, input, output }, hogex))
}

/// Reads one transaction of Bitcoin or Litecoin, all of the bytes. A HogEx reads as the ordinary transaction that its
/// txid is made of.
pub fn decode_transaction(mut bytes: &[u8]) -> Result<Transaction, BlockError> {
    if bytes.len() > BLOCK_BYTES_MAX {
        return Err(BlockError::TooLong(bytes.len()));
    }
    let (transaction, _) = transaction(&mut bytes)?;
    if !bytes.is_empty() {
        return Err(BlockError::Malformed("bytes after a transaction"));
    }
    Ok(transaction)
}

/// Reads a block of Bitcoin or Litecoin and checks that its transactions are those that its header names. Litecoin's
/// extension block is cut off unread: nothing in it is believed, and the HogEx, which commits to it, stays as an
/// ordinary transaction.
pub fn decode_block(bytes: &[u8]) -> Result<Block, BlockError> {
    if bytes.len() > BLOCK_BYTES_MAX {
        return Err(BlockError::TooLong(bytes.len()));
    }
    let mut rest = bytes;
    let header = Header::consensus_decode(&mut rest).map_err(malformed("its header"))?;
    let count = count(&mut rest, TRANSACTION_BYTES_MIN)?;
    let mut txdata = Vec::with_capacity(count);
    let mut last_is_hogex = false;
    for _ in 0..count {
        if last_is_hogex {
            return Err(BlockError::Malformed("a HogEx that is not the last"));
        }
        let (transaction, hogex) = transaction(&mut rest)?;
        txdata.push(transaction);
        last_is_hogex = hogex;
    }
    match (last_is_hogex, rest) {
        (false, []) => {}
        // After a HogEx: nothing, an absent extension block, or one.
        (true, [] | [0] | [1, _, ..]) if txdata.len() >= 2 => {}
        _ => return Err(BlockError::Malformed("bytes after its transactions")),
    }
    let block = Block { header, txdata };
    // Repeated transactions leave the root as it is (CVE-2012-2459): such a list is not the block's.
    let ids: Vec<_> = block.txdata.iter().map(Transaction::compute_txid).collect();
    if crate::proof::root_of(&ids) != Some((block.header.merkle_root, false)) {
        return Err(BlockError::MerkleRoot);
    }
    Ok(block)
}
