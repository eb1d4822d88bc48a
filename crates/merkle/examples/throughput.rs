//! Measures the prover's core alone, rows in memory:
//! `cargo run --release -p eschaton-merkle --example throughput -- 1000000 1000`
//! (transactions before the measurement, transactions in a batch). Each transaction spends one output
//! of an earlier one and creates two, so it is one log leaf and two map updates at random places.
#![allow(clippy::disallowed_methods)] // measures real time

use std::{collections::HashMap, env, error::Error, time::Instant};

use bytes::Bytes;
use eschaton_merkle::{Entry, MAP_PREFIX, META_KEY, Prover};
use eschaton_types::{OutPoint, TxId};

type Rows = HashMap<Bytes, Bytes>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let before: u64 = arguments.next().as_deref().unwrap_or("1000000").parse()?;
    let batch: u64 = arguments.next().as_deref().unwrap_or("1000").parse()?;
    let (mut prover, mut rows) = (Prover::new(), Rows::new());
    while prover.size() < before {
        apply(&mut prover, &mut rows, batch)?;
    }
    let (mut took, mut changed, mut bytes, count) = (0.0, 0, 0, 50);
    for _ in 0..count {
        let (seconds, rows_changed, rows_bytes) = apply(&mut prover, &mut rows, batch)?;
        took += seconds;
        changed += rows_changed;
        bytes += rows_bytes;
    }
    let transactions = batch * count;
    println!("transactions in the trees: {}", prover.size());
    println!(
        "rows: {}, buckets: {}",
        rows.len(),
        rows.keys().filter(|key| key.starts_with(MAP_PREFIX)).count()
    );
    println!("microseconds per transaction: {:.2}", took * 1e6 / f64::from(u32::try_from(transactions)?));
    println!("rows changed per batch: {}, bytes per batch: {}", changed / count, bytes / count);

    let scan: Vec<_> = rows.iter().filter(|(key, _)| key.starts_with(MAP_PREFIX)).collect();
    let start = Instant::now();
    let loaded = Prover::load(
        &|key| rows.get(key).cloned(),
        scan.iter().map(|(key, value)| ((*key).clone(), (*value).clone())),
    )?;
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(loaded.roots(), prover.roots());
    println!(
        "load: {:.3} s, {:.2} microseconds per bucket",
        seconds,
        seconds * 1e6 / f64::from(u32::try_from(scan.len())?)
    );
    println!("meta row: {} bytes", rows.get(META_KEY).map_or(0, Bytes::len));
    Ok(())
}

/// Seconds in the core, rows changed and their bytes.
fn apply(prover: &mut Prover, rows: &mut Rows, batch: u64) -> Result<(f64, u64, u64), Box<dyn Error>> {
    let size = prover.size();
    let entries: Vec<_> = (size..size + batch)
        .map(|n| Entry { txid: id(n), outputs: 2, spends: spend(n).into_iter().collect() })
        .collect();
    let start = Instant::now();
    let touches = prover.touches(&entries);
    let seconds = start.elapsed().as_secs_f64();
    let fetched: Rows = touches.iter().map(|key| (key.clone(), rows[key].clone())).collect();
    let start = Instant::now();
    let changes = prover.apply(&entries, &|key| fetched.get(key).cloned())?;
    let seconds = seconds + start.elapsed().as_secs_f64();
    let (mut changed, mut bytes) = (0, 0);
    for (key, value) in changes {
        changed += 1;
        bytes += u64::try_from(key.len() + value.as_ref().map_or(0, Bytes::len))?;
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
    Ok((seconds, changed, bytes))
}

fn id(n: u64) -> TxId {
    TxId::of_body(&n.to_be_bytes())
}

/// Transactions 2k and 2k + 1 spend the two outputs of transaction k, whose id is as good as random.
fn spend(n: u64) -> Option<OutPoint> {
    let index = u16::from(n % 2 == 1);
    (n >= 2).then(|| OutPoint { txid: id(n / 2), index })
}
