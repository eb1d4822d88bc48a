//! The node's on-chain wallet, for anchors and whoever else pays on a chain.
//!
//! It knows confirmed outputs alone, and spends no others: what it knows follows from the blocks that it was shown, and what
//! a reorganisation takes back is gone. Keys are elsewhere ([`eschaton_ports::chain::ChainSigner`]); [`SeedSigner`] has them in
//! memory. Coins are chosen, transactions built and descriptors derived by BDK.
//!
//! One spends in three steps, so that nothing is signed before it is durable: [`Wallet::build`] reserves the inputs on the
//! disk, the signer signs, [`Wallet::finish`] completes the transaction. A reservation holds across restarts until
//! [`Wallet::reserve`] replaces it.

mod account;
mod address;
mod error;
mod journal;
mod keys;
mod spend;
mod state;
mod sync;
mod wallet;

pub use address::address;
pub use error::WalletError;
pub use keys::SeedSigner;
pub use spend::{Child, Signed, Spend};
pub use wallet::{Balance, Coin, Wallet, WalletConfig};
