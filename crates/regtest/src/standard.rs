//! What a mempool relays beside what is valid: Bitcoin Core's usual policy, as far as a private chain needs it to behave like
//! a public one.

use bitcoin::{Amount, Transaction};

/// Least fee to be relayed, and least that a replacement adds: satoshis for 1,000 virtual bytes.
pub(crate) const RELAY_SAT_PER_KVB: u64 = 1_000;
/// Heaviest transaction that is relayed.
const WEIGHT_MAX: u64 = 400_000;
/// Longest data output.
const DATA_BYTES_MAX: usize = 83;

/// The least fee of a transaction of this size.
pub(crate) fn floor(vsize: u64) -> Amount {
    Amount::from_sat((vsize * RELAY_SAT_PER_KVB).div_ceil(1_000))
}

/// Why a transaction is not relayed.
pub(crate) fn check(transaction: &Transaction) -> Result<(), &'static str> {
    if !(1..=3).contains(&transaction.version.0) {
        return Err("version");
    }
    if transaction.weight().to_wu() > WEIGHT_MAX {
        return Err("tx-size");
    }
    if transaction.base_size() < 65 {
        return Err("tx-size-small");
    }
    if transaction
        .input
        .iter()
        .any(|input| input.script_sig.len() > 1_650 || !input.script_sig.is_push_only())
    {
        return Err("scriptsig");
    }
    let mut data = 0;
    for output in &transaction.output {
        let script = &output.script_pubkey;
        if script.is_op_return() {
            data += 1;
            if script.len() > DATA_BYTES_MAX || data > 1 {
                return Err("datacarrier");
            }
            continue;
        }
        let known = script.is_p2pkh() || script.is_p2sh() || script.is_p2pk() || script.is_witness_program();
        if !known {
            return Err("scriptpubkey");
        }
        if output.value < script.minimal_non_dust() {
            return Err("dust");
        }
    }
    Ok(())
}
