//! Money in the rows of a ledger at rest: invariants L1 and L4.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use bytes::Bytes;
use eschaton_ledger::keys;
use eschaton_ports::{SCAN_ROWS_MAX, Store, Table};
use eschaton_types::Product;
use eschaton_types::pb::state::{OutputRow, TotalRow, TransactionRow};

/// Units of one product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    live: u128,
    fees: u128,
    issued: u128,
}

/// What the rows say.
#[derive(Debug, Default)]
pub(crate) struct Money {
    products: BTreeMap<Product, Sums>,
    pub(crate) live_outputs: u64,
    pub(crate) accepted: u64,
    /// Transactions that still wait, as a coordinator or with a reservation.
    pub(crate) pending: u64,
}

impl Money {
    /// Reads every row; the ledger must be at rest.
    pub(crate) async fn count(store: &dyn Store) -> anyhow::Result<Self> {
        let mut money = Self::default();
        each(store, Table::Outputs, |_, value| {
            let row: OutputRow = keys::decode(Table::Outputs, value)?;
            if row.spent_by.is_empty() {
                money.live_outputs += 1;
                money.of(Product::from_slice(&row.product)?).live += u128::from(row.amount);
            }
            Ok(())
        })
        .await?;
        each(store, Table::Totals, |key, value| {
            let row: TotalRow = keys::decode(Table::Totals, value)?;
            let (kind, product) = keys::parse_total(key).context("a total of an unknown kind")?;
            let sums = money.of(product);
            let sum = if kind == keys::TOTAL_ISSUED { &mut sums.issued } else { &mut sums.fees };
            *sum += u128::from(row.amount);
            Ok(())
        })
        .await?;
        each(store, Table::Transactions, |_, value| {
            let row: TransactionRow = keys::decode(Table::Transactions, value)?;
            money.accepted += u64::from(row.state() == eschaton_types::pb::log::State::Accepted);
            Ok(())
        })
        .await?;
        each(store, Table::Pending, |_, _| {
            money.pending += 1;
            Ok(())
        })
        .await?;
        Ok(money)
    }

    fn of(&mut self, product: Product) -> &mut Sums {
        self.products.entry(product).or_default()
    }

    /// L1: what was issued is live or was left as fees. L4: nothing is held for anybody.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.products.is_empty(), "there is no money at all, so nothing was checked");
        for (product, sums) in &self.products {
            ensure!(
                sums.live + sums.fees == sums.issued,
                "invariant L1 broken for product {product}: {sums:?}; live and fees must be what was issued"
            );
        }
        ensure!(
            self.pending == 0,
            "invariant L4 broken: {} transactions hold or wait for ever",
            self.pending
        );
        Ok(())
    }
}

async fn each(
    store: &dyn Store,
    table: Table,
    mut row: impl FnMut(&Bytes, &Bytes) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after: Option<Bytes> = None;
    loop {
        let page = store.scan(table, b"", after.as_deref(), SCAN_ROWS_MAX).await?;
        for (key, value) in &page.rows {
            row(key, value)?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn money_that_is_missing_or_held_is_told() {
        let mut money = Money::default();
        assert!(money.check().is_err(), "nothing at all");
        *money.of(Product::Native) = Sums { live: 7, fees: 1, issued: 8 };
        money.check().unwrap();
        money.of(Product::Native).live = 9;
        assert!(money.check().unwrap_err().to_string().contains("L1"));
        money.of(Product::Native).live = 7;
        money.pending = 1;
        assert!(money.check().unwrap_err().to_string().contains("L4"));
    }
}
