//! Transactions: chosen coins, replacements (BIP 125), children that pay for their parents.

use bdk_wallet::KeychainKind;
use bdk_wallet::TxOrdering;
use bdk_wallet::coin_selection::LargestFirstCoinSelection;
use bdk_wallet::error::CreateTxError;
use bdk_wallet::miniscript::psbt::PsbtExt;
use bitcoin::absolute::LockTime;
use bitcoin::psbt::Psbt;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut};

use crate::wallet::Coin;
use crate::{Wallet, WalletError};

/// What a replacement must pay more, satoshi for 1,000 virtual bytes of its own (`incrementalrelayfee` of Bitcoin Core,
/// BIP 125 rule 4).
const STEP_SAT_PER_KVB: u64 = 1_000;
/// Left over from change that would be dust, at most; it goes to the fee.
const DUST_SAT: u64 = 1_000;
/// What rounding up to a whole rate may add.
const ROUNDING_SAT: u64 = 10;
/// Least value of a coin that change is split into.
const SPLIT_SAT: u64 = 20_000;

/// A transaction to build.
#[derive(Clone, Debug)]
pub struct Spend {
    /// Whom its inputs are reserved for. Coins that are reserved for others are not spent.
    pub tag: u64,
    /// What it must have for outputs, besides change.
    pub outputs: Vec<TxOut>,
    /// What it pays at least, satoshi for 1,000 virtual bytes.
    pub sat_per_kvb: u64,
    /// What it pays at most.
    pub cap_sat_per_kvb: u64,
    /// It replaces one that pays this in all; 0 if it replaces none.
    pub above_sat: u64,
    /// It must spend this one.
    pub input: Option<OutPoint>,
    /// Coins that the wallet should have, so that several can be under way: change is split when it has fewer.
    pub coins_wanted: usize,
}

/// A child to build that spends an unconfirmed output of this wallet, so that miners take both (CPFP).
#[derive(Clone, Debug)]
pub struct Child {
    /// The parent.
    pub parent: Transaction,
    /// What the parent pays.
    pub parent_fee_sat: u64,
    /// What both pay together, satoshi for 1,000 virtual bytes.
    pub sat_per_kvb: u64,
    /// The most that the child pays in all.
    pub fee_max_sat: u64,
}

/// A whole transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// It.
    pub transaction: Transaction,
    /// What it pays.
    pub fee_sat: u64,
    /// Size that fees count by.
    pub vbytes: u32,
}

impl Wallet {
    /// Builds a transaction of confirmed, mature coins, and reserves its inputs: they are on the disk as reserved when this
    /// returns, so the signer may be asked. The largest coins first, outputs in the order asked for, no lock time,
    /// replaceable. Change goes to an address of its own.
    ///
    /// # Errors
    /// `Funds`, `NotThere`, `FeeAboveCap`, `Build`, `Io`.
    pub fn build(&mut self, spend: &Spend) -> Result<Psbt, WalletError> {
        let coins = self.coins();
        let mine = |coin: &&Coin| coin.mature && coin.reserved.is_none_or(|tag| tag == spend.tag);
        if let Some(outpoint) = spend.input
            && !coins.iter().filter(mine).any(|coin| coin.outpoint == outpoint)
        {
            return Err(WalletError::NotThere { outpoint });
        }
        let unspendable: Vec<OutPoint> =
            coins.iter().filter(|coin| !mine(coin)).map(|coin| coin.outpoint).collect();
        let split = self.split(spend, &coins);
        let mut psbt = self.compose(spend, &unspendable, &split, Fee::Rate(spend.sat_per_kvb))?;
        let vbytes = self.vbytes(&psbt);
        // BDK counts weight, nodes count whole virtual bytes.
        let mut least = per_kvb(spend.sat_per_kvb, vbytes);
        if spend.above_sat > 0 {
            least = least.max(spend.above_sat.saturating_add(per_kvb(STEP_SAT_PER_KVB, vbytes)));
        }
        if fee(&psbt)? < least {
            psbt = self.compose(spend, &unspendable, &split, Fee::Sum(least))?;
        }
        let (fee_sat, max_sat) = (fee(&psbt)?, per_kvb(spend.cap_sat_per_kvb, self.vbytes(&psbt)));
        let has_change = psbt.unsigned_tx.output.len() > spend.outputs.len() + split.len();
        let slack = if has_change { ROUNDING_SAT } else { DUST_SAT };
        if fee_sat > max_sat.saturating_add(slack) {
            return Err(WalletError::FeeAboveCap { fee_sat, max_sat });
        }
        let inputs = psbt.unsigned_tx.input.iter().map(|input| (input.previous_output, Some(spend.tag)));
        self.change_reserved(inputs.collect())?;
        Ok(psbt)
    }

    /// Completes what [`Self::build`] built and a signer signed.
    ///
    /// # Errors
    /// `Build`: a signature is missing or wrong. A wrong one must not get any further: whoever waits for the transaction
    /// would wait for ever.
    pub fn finish(&self, mut psbt: Psbt) -> Result<Signed, WalletError> {
        let fee_sat = fee(&psbt)?;
        let secp = self.bdk.secp_ctx();
        psbt.finalize_mut(secp).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            build(errors.join(", "))
        })?;
        let transaction = psbt.extract(secp).map_err(build)?;
        let vbytes = u32::try_from(transaction.vsize()).unwrap_or(u32::MAX);
        Ok(Signed { transaction, fee_sat, vbytes })
    }

    /// Builds a child. Its input is unconfirmed, so nothing is reserved: build it, sign it, hand both in together.
    ///
    /// # Errors
    /// `NotThere`: the parent pays this wallet nothing. `Funds`, `FeeAboveCap`, `Build`.
    pub fn child(&mut self, child: &Child) -> Result<Psbt, WalletError> {
        let txid = child.parent.compute_txid();
        let to = self.bdk.next_unused_address(KeychainKind::Internal).address.script_pubkey();
        self.commit()?;
        let mut scratch = self.scratch()?;
        scratch.apply_unconfirmed_txs([(child.parent.clone(), 1)]);
        let outputs = scratch.list_unspent().map(|output| output.outpoint);
        let ours: Vec<OutPoint> = outputs.filter(|outpoint| outpoint.txid == txid).collect();
        let Some(first) = ours.first() else {
            return Err(WalletError::NotThere { outpoint: OutPoint { txid, vout: 0 } });
        };
        let mut compose = |fee: Fee| {
            let mut builder = scratch.build_tx();
            builder.add_utxo(*first).map_err(build)?;
            builder.manually_selected_only().ordering(TxOrdering::Untouched).nlocktime(LockTime::ZERO);
            builder.drain_to(to.clone());
            match fee {
                Fee::Rate(sat_per_kvb) => builder.fee_rate(rate(sat_per_kvb)),
                Fee::Sum(sat) => builder.fee_absolute(Amount::from_sat(sat)),
            };
            builder.finish().map_err(create)
        };
        let draft = compose(Fee::Rate(STEP_SAT_PER_KVB))?;
        let vbytes = self.vbytes(&draft);
        let both = vbytes.saturating_add(child.parent.vsize() as u64);
        let missing = per_kvb(child.sat_per_kvb, both).saturating_sub(child.parent_fee_sat);
        let fee_sat = missing.max(per_kvb(STEP_SAT_PER_KVB, vbytes));
        if fee_sat > child.fee_max_sat {
            return Err(WalletError::FeeAboveCap { fee_sat, max_sat: child.fee_max_sat });
        }
        compose(Fee::Sum(fee_sat))
    }

    /// Values of outputs to ourselves, besides change, when there are too few coins for several transactions at once.
    fn split(&self, spend: &Spend, coins: &[Coin]) -> Vec<u64> {
        let missing = spend.coins_wanted.saturating_sub(coins.len());
        let free = coins.iter().find(|coin| coin.mature && coin.reserved.is_none_or(|tag| tag == spend.tag));
        let (Some(largest), true) = (free, spend.input.is_none() && missing > 0) else { return Vec::new() };
        let parts = missing.min(3) as u64 + 1;
        let part = largest.value_sat / (parts + 1);
        if part < SPLIT_SAT { Vec::new() } else { vec![part; missing.min(3)] }
    }

    fn compose(
        &mut self,
        spend: &Spend,
        unspendable: &[OutPoint],
        split: &[u64],
        fee: Fee,
    ) -> Result<Psbt, WalletError> {
        // Unused addresses, so that building again gives the same transaction; the first is the change's.
        let internal = KeychainKind::Internal;
        while !split.is_empty() && self.bdk.list_unused_addresses(internal).count() <= split.len() {
            self.bdk.reveal_next_address(internal);
        }
        let unused = self.bdk.list_unused_addresses(internal).skip(1);
        let scripts: Vec<ScriptBuf> =
            unused.map(|info| info.address.script_pubkey()).take(split.len()).collect();
        let mut builder = self.bdk.build_tx().coin_selection(LargestFirstCoinSelection);
        builder
            .ordering(TxOrdering::Untouched)
            .nlocktime(LockTime::ZERO)
            .exclude_unconfirmed()
            .unspendable(unspendable.to_vec());
        for output in &spend.outputs {
            builder.add_recipient(output.script_pubkey.clone(), output.value);
        }
        for (script, value) in scripts.into_iter().zip(split) {
            builder.add_recipient(script, Amount::from_sat(*value));
        }
        if let Some(outpoint) = spend.input {
            builder.add_utxo(outpoint).map_err(build)?;
        }
        match fee {
            Fee::Rate(sat_per_kvb) => builder.fee_rate(rate(sat_per_kvb)),
            Fee::Sum(sat) => builder.fee_absolute(Amount::from_sat(sat)),
        };
        builder.finish().map_err(create)
    }

    /// Size that fees count by, once all inputs have their signatures.
    fn vbytes(&self, psbt: &Psbt) -> u64 {
        let witness = |keychain| {
            self.bdk.public_descriptor(keychain).max_weight_to_satisfy().map_or(110, |weight| weight.to_wu())
        };
        let witness = witness(KeychainKind::External).max(witness(KeychainKind::Internal));
        let inputs = psbt.inputs.len() as u64;
        // Marker and flag once; of each input the number of witnesses, which is not in the descriptor's figure.
        let weight = psbt.unsigned_tx.weight().to_wu() + 2 + inputs * (witness + 1);
        weight.div_ceil(4)
    }
}

#[derive(Clone, Copy)]
enum Fee {
    Rate(u64),
    Sum(u64),
}

/// Rounded up: below what was asked for it might be below a floor.
fn rate(sat_per_kvb: u64) -> FeeRate {
    FeeRate::from_sat_per_kwu(sat_per_kvb.div_ceil(4))
}

fn per_kvb(sat_per_kvb: u64, vbytes: u64) -> u64 {
    sat_per_kvb.saturating_mul(vbytes).div_ceil(1_000)
}

fn fee(psbt: &Psbt) -> Result<u64, WalletError> {
    psbt.fee().map(Amount::to_sat).map_err(build)
}

fn build(error: impl std::fmt::Display) -> WalletError {
    WalletError::Build { detail: error.to_string() }
}

fn create(error: CreateTxError) -> WalletError {
    match error {
        CreateTxError::CoinSelection(short) => {
            WalletError::Funds { needed_sat: short.needed.to_sat(), available_sat: short.available.to_sat() }
        }
        other => build(other),
    }
}
