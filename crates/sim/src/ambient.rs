//! Time and identity.

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use eschaton_ports::{Clock, Signer, SignerError};

use crate::world::Sim;

/// A clock that is ahead or behind, and steps.
pub(crate) struct SimClock {
    sim: Sim,
    /// Added to true time; the middle of the possible skews is no skew.
    ahead_ms: u64,
}

impl SimClock {
    pub(crate) fn new(sim: Sim) -> Self {
        let ahead_ms = {
            let mut world = sim.world();
            let skew = world.profile.faults.skew_ms;
            world.dice.between(0, 2 * skew)
        };
        Self { sim, ahead_ms }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let mut world = self.sim.world();
        let skew = world.profile.faults.skew_ms;
        let step =
            if world.fault(|faults| faults.clock_step) { world.dice.between(0, 2 * skew) } else { skew };
        (world.now_ms + self.ahead_ms + step).saturating_sub(2 * skew)
    }

    async fn sleep_ms(&self, ms: u64) {
        self.sim.sleep(ms).await;
    }
}

/// The node's identity: one fixed key.
pub(crate) struct SimSigner {
    sim: Sim,
    key: SigningKey,
}

impl SimSigner {
    pub(crate) fn new(sim: Sim) -> Self {
        Self { sim, key: SigningKey::from_bytes(&[7; 32]) }
    }
}

#[async_trait]
impl Signer for SimSigner {
    fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        self.sim.latency().await;
        Ok(self.key.sign(message).to_bytes())
    }
}
