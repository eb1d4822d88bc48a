//! Stock gRPC clients.

use bytes::Bytes;
use eschaton_api::MESSAGE_BYTES_MAX;
use eschaton_api::ingress::ingress_client::IngressClient;
use eschaton_api::ingress::{Outcome, SubmitBatch, SubmitRequest, SubmitResult, SubmitResults};
use eschaton_api::query::query_client::QueryClient;
use eschaton_api::query::{
    GetStatesRequest, GetStatusRequest, GetTransactionRequest, ListOutputsRequest, OutputInfo,
    Status as NodeStatus, TransactionInfo,
};
use eschaton_types::{Address, Transaction, TxId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::PATIENCE;

/// One connection.
#[derive(Clone)]
pub(crate) struct Rpc {
    pub(crate) ingress: IngressClient<Channel>,
    pub(crate) query: QueryClient<Channel>,
    pub(crate) channel: Channel,
}

impl Rpc {
    pub(crate) async fn connect(url: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap().timeout(PATIENCE);
        let channel = endpoint.connect().await.unwrap();
        Self {
            ingress: IngressClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            query: QueryClient::new(channel.clone()),
            channel,
        }
    }

    pub(crate) async fn submit(&self, transaction: &Bytes) -> Result<SubmitResult, Status> {
        let request = SubmitRequest { transaction: transaction.clone(), no_wait: false };
        Ok(self.ingress.clone().submit(request).await?.into_inner())
    }

    /// Submits; it must be accepted.
    pub(crate) async fn accept(&self, transaction: &Transaction) {
        let result = self.submit(&transaction.bytes).await.unwrap();
        assert_eq!(result.outcome(), Outcome::Accepted, "{result:?}");
        assert_eq!(result.txid, transaction.txid.to_bytes());
    }

    /// Submits again and again until it is decided; it must be accepted.
    #[allow(dead_code, reason = "the other test binary's")]
    pub(crate) async fn decide(&self, transaction: &Transaction) {
        let result = super::until("a decision", async || {
            let result = self.submit(&transaction.bytes).await.ok()?;
            (result.outcome() != Outcome::Pending).then_some(result)
        })
        .await;
        assert_eq!(result.outcome(), Outcome::Accepted, "{result:?}");
    }

    /// All outputs of an owner, at most a page, spent ones too.
    pub(crate) async fn outputs(&self, owner: Address) -> Vec<OutputInfo> {
        let request = ListOutputsRequest {
            address: owner.to_bytes(),
            include_spent: true,
            page_size: 1_000,
            page_token: Bytes::new(),
        };
        self.query.clone().list_outputs(request).await.unwrap().into_inner().outputs
    }

    pub(crate) async fn transaction(&self, txid: &TxId) -> Option<TransactionInfo> {
        let request = GetTransactionRequest { txid: txid.to_bytes() };
        match self.query.clone().get_transaction(request).await {
            Ok(found) => Some(found.into_inner()),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    }

    /// States by id, at most 1,000; empty for what the node never saw.
    pub(crate) async fn states(&self, txids: Vec<Bytes>) -> Result<Vec<String>, Status> {
        let found = self.query.clone().get_states(GetStatesRequest { txids }).await?.into_inner();
        Ok(found.states.into_iter().map(|state| state.state).collect())
    }

    pub(crate) async fn status(&self) -> NodeStatus {
        self.query.clone().get_status(GetStatusRequest {}).await.unwrap().into_inner()
    }

    /// Records on all partitions of topic `ledger`.
    pub(crate) async fn ledger_end(&self) -> u64 {
        self.status().await.partitions.iter().map(|partition| partition.ledger_end).sum()
    }

    /// Submits one batch over a stream of its own.
    pub(crate) async fn batch(&self, transactions: Vec<Bytes>, no_wait: bool) -> Vec<SubmitResult> {
        let mut stream = Submissions::open(self).await.unwrap();
        let answer = stream.exchange(SubmitBatch { id: 7, transactions, no_wait }).await.unwrap();
        assert_eq!(answer.id, 7);
        answer.results
    }
}

/// A submit stream.
pub(crate) struct Submissions {
    send: mpsc::Sender<SubmitBatch>,
    receive: Streaming<SubmitResults>,
}

impl Submissions {
    pub(crate) async fn open(rpc: &Rpc) -> Result<Self, Status> {
        let (send, batches) = mpsc::channel(8);
        let receive = rpc.ingress.clone().submit_stream(ReceiverStream::new(batches)).await?.into_inner();
        Ok(Self { send, receive })
    }

    /// One batch and its answer.
    pub(crate) async fn exchange(&mut self, batch: SubmitBatch) -> Result<SubmitResults, Status> {
        let gone = || Status::unavailable("the stream ended");
        self.send.send(batch).await.map_err(|_| gone())?;
        let answer = tokio::time::timeout(PATIENCE, self.receive.message()).await;
        answer.map_err(|_| Status::deadline_exceeded("no answer to a batch"))??.ok_or_else(gone)
    }
}
