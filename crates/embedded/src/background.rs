//! Threads beside those that answer. Engines merge and flush on threads of their own, which run as urgently as the thread that
//! opens the engine.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
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

/// Work that is done again and again on a thread of its own. Ends with its thread when it is dropped.
pub(crate) struct Repeated {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Repeated {
    /// Waits so long before each time; `begin` runs on the thread and gives the work.
    pub(crate) fn start<W: FnMut()>(
        name: String,
        every: Duration,
        begin: impl FnOnce() -> W + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let mut work = begin();
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                work();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
