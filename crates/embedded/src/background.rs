//! Engines merge and flush on threads of their own, which run as urgently as the thread that opens the engine.

use std::{io, thread};

/// A sixth or so of an answering thread's share.
const NICE: i32 = 8;

/// From now on the calling thread, and those that it starts, yield to threads that answer.
pub(crate) fn yields() {
    // On Linux this is per thread. Refused: it runs like the others.
    let _ = rustix::process::nice(NICE);
}

/// Opens an engine on a thread that yields to those who answer, and waits for it.
pub(crate) fn opening<T: Send>(open: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let opener = thread::Builder::new().name("open-engine".to_owned()).spawn_scoped(scope, || {
            yields();
            open()
        })?;
        opener.join().map_err(|_| io::Error::other("the thread that opens the engine panicked"))
    })
}
