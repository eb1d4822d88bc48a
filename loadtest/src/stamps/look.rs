//! How long the proof of a stored digest takes.

use std::time::Instant;

use anyhow::ensure;
use eschaton_api::timestamp::{GetTimestampRequest, Progress};
use eschaton_ots::Timestamp;
use hdrhistogram::Histogram;

use super::{Sample, client};

/// Clients that ask one question after the other.
const CLIENTS: usize = 4;
/// Questions of each.
const QUESTIONS: usize = 5_000;

/// Asks for proofs of samples from all over the stored ones.
pub(super) async fn look_up(url: &str, samples: &[Sample]) -> anyhow::Result<Histogram<u64>> {
    ensure!(!samples.is_empty(), "there is nothing to look up");
    // A step that is no divisor of anything here visits old and new in turn.
    const STEP: usize = 7_919;
    let clients = (0..CLIENTS).map(|number| {
        let digests: Vec<_> = (0..QUESTIONS)
            .map(|index| &samples[(number * QUESTIONS + index) * STEP % samples.len()])
            .map(|(digest, commitment)| (digest.clone(), commitment.clone()))
            .collect();
        let url = url.to_owned();
        tokio::spawn(async move {
            let mut client = client(&url).await?;
            let mut latency = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
            for (digest, commitment) in digests {
                let began = Instant::now();
                let request = GetTimestampRequest { commitment: digest.clone().into() };
                let found = client.get_timestamp(request).await?.into_inner();
                latency.record(u64::try_from(began.elapsed().as_micros())?.max(1))?;
                ensure!(found.commitment == digest, "a proof of something else");
                let proof = Timestamp::from_answer(&digest, &found.timestamp)?;
                let place = proof.pending(&digest)?;
                ensure!(
                    found.progress() != Progress::Pending
                        || place.iter().any(|at| at.commitment == commitment),
                    "a proof that leads elsewhere"
                );
            }
            anyhow::Ok(latency)
        })
    });
    let mut all = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
    for client in futures::future::join_all(clients).await {
        all.add(client??)?;
    }
    Ok(all)
}
