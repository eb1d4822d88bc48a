//! Rules of blocks and transactions, as on Bitcoin's regtest with all soft forks active.

use bitcoin::hashes::Hash;
use bitcoin::{Amount, Block, CompactTarget, OutPoint, Transaction, TxOut};

/// Regtest's only difficulty.
pub(crate) const BITS: u32 = 0x207f_ffff;
/// Blocks between halvings of the subsidy.
const HALVING: u32 = 150;
/// Blocks before a coinbase may be spent.
pub(crate) const MATURITY: u32 = 100;
/// How far ahead of the clock a block's time may be, in seconds.
pub(crate) const AHEAD_MAX_S: u32 = 7_200;
/// Lock times below are heights, others seconds.
const LOCK_TIME_THRESHOLD: u32 = 500_000_000;

/// An unspent output.
#[derive(Clone, Debug)]
pub(crate) struct Coin {
    pub(crate) output: TxOut,
    /// Of the block that made it; the next block's for one that waits in the mempool.
    pub(crate) height: u32,
    pub(crate) coinbase: bool,
}

/// Coins that a block of this height may make, without fees.
pub(crate) fn subsidy(height: u32) -> Amount {
    Amount::from_sat((50 * Amount::ONE_BTC.to_sat()).checked_shr(height / HALVING).unwrap_or(0))
}

/// What holds of a block by itself.
pub(crate) fn block_alone(block: &Block, height: u32) -> Result<(), String> {
    let [coinbase, others @ ..] = &block.txdata[..] else { return Err("it has no transactions".to_owned()) };
    if !coinbase.is_coinbase() || others.iter().any(Transaction::is_coinbase) {
        return Err("its first transaction alone must be a coinbase".to_owned());
    }
    if block.header.bits != CompactTarget::from_consensus(BITS) {
        return Err("its difficulty is not regtest's".to_owned());
    }
    if block.header.version.to_consensus() < 4 {
        return Err("its version is too old".to_owned());
    }
    if block.weight() > bitcoin::Weight::MAX_BLOCK {
        return Err("it is too heavy".to_owned());
    }
    if !block.check_merkle_root() {
        return Err("its transactions are not those of its header".to_owned());
    }
    let script = &coinbase.input[0].script_sig;
    let number = bitcoin::script::Builder::new().push_int(i64::from(height)).into_script();
    if !script.as_bytes().starts_with(number.as_bytes()) || !(2..=100).contains(&script.len()) {
        return Err("its coinbase does not begin with its height".to_owned());
    }
    if !block.check_witness_commitment() {
        return Err("its witnesses are not those that it commits to".to_owned());
    }
    block.txdata.iter().try_for_each(transaction_alone)
}

/// What holds of a transaction by itself (`CheckTransaction`).
pub(crate) fn transaction_alone(transaction: &Transaction) -> Result<(), String> {
    if transaction.input.is_empty() || transaction.output.is_empty() {
        return Err("a transaction without inputs or outputs".to_owned());
    }
    if transaction.base_size() * 4 > 4_000_000 {
        return Err("a transaction that is too large".to_owned());
    }
    output_sum(transaction)?;
    let mut inputs: Vec<OutPoint> = transaction.input.iter().map(|input| input.previous_output).collect();
    inputs.sort_unstable();
    if inputs.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("a transaction that spends an output twice".to_owned());
    }
    if !transaction.is_coinbase() && inputs.iter().any(OutPoint::is_null) {
        return Err("a transaction that spends nothing".to_owned());
    }
    Ok(())
}

/// All outputs' value, within the money that there can be.
pub(crate) fn output_sum(transaction: &Transaction) -> Result<Amount, String> {
    let mut sum = Amount::ZERO;
    for output in &transaction.output {
        let next = sum.checked_add(output.value).filter(|_| output.value <= Amount::MAX_MONEY);
        sum = next.filter(|sum| *sum <= Amount::MAX_MONEY).ok_or("outputs of more than all money")?;
    }
    Ok(sum)
}

/// Where a transaction would stand.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The block's height.
    pub(crate) height: u32,
    /// The median time of the eleven blocks before it.
    pub(crate) median: u32,
}

/// Whether the lock time has come (BIP 113).
pub(crate) fn is_final(transaction: &Transaction, place: Place) -> bool {
    let lock = transaction.lock_time.to_consensus_u32();
    let now = if lock < LOCK_TIME_THRESHOLD { place.height } else { place.median };
    lock == 0 || lock < now || transaction.input.iter().all(|input| input.sequence.0 == u32::MAX)
}

/// Whether the inputs' relative locks have come (BIP 68). `median_before` gives the median time before the block of a height.
pub(crate) fn relative_locks_came(
    transaction: &Transaction,
    coins: &[Coin],
    place: Place,
    median_before: impl Fn(u32) -> u32,
) -> bool {
    // Unsigned, as Bitcoin Core compares it.
    if transaction.version.0.cast_unsigned() < 2 {
        return true;
    }
    transaction.input.iter().zip(coins).all(|(input, coin)| {
        let sequence = input.sequence.0;
        if sequence & 1 << 31 != 0 {
            return true;
        }
        let value = sequence & 0xffff;
        if sequence & 1 << 22 != 0 {
            let since = u64::from(median_before(coin.height));
            u64::from(place.median) >= since + u64::from(value) * 512
        } else {
            u64::from(place.height) >= u64::from(coin.height) + u64::from(value)
        }
    })
}

/// Checks the spending of these coins; gives the fee.
pub(crate) fn spend(transaction: &Transaction, coins: &[Coin], height: u32) -> Result<Amount, SpendError> {
    let mut sum = Amount::ZERO;
    for coin in coins {
        if coin.coinbase && height < coin.height + MATURITY {
            return Err(SpendError::Immature);
        }
        let next = sum.checked_add(coin.output.value).filter(|sum| *sum <= Amount::MAX_MONEY);
        sum = next.ok_or_else(|| SpendError::Invalid("inputs of more than all money".to_owned()))?;
    }
    let out = output_sum(transaction).map_err(SpendError::Invalid)?;
    sum.checked_sub(out).ok_or_else(|| SpendError::Invalid(format!("outputs of {out} from inputs of {sum}")))
}

/// Why coins may not be spent so.
pub(crate) enum SpendError {
    /// A coinbase that is too young.
    Immature,
    /// Never.
    Invalid(String),
}

/// The output that commits to a block's witnesses (BIP 141), with a reserved value of zeros.
pub(crate) fn witness_commitment(txdata: &[Transaction]) -> Option<TxOut> {
    let leaves = txdata.iter().enumerate().map(|(index, transaction)| match index {
        0 => bitcoin::WitnessMerkleNode::all_zeros(),
        _ => bitcoin::WitnessMerkleNode::from_raw_hash(transaction.compute_wtxid().to_raw_hash()),
    });
    let root = bitcoin::merkle_tree::calculate_root(leaves)?;
    let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    script.extend(Block::compute_witness_commitment(&root, &[0; 32]).to_byte_array());
    Some(TxOut { value: Amount::ZERO, script_pubkey: script.into() })
}
