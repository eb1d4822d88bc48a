//! Writes what waits in the system's cache out to the disk, a little at a time.
//!
//! fjall syncs a journal when it begins the next one, and holds the write lock meanwhile. A store's journal
//! is not synced by its writers, so up to 64 MiB would be written out at once, and every worker would stand
//! still for that long: about 100 ms every ten seconds at 8,000 payments/s.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::background::Repeated;
use crate::journal;

/// Between two rounds; at 10 MB/s some 2 MB wait by then.
const EVERY: Duration = Duration::from_millis(200);

/// Keeps the newest journals of these engines short of unwritten bytes.
pub(crate) fn start(engines: Vec<PathBuf>) -> io::Result<Repeated> {
    Repeated::start("store-sync".to_owned(), EVERY, move || {
        move || {
            for engine in &engines {
                // A help and no promise: what fails here, fails where it counts as well.
                let newest = journal::newest(engine).ok().flatten();
                if let Some(file) = newest.and_then(|path| File::open(path).ok()) {
                    let _ = file.sync_data();
                }
            }
        }
    })
}
