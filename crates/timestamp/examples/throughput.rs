//! Digests a second on one core: nonce, tree and rows, and their look-up. Run in release:
//!   cargo run --release -p eschaton-timestamp --example throughput

#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use eschaton_timestamp::rows::{Place, digest_key};
use eschaton_timestamp::{Item, StampInput, Stamper, StamperConfig, TimestampError, proof};
use sha2::{Digest, Sha256};

fn main() -> Result<(), TimestampError> {
    for count in [100_usize, 1_000, 10_000, 100_000, 1_000_000] {
        // As many intervals as make a million digests, so that small ones are not told from noise.
        let rounds = 1_000_000 / count;
        let (mut spent, mut stored, mut looked_up, mut asked) = (0.0, 0, 0.0, 0_u32);
        for round in 0..rounds.min(200) {
            let items: Vec<Item> = (0..count)
                .map(|number| {
                    let hash: [u8; 32] =
                        Sha256::digest([round, number].map(usize::to_be_bytes).concat()).into();
                    let mut nonce = [0; 16];
                    nonce.copy_from_slice(&hash[..16]);
                    Item { nonce, digest: Bytes::copy_from_slice(&hash) }
                })
                .collect();
            let config = StamperConfig::new(0);
            let mut stamper = Stamper::load(config, &|_: &[u8]| None)?;
            let mut changes = Vec::new();
            let records: Vec<StampInput> =
                items.chunks(10_000).map(|part| StampInput::Digests(part.to_vec())).collect();
            let began = Instant::now();
            for record in &records {
                changes.extend(stamper.step(&|_: &[u8]| None, 0, record)?.changes);
            }
            changes.extend(stamper.step(&|_: &[u8]| None, 1_000, &StampInput::Tick)?.changes);
            spent += began.elapsed().as_secs_f64();
            let rows: HashMap<Bytes, Bytes> = changes.into_iter().collect();
            stored += rows.iter().map(|(key, row)| key.len() + row.len()).sum::<usize>();
            let began = Instant::now();
            for item in items.iter().step_by(count.div_ceil(100)) {
                let key = digest_key(&item.digest)?;
                let read = |key: &[u8]| rows.get(key).cloned();
                let row = read(&key).ok_or(TimestampError::Open)?;
                proof::interval_path(&item.digest, 0, Place::from_row(&key, &row)?, &read)?;
                asked += 1;
            }
            looked_up += began.elapsed().as_secs_f64();
        }
        let digests = (count * rounds.min(200)) as f64;
        println!(
            "{count:>9} digests an interval: {:>9.0} digests/s, {:>5.1} bytes a digest, {:>6.1} us a look-up",
            digests / spent,
            stored as f64 / digests,
            looked_up * 1e6 / f64::from(asked),
        );
    }
    Ok(())
}
