use std::sync::{Arc, OnceLock};

use eschaton_ports::{LogError, NewRecord, Position};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// The most bytes of one append or commit, records' envelopes included; also the most that all
/// requests in the queue hold together.
pub const APPEND_BYTES_MAX: usize = 64 << 20;
/// The most bytes of a claim group's name.
pub const GROUP_NAME_BYTES_MAX: usize = 128;
/// The most (group, partition) pairs whose positions a log keeps.
pub const OWNERS_MAX: usize = 65_536;

/// Requests in the queue; further ones wait for a place.
const REQUESTS_MAX: usize = 256;
/// The queue's bytes are counted in these.
const PERMIT_BYTES: usize = 1 << 10;

pub(super) type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// What the committer is asked to do.
pub(super) enum Command {
    Append { records: Vec<NewRecord>, reply: Reply<Vec<Position>> },
    Claim { group: Arc<str>, partitions: Vec<usize>, reply: Reply<Grant> },
    Commit { fence: Fence, outputs: Vec<NewRecord>, advance: Vec<(usize, u64)>, reply: Reply<Vec<Position>> },
    Stop,
}

/// A claim, as the committer knows it.
#[derive(Clone)]
pub(super) struct Fence {
    pub(super) group: Arc<str>,
    /// Numbers of the claimed partitions.
    pub(super) partitions: Arc<[usize]>,
    pub(super) epoch: u64,
}

/// A claim granted: its epoch and the next offset of each partition, in the order asked.
pub(super) struct Grant {
    pub(super) epoch: u64,
    pub(super) next: Vec<u64>,
}

/// A command and its share of the queue, given back when it is answered.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) bytes: usize,
    pub(super) _share: Option<OwnedSemaphorePermit>,
}

/// The way to the committer, bounded in requests and bytes: whoever is over waits.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Request>,
    bytes: Arc<Semaphore>,
    poison: Poison,
}

impl Queue {
    pub(super) fn new(poison: Poison) -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let bytes = Arc::new(Semaphore::new(APPEND_BYTES_MAX / PERMIT_BYTES));
        (Self { sender, bytes, poison }, receiver)
    }

    pub(super) async fn ask<T>(
        &self,
        bytes: usize,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, LogError> {
        self.poison.check()?;
        let permits = bytes.div_ceil(PERMIT_BYTES).min(APPEND_BYTES_MAX / PERMIT_BYTES);
        let permits = u32::try_from(permits).map_err(|_| invalid(format!("{bytes} bytes at once")))?;
        let share = Arc::clone(&self.bytes).acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let request = Request { command: command(reply), bytes, _share: Some(share) };
        self.sender.send(request).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Wakes the committer, so that it sees that the log is closing. If the queue is full it is awake.
    pub(super) fn stop(&self) {
        let _ = self.sender.try_send(Request { command: Command::Stop, bytes: 0, _share: None });
    }

    fn gone(&self) -> LogError {
        self.poison.check().err().unwrap_or_else(closed)
    }
}

/// Why the log failed for good, once it has.
#[derive(Clone, Default)]
pub(super) struct Poison(Arc<OnceLock<String>>);

impl Poison {
    pub(super) fn set(&self, detail: String) {
        if self.0.set(detail).is_ok() {
            tracing::error!(detail = self.0.get(), "log failed; it takes no more calls");
        }
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.0.get() {
            None => Ok(()),
            Some(detail) => Err(LogError::Fatal { detail: detail.clone() }),
        }
    }
}

pub(super) fn invalid(detail: String) -> LogError {
    LogError::Invalid { detail }
}

fn closed() -> LogError {
    LogError::Unavailable { detail: "the log is closed in this process".to_owned() }
}
