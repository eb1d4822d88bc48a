use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bitcoin::{Amount, Block, OutPoint, Transaction, TxOut, Txid};
use eschaton_ports::chain::RejectClass;

use crate::ledger::Ledger;
use crate::rules::{self, Coin, SpendError};
use crate::{scripts, standard};

/// The most transactions that wait.
const TXS_MAX: usize = 5_000;
/// The most that one replacement may push out.
const REPLACED_MAX: usize = 100;

/// Why a transaction is not taken.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) class: RejectClass,
    pub(crate) detail: String,
}

fn refuse<T>(class: RejectClass, detail: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { class, detail: detail.into() })
}

#[derive(Clone)]
struct Entry {
    transaction: Arc<Transaction>,
    fee: Amount,
    vsize: u64,
}

/// Transactions that wait for a block, in the order in which they came: parents before children. Not durable, as no
/// node's is after a crash.
#[derive(Clone, Default)]
pub(crate) struct Mempool {
    entries: BTreeMap<u64, Entry>,
    numbers: HashMap<Txid, u64>,
    spenders: HashMap<OutPoint, Txid>,
    next: u64,
}

impl Mempool {
    pub(crate) fn get(&self, txid: &Txid) -> Option<&Arc<Transaction>> {
        self.entries.get(self.numbers.get(txid)?).map(|entry| &entry.transaction)
    }

    pub(crate) fn spender(&self, output: &OutPoint) -> Option<Txid> {
        self.spenders.get(output).copied()
    }

    pub(crate) fn ids(&self) -> Vec<Txid> {
        self.transactions().map(|(transaction, _)| transaction.compute_txid()).collect()
    }

    /// All with their fees, parents first.
    pub(crate) fn transactions(&self) -> impl Iterator<Item = (&Arc<Transaction>, Amount)> {
        self.entries.values().map(|entry| (&entry.transaction, entry.fee))
    }

    /// Takes a transaction that is not here and not in a block.
    pub(crate) fn accept(&mut self, transaction: &Transaction, ledger: &Ledger) -> Result<(), Refusal> {
        let (fee, vsize) = self.add(transaction, ledger)?;
        if fee < standard::floor(vsize) {
            self.remove(&BTreeSet::from([transaction.compute_txid()]));
            return refuse(RejectClass::FeeTooLow, format!("a fee of {fee} for {vsize} virtual bytes"));
        }
        Ok(())
    }

    /// Takes transactions that pay together. On refusal some may have been added: the caller keeps a copy.
    pub(crate) fn accept_package(
        &mut self,
        transactions: &[&Transaction],
        ledger: &Ledger,
    ) -> Result<(), Refusal> {
        let (mut fees, mut size) = (Amount::ZERO, 0);
        for transaction in transactions {
            let (fee, vsize) = self.add(transaction, ledger)?;
            fees = fees.checked_add(fee).unwrap_or(Amount::MAX_MONEY);
            size += vsize;
        }
        if fees < standard::floor(size) {
            return refuse(RejectClass::FeeTooLow, format!("fees of {fees} for {size} virtual bytes"));
        }
        Ok(())
    }

    /// Checks all but the least fee, and adds. On refusal nothing changes.
    fn add(&mut self, transaction: &Transaction, ledger: &Ledger) -> Result<(Amount, u64), Refusal> {
        let txid = transaction.compute_txid();
        let place = ledger.next_place();
        if let Err(why) = rules::transaction_alone(transaction) {
            return refuse(RejectClass::Invalid, why);
        }
        if transaction.is_coinbase() {
            return refuse(RejectClass::Invalid, "a coinbase belongs into a block");
        }
        if let Err(why) = standard::check(transaction) {
            return refuse(RejectClass::NonStandard, why);
        }
        if !rules::is_final(transaction, place) {
            return refuse(RejectClass::NotYet, "its lock time has not come");
        }
        let mut coins = Vec::new();
        for input in &transaction.input {
            coins.push(self.coin(&input.previous_output, ledger, place.height)?);
        }
        let fee = match rules::spend(transaction, &coins, place.height) {
            Ok(fee) => fee,
            Err(SpendError::Immature) => {
                return refuse(RejectClass::NotYet, "it spends a coinbase that is too young");
            }
            Err(SpendError::Invalid(why)) => return refuse(RejectClass::Invalid, why),
        };
        if !rules::relative_locks_came(transaction, &coins, place, |height| ledger.median_before(height)) {
            return refuse(RejectClass::NotYet, "a relative lock has not come");
        }
        let vsize = transaction.vsize() as u64;
        let replaced = self.replaced(transaction, fee, vsize)?;
        let outputs: Vec<TxOut> = coins.into_iter().map(|coin| coin.output).collect();
        if let Err(why) = scripts::check(transaction, &outputs) {
            return refuse(RejectClass::Invalid, why);
        }
        if self.entries.len() - replaced.len() >= TXS_MAX {
            return refuse(RejectClass::FeeTooLow, "mempool is full; mine a block");
        }
        self.remove(&replaced);
        for input in &transaction.input {
            self.spenders.insert(input.previous_output, txid);
        }
        self.numbers.insert(txid, self.next);
        self.entries.insert(self.next, Entry { transaction: Arc::new(transaction.clone()), fee, vsize });
        self.next += 1;
        Ok((fee, vsize))
    }

    fn coin(&self, output: &OutPoint, ledger: &Ledger, height: u32) -> Result<Coin, Refusal> {
        if let Some(coin) = ledger.coin(output) {
            return Ok(coin.clone());
        }
        let made = self.get(&output.txid).and_then(|parent| {
            let made = parent.output.get(usize::try_from(output.vout).ok()?)?;
            Some(Coin { output: made.clone(), height, coinbase: false })
        });
        if let Some(coin) = made {
            return Ok(coin);
        }
        match ledger.spender(output) {
            Some((by, _)) => refuse(RejectClass::AlreadySpent, format!("{output} was spent by {by}")),
            None => refuse(RejectClass::MissingInputs, format!("{output} is not known")),
        }
    }

    /// What a transaction would replace, if it may (Bitcoin Core, `doc/policy/mempool-replacements.md`).
    fn replaced(
        &self,
        transaction: &Transaction,
        fee: Amount,
        vsize: u64,
    ) -> Result<BTreeSet<Txid>, Refusal> {
        let rivals: BTreeSet<Txid> =
            transaction.input.iter().filter_map(|input| self.spender(&input.previous_output)).collect();
        if rivals.is_empty() {
            return Ok(rivals);
        }
        let replaced = self.with_descendants(rivals.clone());
        if replaced.len() > REPLACED_MAX {
            return refuse(RejectClass::Conflict, "it would replace too many");
        }
        if transaction.input.iter().any(|input| replaced.contains(&input.previous_output.txid)) {
            return refuse(RejectClass::Conflict, "it spends what it would replace");
        }
        let entry = |txid: &Txid| self.numbers.get(txid).and_then(|number| self.entries.get(number));
        let old: u64 = replaced.iter().filter_map(entry).map(|entry| entry.fee.to_sat()).sum();
        let dearer = rivals.iter().filter_map(entry).all(|rival| {
            u128::from(fee.to_sat()) * u128::from(rival.vsize)
                > u128::from(rival.fee.to_sat()) * u128::from(vsize)
        });
        if !dearer || fee.to_sat() < old + standard::floor(vsize).to_sat() {
            let detail = format!("a fee of {fee} does not replace one of {}", Amount::from_sat(old));
            return refuse(RejectClass::FeeTooLow, detail);
        }
        Ok(replaced)
    }

    fn with_descendants(&self, txids: BTreeSet<Txid>) -> BTreeSet<Txid> {
        let mut all = txids;
        // Children stand behind their parents.
        for entry in self.entries.values() {
            if entry.transaction.input.iter().any(|input| all.contains(&input.previous_output.txid)) {
                all.insert(entry.transaction.compute_txid());
            }
        }
        all
    }

    fn remove(&mut self, txids: &BTreeSet<Txid>) {
        for txid in txids {
            let Some(entry) = self.numbers.remove(txid).and_then(|number| self.entries.remove(&number))
            else {
                continue;
            };
            for input in &entry.transaction.input {
                self.spenders.remove(&input.previous_output);
            }
        }
    }

    /// A block came: what it holds waits no longer, what it contradicts never will again.
    pub(crate) fn connected(&mut self, block: &Block) {
        let mined = block.txdata.iter().map(Transaction::compute_txid).collect();
        self.remove(&mined);
        let inputs = block.txdata.iter().flat_map(|transaction| &transaction.input);
        let rivals = inputs.filter_map(|input| self.spender(&input.previous_output)).collect();
        let gone = self.with_descendants(rivals);
        self.remove(&gone);
    }

    /// Blocks were undone: looks at everything again, first at what stood in them.
    pub(crate) fn reorganised(&mut self, undone: &[Transaction], ledger: &Ledger) {
        let old = std::mem::take(self);
        let waiting = old.entries.into_values().map(|entry| (*entry.transaction).clone());
        for transaction in undone.iter().cloned().chain(waiting) {
            if ledger.place(&transaction.compute_txid()).is_some()
                || self.get(&transaction.compute_txid()).is_some()
            {
                continue;
            }
            if let Err(refusal) = self.accept(&transaction, ledger) {
                tracing::debug!(txid = %transaction.compute_txid(), ?refusal, "left out after a reorganisation");
            }
        }
    }
}
