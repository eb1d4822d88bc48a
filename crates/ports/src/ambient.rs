use async_trait::async_trait;

/// Time. Injected, so that simulation owns it and cores never see it.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z. May step backwards; users keep a running maximum.
    fn now_ms(&self) -> u64;
    /// Returns no earlier than `ms` milliseconds later.
    async fn sleep_ms(&self, ms: u64);
}

/// Cryptographically strong randomness.
pub trait Rng: Send + Sync + 'static {
    /// Fills the buffer. Panics never; an adapter without entropy fails when it is made.
    fn fill(&self, buffer: &mut [u8]);
}

/// Why there is no signature.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SignerError {
    /// The key store did not answer; nothing was released; ask again.
    #[error("signer is away: {detail}; retry")]
    Away {
        /// What it said.
        detail: String,
    },
    /// It will not sign this.
    #[error("signer refuses: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
}

/// Signs for the node with its Ed25519 identity (checkpoints; later observations). Deterministic:
/// the same message gives the same signature, so signing again after a crash reveals nothing new.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    /// Ed25519 public key.
    fn public_key(&self) -> [u8; 32];
    /// Ed25519 signature (RFC 8032) over `message`. Callers pass only what is durable.
    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError>;
}
