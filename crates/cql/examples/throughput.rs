//! How fast a cluster takes batches shaped like a ledger shard's: 1 000 payments change 1 000 outputs, make
//! 2 000, 150 bytes each, of random owners, and write 1 000 transactions and the worker's row.
//!
//! usage: throughput HOST:PORT [USER PASSWORD [BATCHES [BITS...]]]
//!
//! Makes a keyspace for each setting and drops nothing: `throughput_*` may be dropped afterwards.

use std::error::Error;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use eschaton_cql::{CqlConfig, CqlStore, Secret, migrate};
use eschaton_ports::{Family, RowChange, Store, StoreBatch, Table, Watermark};

const PAYMENTS: u64 = 1_000;
const WORKER: &str = "conflict-resolver/0";

#[tokio::main]
#[allow(clippy::disallowed_methods, reason = "it measures")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(address) = arguments.first() else {
        return Err("usage: throughput HOST:PORT [USER PASSWORD [BATCHES [BITS...]]]".into());
    };
    let mut config = CqlConfig { nodes: vec![address.clone()], ..CqlConfig::default() };
    if let [_, user, password, ..] = &arguments[..] {
        (config.user, config.password) = (Some(user.clone()), Some(Secret::from(password.clone())));
    }
    config.migrate.replicas = 1;
    config.request_timeout_ms = 10_000;
    let batches: u64 = arguments.get(3).map_or(Ok(10), |text| text.parse())?;
    let mut bits: Vec<u8> = Vec::new();
    for text in arguments.iter().skip(4) {
        bits.push(text.parse()?);
    }
    if bits.is_empty() {
        bits = vec![4, 6, 8, 12];
    }
    println!(
        "{:<26} {:>8} {:>8} {:>11} {:>13} {:>12}",
        "setting", "seconds", "rows/s", "payments/s", "get 1000, ms", "requests"
    );
    for (name, bits, batch_rows) in bits
        .into_iter()
        .map(|bits| (format!("partition_bits {bits}"), bits, config.batch_rows))
        .chain([("single rows".to_owned(), 12, 1)])
    {
        let setting = CqlConfig {
            keyspace: format!("throughput_{}_{bits}_{batch_rows}", std::process::id()),
            partition_bits: bits,
            batch_rows,
            ..config.clone()
        };
        migrate(&setting).await?;
        let store = CqlStore::open(&setting).await?;
        // The first batches meet a cold engine.
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            store.apply(ledger.batch()).await?;
        }
        let (mut rows, began) = (0, Instant::now());
        for _ in 0..batches {
            let batch = ledger.batch();
            rows += batch.rows.len();
            store.apply(batch).await?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let found = store.get_many(Table::Outputs, &ledger.live[..1_000]).await?;
        let get_ms = began.elapsed().as_millis();
        if found.iter().any(Option::is_none) {
            return Err("a row that was acknowledged is not there".into());
        }
        let parts: u64 = [bits, bits.saturating_sub(2)].iter().map(|bits| 1_u64 << bits).sum();
        let per_batch = if batch_rows == 1 { 4_002 } else { parts.min(4_001) };
        println!(
            "{name:<26} {seconds:>8.2} {:>8.0} {:>11.0} {get_ms:>13} {:>12}",
            f64::from(u32::try_from(rows)?) / seconds,
            f64::from(u32::try_from(batches * PAYMENTS)?) / seconds,
            format!("~{per_batch}/batch"),
        );
    }
    Ok(())
}

/// Batches one after the other, each spending what an earlier one made.
#[derive(Default)]
struct Ledger {
    sequence: u64,
    random: u64,
    live: Vec<Bytes>,
}

impl Ledger {
    fn batch(&mut self) -> StoreBatch {
        self.sequence += 1;
        let mut rows = Vec::new();
        for _ in 0..PAYMENTS {
            let txid = self.hash();
            if self.live.len() > 4_000 {
                let spent = self.random() % 3_000;
                let at = usize::try_from(spent).unwrap_or(0);
                rows.push(change(Table::Outputs, self.live.swap_remove(at), 150));
            }
            for index in 0..2_u16 {
                let mut key = BytesMut::from(&self.hash()[..]);
                key.put_slice(&txid);
                key.put_u16(index);
                let key = key.freeze();
                self.live.push(key.clone());
                rows.push(change(Table::Outputs, key, 150));
            }
            rows.push(change(Table::Transactions, Bytes::copy_from_slice(&txid), 40));
        }
        rows.push(change(Table::Workers, Bytes::from(WORKER), 200));
        StoreBatch {
            worker: WORKER.to_owned(),
            family: Family::Ledger,
            watermark: Watermark { sequence: self.sequence, input_next: self.sequence },
            rows,
        }
    }

    /// SplitMix64: the same numbers for every setting.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn hash(&mut self) -> [u8; 32] {
        let mut hash = [0; 32];
        for part in hash.chunks_mut(8) {
            part.copy_from_slice(&self.random().to_be_bytes());
        }
        hash
    }
}

fn change(table: Table, key: Bytes, bytes: usize) -> RowChange {
    // Not all zeros: the engine packs its files.
    let value: Vec<u8> = key.iter().copied().cycle().take(bytes).collect();
    RowChange { table, key, value: Some(value.into()) }
}
