//! Keys, issuances and payments, all from one seed, signed before the clock starts.

use anyhow::Context;
use bytes::Bytes;
use eschaton_types::{
    Address, Amount, Body, Input, Key, Network, OutPoint, Output, Product, Transaction, TxId,
};
use indicatif::ProgressBar;
use rayon::prelude::*;

const OUTPUTS_PER_ISSUANCE: u64 = 256;
const AMOUNT: u64 = 1_000;

/// Makes transactions.
pub(crate) struct Workload {
    issuer: Key,
    run: [u8; 32],
}

/// A signed payment.
#[derive(Clone)]
pub(crate) struct Payment {
    pub(crate) txid: TxId,
    pub(crate) bytes: Bytes,
}

impl Workload {
    /// `run` tells runs on one data directory apart.
    pub(crate) fn new(run: [u8; 32]) -> anyhow::Result<Self> {
        let issuer = Key::from_secret(blake("issuer", &[0; 32], 0))?;
        Ok(Self { issuer, run })
    }

    pub(crate) fn issuer(&self) -> Address {
        self.issuer.address()
    }

    /// Issuances that create `count` outputs of owners whose keys nobody has.
    pub(crate) fn idle_issuance(&self, first: u64, count: u64) -> anyhow::Result<Bytes> {
        let owners = (first..first + count).map(|n| Address(blake("idle", &self.run, n))).collect();
        Ok(self.issue("idle issuance", first, owners)?.bytes)
    }

    /// Issuances for `count` payments, and the payments: each spends its own output.
    pub(crate) fn payments(
        &self,
        count: u64,
        bar: &ProgressBar,
    ) -> anyhow::Result<(Vec<Bytes>, Vec<Payment>)> {
        let groups: Vec<u64> = (0..count).step_by(256).collect();
        let made: Vec<(Bytes, Vec<Payment>)> = groups
            .into_par_iter()
            .map(|first| {
                let size = OUTPUTS_PER_ISSUANCE.min(count - first);
                let keys = (first..first + size)
                    .map(|n| Key::from_secret(blake("owner", &self.run, n)))
                    .collect::<Result<Vec<_>, _>>()?;
                let issuance = self.issue("issuance", first, keys.iter().map(Key::address).collect())?;
                let payments = (0u16..)
                    .zip(&keys)
                    .map(|(index, key)| {
                        pay(std::slice::from_ref(key), &[OutPoint { txid: issuance.txid, index }], "receiver")
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                bar.inc(size);
                anyhow::Ok((issuance.bytes, payments))
            })
            .collect::<Result<_, _>>()?;
        let (issuances, payments): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        Ok((issuances, payments.into_iter().flatten().collect()))
    }

    fn issue(&self, kind: &str, first: u64, owners: Vec<Address>) -> anyhow::Result<Transaction> {
        let amount = Amount::new(AMOUNT)?;
        let outputs = owners.into_iter().map(|owner| Output::pay(owner, Product::Native, amount)).collect();
        let metadata = Bytes::copy_from_slice(&blake(kind, &self.run, first));
        let body = Body { metadata, ..Body::plain(Network::Dev, Vec::new(), outputs) };
        Ok(body.issued(&self.issuer)?)
    }

    /// Issuances for the outputs of `count` pairs of payments, and the pairs: two that exclude one another, for both spend
    /// the same `inputs` outputs. Each output has an owner of its own, so that several inputs mostly lie in several shards.
    pub(crate) fn contenders(
        &self,
        count: u64,
        inputs: u64,
    ) -> anyhow::Result<(Vec<Bytes>, Vec<[Payment; 2]>)> {
        let pairs_of_issuance = OUTPUTS_PER_ISSUANCE / inputs;
        let groups: Vec<u64> = (0..count).step_by(usize::try_from(pairs_of_issuance)?).collect();
        let made: Vec<(Bytes, Vec<[Payment; 2]>)> = groups
            .into_par_iter()
            .map(|first| {
                let size = pairs_of_issuance.min(count - first);
                let keys = (first * inputs..(first + size) * inputs)
                    .map(|n| Key::from_secret(blake("contended owner", &self.run, n)))
                    .collect::<Result<Vec<_>, _>>()?;
                let owners = keys.iter().map(Key::address).collect();
                let issuance = self.issue("contended issuance", first, owners)?;
                let outpoints = (0u16..).map(|index| OutPoint { txid: issuance.txid, index });
                let outpoints: Vec<OutPoint> = outpoints.take(keys.len()).collect();
                let each = usize::try_from(inputs)?;
                let pairs = keys.chunks(each).zip(outpoints.chunks(each));
                let pairs = pairs
                    .map(|(keys, spent)| Ok([pay(keys, spent, "one")?, pay(keys, spent, "other")?]))
                    .collect::<anyhow::Result<Vec<_>>>()?;
                anyhow::Ok((issuance.bytes, pairs))
            })
            .collect::<Result<_, _>>()?;
        let (issuances, pairs): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        Ok((issuances, pairs.into_iter().flatten().collect()))
    }
}

/// Spends these outputs of these owners, with two outputs of its own; `to` tells apart payments of the same outputs.
fn pay(owners: &[Key], spent: &[OutPoint], to: &str) -> anyhow::Result<Payment> {
    let first = *spent.first().context("a payment of nothing")?;
    let inputs = owners.iter().zip(spent);
    let inputs =
        inputs.map(|(owner, output)| Input::spend(*output, owner.address(), Product::Native)).collect();
    let receiver = |part: &str| {
        let what = [to, part].concat();
        Address(blake(&what, &first.txid.0, u64::from(first.index)))
    };
    let amount = AMOUNT * u64::try_from(spent.len())?;
    let outputs = vec![
        Output::pay(receiver("paid"), Product::Native, Amount::new(amount / 4)?),
        Output::pay(receiver("change"), Product::Native, Amount::new(amount - amount / 4)?),
    ];
    let paid = Body::plain(Network::Dev, inputs, outputs).signed(owners)?;
    Ok(Payment { txid: paid.txid, bytes: paid.bytes })
}

fn blake(what: &str, run: &[u8; 32], n: u64) -> [u8; 32] {
    let mut seed = Vec::with_capacity(48);
    seed.extend_from_slice(run);
    seed.extend_from_slice(what.as_bytes());
    seed.extend_from_slice(&n.to_be_bytes());
    // The transaction id's hash is as good a source of distinct keys as any.
    TxId::of_body(&seed).0
}
