//! Keys and rows of the tables that the ledger owns (proto/eschaton/state/v1/rows.proto).

use bytes::{BufMut, Bytes, BytesMut};
use eschaton_core::{CoreError, Table};
use eschaton_types::pb::state as pb;
use eschaton_types::{Address, OutPoint, Product, TxId};
use prost::Message;

/// Key of an output's row.
pub fn output(owner: &Address, outpoint: &OutPoint) -> Bytes {
    let mut key = BytesMut::with_capacity(66);
    key.put_slice(&owner.0);
    key.put_slice(&outpoint.txid.0);
    key.put_u16(outpoint.index);
    key.freeze()
}

/// Owner and outpoint of an output's key.
pub fn parse_output(key: &[u8]) -> Option<(Address, OutPoint)> {
    let owner = key.get(..32)?.try_into().ok()?;
    let txid = key.get(32..64)?.try_into().ok()?;
    let index = key.get(64..)?.try_into().ok()?;
    Some((Address(owner), OutPoint { txid: TxId(txid), index: u16::from_be_bytes(index) }))
}

/// Key of a transaction's row.
pub fn transaction(txid: &TxId) -> Bytes {
    txid.to_bytes()
}

/// Key of a pending row.
pub fn pending(shard: u32, txid: &TxId) -> Bytes {
    let mut key = BytesMut::with_capacity(36);
    key.put_u32(shard);
    key.put_slice(&txid.0);
    key.freeze()
}

/// Prefix of a shard's pending rows.
pub fn pending_prefix(shard: u32) -> Bytes {
    Bytes::copy_from_slice(&shard.to_be_bytes())
}

/// Kind of a `totals` row: units issued of a product, at its issuer's shard.
pub const TOTAL_ISSUED: u8 = 1;
/// Kind of a `totals` row: a fee left by one transaction.
pub const TOTAL_FEE: u8 = 2;

/// Key of the units issued of a product.
pub fn issued(shard: u32, product: Product) -> Bytes {
    let mut key = BytesMut::with_capacity(37);
    key.put_u32(shard);
    key.put_u8(TOTAL_ISSUED);
    key.put(product.to_bytes());
    key.freeze()
}

/// Key of a fee. A row for each transaction and product, so that taking a fee reads nothing.
pub fn fee(shard: u32, product: Product, txid: &TxId) -> Bytes {
    let mut key = BytesMut::with_capacity(70);
    key.put_u32(shard);
    key.put_u8(TOTAL_FEE);
    key.put_slice(&txid.0);
    key.put(product.to_bytes());
    key.freeze()
}

/// Kind and product of a `totals` key.
pub fn parse_total(key: &[u8]) -> Option<(u8, Product)> {
    let kind = *key.get(4)?;
    let product = match kind {
        TOTAL_ISSUED => key.get(5..)?,
        TOTAL_FEE => key.get(37..)?,
        _ => return None,
    };
    Some((kind, Product::from_slice(product).ok()?))
}

/// Decodes a row.
pub fn decode<M: Message + Default>(table: Table, value: &Bytes) -> Result<M, CoreError> {
    M::decode(value.clone())
        .map_err(|error| CoreError::Row { table: table.name(), detail: error.to_string() })
}

/// A live output's row.
pub fn live(amount: u64, product: Product, created_at_ms: u64, spendable_at_ms: u64) -> pb::OutputRow {
    pb::OutputRow {
        amount,
        product: product.to_bytes(),
        created_at_ms,
        spendable_at_ms,
        spent_by: Bytes::new(),
        spent_at_ms: 0,
    }
}
