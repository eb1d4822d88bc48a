//! What a wallet, an exchange or a light client needs to deal with a node.
//!
//! [`wallet`] keeps keys in a file, [`build`] makes payments out of live outputs, [`outbox`] keeps a
//! payment's bytes until it is decided so that it is never made twice, [`node`] talks gRPC, and
//! [`light`] trusts one verifier key and checks everything else. [`build`] and [`text`] are pure.

mod files;
mod retry;

pub mod build;
pub mod light;
pub mod node;
pub mod outbox;
pub mod text;
pub mod wallet;

pub use build::{BuildError, Coin, Order, Payment, Plan};
pub use files::{FileError, FileLock};
pub use light::{Light, LightError};
pub use node::{Node, NodeError, NodeOptions, Submitted};
pub use outbox::{Entry, Outbox, OutboxError, Verdict};
pub use wallet::{Keyring, Passphrase, Wallet, WalletError};
