use bytes::Bytes;
use eschaton_types::{OutPoint, TxId};
use futures::SinkExt;
use futures::channel::{mpsc, oneshot};

/// What may be asked of a prover.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A signed checkpoint, by number.
    Checkpoint(u64),
    /// That a transaction is in the log.
    Inclusion(TxId),
    /// What became of an output.
    Output(OutPoint),
    /// That the latest checkpoint extends this one.
    Consistency(u64),
}

/// Why there is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is nothing of the kind.
    #[error("{0}")]
    NotFound(String),
    /// The prover is starting, stopping, or overrun.
    #[error("the prover is not ready: {0}; try again in a second")]
    Unavailable(String),
    /// The prover has damage or a defect.
    #[error("the prover failed: {0}")]
    Internal(String),
}

/// One question and where its answer goes.
pub struct Request {
    pub(crate) asked: Asked,
    pub(crate) answer: oneshot::Sender<Result<Bytes, ProofError>>,
}

/// The prover's end of the line.
pub type Requests = mpsc::Receiver<Request>;

/// Asks the prover. Questions are answered between its batches, so each proof fits one checkpoint.
#[derive(Clone)]
pub struct ProofHandle(mpsc::Sender<Request>);

/// A bounded line of requests.
pub fn channel(requests_max: usize) -> (ProofHandle, Requests) {
    let (sender, receiver) = mpsc::channel(requests_max);
    (ProofHandle(sender), receiver)
}

impl ProofHandle {
    /// Bytes of the proof, or of the checkpoint's note. Waits while the line is full.
    pub async fn ask(&self, asked: Asked) -> Result<Bytes, ProofError> {
        let gone = || ProofError::Unavailable("it is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.clone().send(Request { asked, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
