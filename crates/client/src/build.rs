//! Building a payment: which outputs to spend, what comes back, who signs. Pure; time and randomness
//! are given.

use std::collections::HashSet;

use bytes::Bytes;
use eschaton_types::{
    Address, Amount, AmountError, Body, Fee, INPUTS_MAX, Input, Key, Network, OutPoint, Output, Product,
    Transaction, TxError, TxId, Witness, musig_sign, sum_by_product,
};

use crate::Keyring;

/// Why a payment cannot be built. Nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The wallet holds too little.
    #[error(
        "not enough funds: have {have} spendable units of {product}, need {need}; receive more, or wait until resting and reserved outputs are free"
    )]
    NotEnough {
        /// Which product.
        product: Product,
        /// Units that may be spent now; outputs may sum past any amount.
        have: u128,
        /// Units that the payment and its fee take.
        need: Amount,
    },
    /// Enough, but in too many pieces.
    #[error(
        "{need} units of {product} take more than {INPUTS_MAX} outputs, the {INPUTS_MAX} that may be used hold {best}; consolidate first: pay {best} units to an address of your own, then try again"
    )]
    TooManyInputs {
        /// Which product.
        product: Product,
        /// Units that the payment and its fee take.
        need: Amount,
        /// Units that one transaction can move.
        best: u128,
    },
    /// A sum passes 10^18.
    #[error(transparent)]
    Overflow(#[from] AmountError),
    /// Nothing to pay.
    #[error("a payment needs an amount above 0; say how much to pay")]
    Nothing,
    /// An input that the wallet cannot sign for.
    #[error("no key for an output's address {address:?}; use the wallet that owns it")]
    NoKey {
        /// Which.
        address: Address,
    },
    /// Not one random seed for each input.
    #[error("an aggregate signature takes {needed} seeds and {found} were given; give one for each input")]
    Seeds {
        /// One for each input.
        needed: usize,
        /// Given.
        found: usize,
    },
    /// The transaction's own rules.
    #[error("the payment breaks a rule of transactions: {0}")]
    Rules(#[from] TxError),
}

/// A live output that the wallet may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Which output.
    pub outpoint: OutPoint,
    /// Whose.
    pub owner: Address,
    /// Of which product.
    pub product: Product,
    /// How much.
    pub amount: Amount,
    /// Log time of its creation, milliseconds since 1970.
    pub created_at_ms: u64,
    /// May be spent at or after this log time.
    pub spendable_at_ms: u64,
}

/// Which coins go first. Ties are broken by outpoint, so one wallet state gives one choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Fewest inputs.
    #[default]
    LargestFirst,
    /// Clears old outputs out.
    OldestFirst,
}

/// What the payer wants.
#[derive(Clone, Debug)]
pub struct Payment {
    /// On which ledger.
    pub network: Network,
    /// To whom and how much; none is zero.
    pub outputs: Vec<Output>,
    /// Left to the node.
    pub fee: Option<Fee>,
    /// Not valid before this log time (ms since 1970); 0 is no limit.
    pub not_before_ms: u64,
    /// Not valid at or after this log time (ms since 1970); 0 is no limit.
    pub not_after_ms: u64,
    /// The new outputs rest this long.
    pub min_spend_delay_ms: u64,
    /// Free bytes.
    pub metadata: Bytes,
    /// Which coins go first.
    pub order: Order,
}

/// An unsigned payment.
#[derive(Clone, Debug)]
pub struct Plan {
    body: Body,
    change: Vec<(Product, Amount)>,
}

/// How the owners agree.
pub enum Signing<'a> {
    /// One BIP 340 signature for each input.
    PerInput,
    /// One MuSig2 signature (BIP 327) for all; 32 fresh random bytes for each input, never used again.
    Aggregate {
        /// The random bytes.
        seeds: &'a [[u8; 32]],
    },
}

/// Chooses coins that are spendable at `now_ms` and not `reserved`, and gives change back to the owner
/// of each product's first coin, so that change stays in the shard it came from.
pub fn plan(
    payment: &Payment,
    coins: &[Coin],
    reserved: &HashSet<OutPoint>,
    now_ms: u64,
) -> Result<Plan, BuildError> {
    if payment.outputs.is_empty() || payment.outputs.iter().any(|output| output.amount.is_zero()) {
        return Err(BuildError::Nothing);
    }
    let fees: Vec<Fee> = payment.fee.into_iter().filter(|fee| !fee.amount.is_zero()).collect();
    let paid = payment.outputs.iter().map(|output| (output.product, output.amount));
    let needs = sum_by_product(paid.chain(fees.iter().map(|fee| (fee.product, fee.amount))))?;
    let (mut inputs, mut outputs, mut change) = (Vec::new(), payment.outputs.clone(), Vec::new());
    for (product, need) in needs {
        let usable = coins.iter().filter(|coin| {
            coin.product == product
                && coin.spendable_at_ms <= now_ms
                && !coin.amount.is_zero()
                && !reserved.contains(&coin.outpoint)
        });
        let room = INPUTS_MAX.saturating_sub(inputs.len());
        let chosen = select(usable.copied().collect(), need, product, payment.order, room)?;
        let surplus = Amount::sum(chosen.iter().map(|coin| coin.amount))?.minus(need)?;
        if let Some(first) = chosen.first().filter(|_| !surplus.is_zero()) {
            outputs.push(Output::pay(first.owner, product, surplus));
            change.push((product, surplus));
        }
        inputs.extend(chosen.into_iter().map(|coin| Input::spend(coin.outpoint, coin.owner, product)));
    }
    let body = Body {
        network: payment.network,
        inputs,
        outputs,
        fees,
        not_before_ms: payment.not_before_ms,
        not_after_ms: payment.not_after_ms,
        min_spend_delay_ms: payment.min_spend_delay_ms,
        metadata: payment.metadata.clone(),
    };
    Ok(Plan { body, change })
}

/// The first coins in order that reach `need`, at most `room` of them.
fn select(
    mut coins: Vec<Coin>,
    need: Amount,
    product: Product,
    order: Order,
    room: usize,
) -> Result<Vec<Coin>, BuildError> {
    // A node's answer may repeat an output while rows move between pages.
    coins.sort_unstable_by_key(|coin| coin.outpoint);
    coins.dedup_by_key(|coin| coin.outpoint);
    let worth = |coins: &[Coin]| coins.iter().map(|coin| u128::from(coin.amount.units())).sum::<u128>();
    let have = worth(&coins);
    if have < u128::from(need.units()) {
        return Err(BuildError::NotEnough { product, have, need });
    }
    match order {
        Order::LargestFirst => coins.sort_by_key(|coin| std::cmp::Reverse(coin.amount)),
        Order::OldestFirst => coins.sort_by_key(|coin| coin.created_at_ms),
    }
    let mut sum = 0u128;
    let enough = coins.iter().position(|coin| {
        sum += u128::from(coin.amount.units());
        sum >= u128::from(need.units())
    });
    match enough {
        Some(last) if last < room => coins.truncate(last + 1),
        _ => {
            coins.truncate(room);
            return Err(BuildError::TooManyInputs { product, need, best: worth(&coins) });
        }
    }
    Ok(coins)
}

impl Plan {
    /// What will be signed.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What comes back, per product.
    pub fn change(&self) -> &[(Product, Amount)] {
        &self.change
    }

    /// Signs. The result is checked as a node checks it, signatures included.
    pub fn sign(&self, keys: &Keyring, signing: &Signing<'_>) -> Result<Transaction, BuildError> {
        let signers: Vec<Key> = self
            .body
            .consumed()
            .map(|input| keys.get(&input.owner).copied().ok_or(BuildError::NoKey { address: input.owner }))
            .collect::<Result<_, _>>()?;
        let transaction = match signing {
            Signing::PerInput => self.body.signed(&signers)?,
            Signing::Aggregate { seeds } if seeds.len() == signers.len() => {
                let aggregate = Some(musig_sign(&signers, seeds, &TxId::of_body(&self.body.encode()))?);
                Transaction::assemble(&self.body, &Witness { aggregate, ..Witness::default() })?
            }
            Signing::Aggregate { seeds } => {
                return Err(BuildError::Seeds { needed: signers.len(), found: seeds.len() });
            }
        };
        transaction.check(&eschaton_types::Rules { network: self.body.network, native_issuer: None })?;
        transaction.verify_signatures()?;
        Ok(transaction)
    }
}

#[cfg(test)]
mod tests;
