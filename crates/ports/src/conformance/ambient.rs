//! What every clock, source of randomness and signer promises.

use crate::{Clock, Rng, Signer};

/// A clock's sleep lasts at least as long as asked, and `now_ms` tells the same story.
pub async fn run_clock(clock: &dyn Clock) {
    for ms in [0, 1, 20] {
        let before = clock.now_ms();
        clock.sleep_ms(ms).await;
        let after = clock.now_ms();
        assert!(after >= before + ms, "slept {ms} ms from {before}, but it is {after}");
    }
    let year_2020_ms = 1_577_836_800_000;
    assert!(clock.now_ms() > year_2020_ms, "milliseconds since 1970, not {}", clock.now_ms());
}

/// Randomness fills the whole buffer, whatever its length, with other bytes each time.
pub fn run_rng(rng: &dyn Rng) {
    rng.fill(&mut []);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let mut bytes = [0_u8; 32];
        rng.fill(&mut bytes);
        assert!(seen.insert(bytes), "the same 32 bytes came twice");
    }
    let mut long = vec![0_u8; 10_000];
    rng.fill(&mut long);
    // 64 zero bytes in a row come by chance once in 2^500 fills.
    assert!(!long.chunks_exact(64).any(|part| part.iter().all(|byte| *byte == 0)), "a part was left out");
}

/// Signatures verify under the signer's key, belong to their message, and repeat exactly.
/// `verify(public_key, message, signature)` is the caller's Ed25519 check.
pub async fn run_signer(signer: &dyn Signer, verify: impl Fn(&[u8; 32], &[u8], &[u8; 64]) -> bool) {
    let key = signer.public_key();
    assert_eq!(key, signer.public_key(), "one signer, one key");
    let mut signatures = std::collections::HashSet::new();
    for message in [&b""[..], b"a", b"b", &[7; 100_000]] {
        let signature = signer.sign(message).await.unwrap();
        assert!(verify(&key, message, &signature), "signature does not verify");
        assert!(!verify(&key, b"something else", &signature), "signature fits another message");
        assert_eq!(signer.sign(message).await.unwrap(), signature, "signing is deterministic");
        assert!(signatures.insert(signature), "two messages, one signature");
    }
}
