//! `eschaton.dev.v1.Faucet`: issues native coins on a development network.

use bytes::Bytes;
use eschaton_api::dev as api;
use eschaton_kit::Ports;
use eschaton_types::{Address, Amount, Body, Key, Network, Output, Product, Transaction};
use gossip_ingress::{Answer, Client, Submitter};
use tonic::{Request, Response, Status};

use crate::NodeConfig;
use crate::caught_up::caught_up;

/// The development issuer.
pub(crate) struct Faucet {
    issuer: Key,
    network: Network,
    shards: u32,
    ports: Ports,
    submitter: Submitter,
}

impl Faucet {
    pub(crate) fn new(issuer: Key, config: &NodeConfig, ports: Ports, submitter: Submitter) -> Self {
        Self { issuer, network: config.network, shards: config.shards, ports, submitter }
    }

    fn issuance(&self, owner: Address, amount: Amount) -> Result<Transaction, Status> {
        let mut nonce = [0; 16];
        self.ports.rng.fill(&mut nonce);
        let outputs = vec![Output::pay(owner, Product::Native, amount)];
        let metadata = Bytes::copy_from_slice(&nonce);
        let body = Body { metadata, ..Body::plain(self.network, Vec::new(), outputs) };
        body.issued(&self.issuer).map_err(|error| Status::internal(error.to_string()))
    }
}

#[tonic::async_trait]
impl api::faucet_server::Faucet for Faucet {
    async fn fund(&self, request: Request<api::FundRequest>) -> Result<Response<api::FundResponse>, Status> {
        let invalid = |error: String| Status::invalid_argument(error);
        let api::FundRequest { address, amount } = request.into_inner();
        let owner =
            Address::from_slice(&address, "address (32 bytes)").map_err(|e| invalid(e.to_string()))?;
        let amount = Amount::new(amount).map_err(|error| invalid(error.to_string()))?;
        if amount.is_zero() {
            return Err(invalid("amount is zero; ask for at least one unit".to_owned()));
        }
        let tx = self.issuance(owner, amount)?;
        let txid = tx.txid;
        let answers = self
            .submitter
            .submit(Client::SELF, vec![tx.bytes], true, None)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        match answers.into_iter().next() {
            Some(Answer::Accepted { .. } | Answer::Pending { .. }) => {
                // Coins of another shard's owner get there by a credit.
                caught_up(&self.ports, self.shards).await?;
                Ok(Response::new(api::FundResponse { txid: txid.to_bytes() }))
            }
            Some(Answer::Rejected { rejection, .. }) => Err(Status::failed_precondition(rejection.message)),
            Some(Answer::Invalid { error, .. }) => Err(Status::internal(error.to_string())),
            Some(Answer::Busy { message, .. }) => Err(Status::resource_exhausted(message)),
            None => Err(Status::internal("no answer was made; ask again")),
        }
    }
}
