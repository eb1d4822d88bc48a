//! A log as a directory of files, to move it from one engine to another.
//!
//! Each partition is a file of [frames](frame), [`Manifest`] names them all and is written last: a directory without
//! it is an export under way. Both directions go a frame at a time and may be interrupted anywhere: an export goes on
//! after its last whole frame, an import after the last record that the target has.
//!
//! Offsets are kept. Record ids, transactions' places and checkpoints name them, so a log with other offsets would be
//! another log.

mod error;
mod export;
mod file;
pub mod frame;
mod import;
mod manifest;
mod positions;

pub use error::TransferError;
pub use export::export_partition;
pub use file::{FileReader, FileWriter, file_name};
pub use import::{Appending, Target, check_prefix, import_partition, verify_file};
pub use manifest::{FileEntry, GroupPosition, Ledger, MANIFEST, Manifest, State};
pub use positions::{positions, set_positions};

/// Sees how far a step is, and may end it: an error comes back as it is, and what was done stays done.
pub type Progress<'a> = &'a mut (dyn FnMut(u64) -> Result<(), TransferError> + Send);
