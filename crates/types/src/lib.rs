//! The money's messages: canonical bytes, hashes, addresses, signatures, limits.
//!
//! Pure: no clock, no randomness, no IO. Everything a stateless peer can know about a transaction is
//! decided here; what needs the ledger's state is decided in `eschaton-ledger`.

mod address;
mod amount;
mod error;
mod ids;
mod network;
mod sign;
mod transaction;
mod witness;

/// Messages as generated from `proto/`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod pb {
    mod generated {
        include!(concat!(env!("OUT_DIR"), "/messages.rs"));
    }
    pub use generated::eschaton::{
        log::v1 as log, proof::v1 as proof, state::v1 as state, types::v1 as types,
    };
}

pub use address::{Address, KEYS_MAX, KeySet};
pub use amount::{AMOUNT_MAX, Amount, AmountError};
pub use error::TxError;
pub use ids::{OutPoint, Product, TxId, shard_of};
pub use network::Network;
pub use sign::{Key, PublicKey, musig_sign};
pub use transaction::{
    Body, DATA_MAX, Fee, INPUTS_MAX, Input, METADATA_MAX, OUTPUTS_MAX, Output, Rules, TRANSACTION_BYTES_MAX,
    Transaction, VERSION, decode_canonical, encode, sum_by_product,
};
pub use witness::{Aggregate, OwnerProof, Witness};
