//! What the machine could verify if it did nothing else.

use std::time::Instant;

use eschaton_types::Key;
use rayon::prelude::*;
use secp256k1::{XOnlyPublicKey, schnorr};

/// BIP 340 verifications per second on all cores, measured for about `seconds`.
pub(crate) fn verifications_per_s(seconds: f64) -> anyhow::Result<f64> {
    let samples: Vec<_> = (1..=64u8)
        .map(|n| {
            let key = Key::from_secret([n; 32])?;
            let message = [n; 32];
            let public = XOnlyPublicKey::from_byte_array(key.x_only())?;
            anyhow::Ok((schnorr::Signature::from_byte_array(key.sign(&message)), message, public))
        })
        .collect::<Result<_, _>>()?;
    let began = Instant::now();
    let mut verified = 0_u32;
    while began.elapsed().as_secs_f64() < seconds {
        let valid = (0..8_192usize)
            .into_par_iter()
            .with_min_len(256)
            .filter(|n| {
                let (signature, message, public) = &samples[n % samples.len()];
                schnorr::verify(signature, message, public).is_ok()
            })
            .count();
        anyhow::ensure!(valid == 8_192, "a valid signature was refused");
        verified += 8_192;
    }
    Ok(f64::from(verified) / began.elapsed().as_secs_f64())
}
