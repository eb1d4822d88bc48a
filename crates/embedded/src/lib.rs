//! Adapters for one machine: the log and the store over fjall, the system's clock and randomness, and
//! a key file.
//!
//! Log and store live in a directory each, `header` (what it is), `lock`, and `engine` (fjall's own).
//! The log is synced before it acknowledges; the store is a view and is not. Before fjall opens a
//! directory its journals are checked here ([`JournalCut`]), because fjall alone would drop everything
//! after a damaged place without a word.

mod background;
mod clock;
mod home;
mod journal;
mod log;
mod rng;
mod signer;
mod spent_buffers;
mod store;
mod write_behind;

pub use clock::SystemClock;
pub use home::OpenError;
pub use journal::JournalCut;
pub use log::{
    APPEND_BYTES_MAX, EmbeddedLog, GROUP_NAME_BYTES_MAX, LogImport, LogOptions, OWNERS_MAX, OpenReport,
};
pub use rng::OsRng;
pub use signer::{FileSigner, SignerOpenError, open_seed};
pub use store::{EmbeddedStore, StoreOptions};
