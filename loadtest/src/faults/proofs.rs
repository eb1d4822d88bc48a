//! Proofs that a node gives afterwards, checked as a light client checks them: invariant P1.

use anyhow::{Context, ensure};
use bytes::Bytes;
use eschaton_api::proofs as api;
use eschaton_api::proofs::proofs_client::ProofsClient;
use eschaton_proof::{OutputFact, VerifierKey, verify_consistency, verify_inclusion, verify_output};
use eschaton_types::Transaction;
use tonic::transport::Channel;

use crate::contest::Dice;
use crate::live::connect;

/// Transactions whose inclusion, and whose first input's spending, is proven.
const TRANSACTIONS: u64 = 100;
/// Earlier checkpoints that the latest must extend.
const CHECKPOINTS: u64 = 50;

/// How much was proven.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Proven {
    pub(crate) inclusions: u64,
    pub(crate) spendings: u64,
    pub(crate) consistencies: u64,
    /// Checkpoints there are.
    pub(crate) checkpoints: u64,
}

/// Has proofs of some of these accepted payments made and checks each; fails at the first that does not hold. All of
/// them are in the latest checkpoint.
pub(crate) async fn check(url: &str, accepted: &[Bytes], dice: &mut Dice) -> anyhow::Result<Proven> {
    ensure!(!accepted.is_empty(), "no payment was accepted, so nothing can be proven");
    let mut prover = Prover { client: ProofsClient::new(connect(url).await?) };
    let key = prover.client.get_verifier_key(api::GetVerifierKeyRequest {}).await?.into_inner().verifier_key;
    let key = VerifierKey::parse(&key)?;
    let mut proven = Proven::default();
    for _ in 0..TRANSACTIONS {
        let chosen = usize::try_from(dice.below(u64::try_from(accepted.len())?))?;
        let payment = Transaction::decode(accepted[chosen].clone())?;
        let proof = prover.inclusion(&payment).await?;
        verify_inclusion(&proof, &key, payment.txid)
            .with_context(|| format!("invariant P1 broken: inclusion of {}", payment.txid))?;
        proven.inclusions += 1;
        let spent = payment.body.inputs.first().context("a payment without inputs")?.outpoint;
        let proof = prover.output(&spent).await?;
        let told = verify_output(&proof, &key, spent)
            .with_context(|| format!("invariant P1 broken: output {spent}"))?;
        ensure!(
            matches!(told.fact, OutputFact::SpentBy { txid, .. } if txid == payment.txid),
            "invariant P2 broken: {} spent {spent}, and the trees say {:?}",
            payment.txid,
            told.fact
        );
        proven.spendings += 1;
    }
    let latest = prover.client.get_checkpoint(api::GetCheckpointRequest { number: None }).await?.into_inner();
    proven.checkpoints = latest.number + 1;
    for _ in 0..CHECKPOINTS {
        let number = dice.below(latest.number + 1);
        let request = api::ProveConsistencyRequest { number };
        let proof = prover.client.prove_consistency(request).await?.into_inner().proof;
        let told = verify_consistency(&proof, &key)
            .with_context(|| format!("invariant P1 broken: checkpoint {number} and the latest"))?;
        ensure!(told.fact.number == number, "checkpoint {} was proven, not {number}", told.fact.number);
        proven.consistencies += 1;
    }
    Ok(proven)
}

struct Prover {
    client: ProofsClient<Channel>,
}

impl Prover {
    async fn inclusion(&mut self, payment: &Transaction) -> anyhow::Result<Bytes> {
        let request = api::ProveInclusionRequest { txid: payment.txid.to_bytes() };
        let given = self.client.prove_inclusion(request).await;
        Ok(given.with_context(|| format!("no proof that {} is in the log", payment.txid))?.into_inner().proof)
    }

    async fn output(&mut self, outpoint: &eschaton_types::OutPoint) -> anyhow::Result<Bytes> {
        let request =
            api::ProveOutputRequest { txid: outpoint.txid.to_bytes(), index: outpoint.index.into() };
        let given = self.client.prove_output(request).await;
        Ok(given.with_context(|| format!("no proof of output {outpoint}"))?.into_inner().proof)
    }
}
