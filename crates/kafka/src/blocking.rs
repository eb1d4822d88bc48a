//! A bounded set of threads for engine calls that block.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use eschaton_ports::LogError;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

/// Calls that wait for a thread; more wait at the caller.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. They end when it is dropped and their last call has returned.
pub(crate) struct Blocking {
    jobs: SyncSender<Job>,
    room: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("kafka-read-{number}")).spawn(move || work(&queue))?;
        }
        Ok(Self { jobs, room: Arc::new(Semaphore::new(QUEUE)) })
    }

    /// Runs `call` on one of the threads. If the caller goes away the call still runs to its end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LogError> {
        let gone = || LogError::Unavailable { detail: "the kafka client's threads are gone".to_owned() };
        let place = Arc::clone(&self.room).acquire_owned().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let job = move || {
            // Who asked may be gone.
            let _ = reply.send(call());
            drop(place);
        };
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// Runs one call on a thread of its own.
pub(crate) async fn once<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    let (reply, answer) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Who asked may be gone.
        let _ = reply.send(call());
    })?;
    answer.await.map_err(std::io::Error::other)
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let Ok(job) = queue.lock().recv() else { return };
        job();
    }
}
