//! Does what the anchorer wants.

use std::collections::BTreeMap;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use eschaton_onchain::{Signed, Spend, WalletError};
use eschaton_ports::chain::{Acceptance, ChainError, RejectClass};
use eschaton_timestamp::anchorer::Want;
use eschaton_timestamp::{AnchorInput, Anchorer};

use super::look::Hash;
use super::{REPEAT_MS, TurnError, Turner, metrics};

impl Turner {
    /// Does all of it that can be done, and says in words what cannot. An error ends the turn: node, disk or log.
    pub(super) async fn act(
        &mut self,
        anchorer: &Anchorer,
        wants: Vec<Want>,
    ) -> Result<Vec<String>, TurnError> {
        let now = self.clock.now_ms();
        // What arrived is on its way no longer; neither is what did not arrive in time.
        self.signed.retain(|number, (txid, at)| {
            let arrived = anchorer.anchor(*number).is_none_or(|anchor| {
                anchor.attempts.iter().any(|attempt| attempt.transaction.txid() == *txid)
            });
            !arrived && now.abs_diff(*at) < REPEAT_MS
        });
        self.broadcast.retain(|_, at| now.abs_diff(*at) < self.config.ask_ms);
        {
            let mut wallet = self.wallet.lock().await;
            let mut reserved = self.reservations(anchorer);
            for (outpoint, tag) in wallet.reservations() {
                if self.signed.contains_key(tag) {
                    reserved.entry(*outpoint).or_insert(*tag);
                }
            }
            wallet.reserve(&reserved)?;
        }
        let mut problems = Vec::new();
        for want in wants {
            let done = match want {
                Want::Build { anchor, root, sat_per_kvb } => {
                    let spend = self.spend(anchor, root, sat_per_kvb);
                    self.sign(anchor, spend, 0).await
                }
                Want::Replace { anchor, root, sat_per_kvb, above_sat, spend: input } => {
                    let input = outpoint(&input.txid, input.index);
                    let spend =
                        Spend { above_sat, input: Some(input), ..self.spend(anchor, root, sat_per_kvb) };
                    self.sign(anchor, spend, above_sat).await
                }
                Want::Broadcast { anchor, txid, raw } => self.hand_in(anchor, txid, &raw).await,
            };
            match done {
                Ok(()) => {}
                Err(TurnError::Wallet(
                    error @ (WalletError::Funds { .. }
                    | WalletError::NotThere { .. }
                    | WalletError::FeeAboveCap { .. }
                    | WalletError::Build { .. }
                    | WalletError::Signer(_)),
                )) => problems.push(error.to_string()),
                Err(TurnError::Chain(error @ ChainError::Rejected { .. })) => {
                    problems.push(error.to_string())
                }
                Err(error) => return Err(error),
            }
        }
        Ok(problems)
    }

    fn spend(&self, anchor: u64, root: Hash, sat_per_kvb: u64) -> Spend {
        Spend {
            tag: anchor,
            outputs: vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return(root) }],
            sat_per_kvb,
            cap_sat_per_kvb: self.config.fee_cap_sat_per_kvb,
            above_sat: 0,
            input: None,
            coins_wanted: self.config.coins_wanted,
        }
    }

    /// Every output that a transaction of an anchor may still spend which is not final.
    fn reservations(&self, anchorer: &Anchorer) -> BTreeMap<OutPoint, u64> {
        let open = anchorer.anchors().filter(|anchor| !anchor.is_final || anchor.block.is_none());
        let inputs = open.flat_map(|anchor| {
            anchor
                .attempts
                .iter()
                .flat_map(|attempt| attempt.transaction.inputs())
                .map(|input| (input, anchor.number))
        });
        let mut reserved: BTreeMap<OutPoint, u64> = BTreeMap::new();
        for (input, number) in inputs {
            // The oldest anchor's, should two ever have the same.
            reserved.entry(outpoint(&input.txid, input.index)).or_insert(number);
        }
        reserved
    }

    /// Builds, reserves, signs, checks, and puts it on the log. It is handed to the node once the anchorer shows it.
    async fn sign(&mut self, anchor: u64, spend: Spend, before_sat: u64) -> Result<(), TurnError> {
        if self.signed.contains_key(&anchor) {
            return Ok(());
        }
        let psbt = self.wallet.lock().await.build(&spend)?;
        let psbt = self.signer.sign(psbt).await.map_err(WalletError::from)?;
        let Signed { transaction, fee_sat, vbytes } = self.wallet.lock().await.finish(psbt)?;
        self.check(&transaction).await?;
        let signed = AnchorInput::Signed { anchor, raw: serialize(&transaction).into(), fee_sat, vbytes };
        self.inbox.tell(&[signed]).await?;
        let txid = transaction.compute_txid();
        tracing::info!(anchor, %txid, fee_sat, vbytes, "signed a transaction for an anchor");
        metrics::signed(fee_sat.saturating_sub(before_sat));
        self.signed.insert(anchor, (txid.to_byte_array(), self.clock.now_ms()));
        Ok(())
    }

    /// A transaction that can never confirm must not become the anchor's: nobody would replace it. Other refusals pass,
    /// or are dealt with when it is handed in.
    async fn check(&self, transaction: &Transaction) -> Result<(), TurnError> {
        match self.chain.accepts(transaction).await {
            Ok(Acceptance::Rejected {
                class: class @ (RejectClass::Invalid | RejectClass::NonStandard | RejectClass::MissingInputs),
                detail,
            }) => Err(ChainError::Rejected { class, detail }.into()),
            Ok(_) | Err(ChainError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn hand_in(&mut self, anchor: u64, txid: Hash, raw: &[u8]) -> Result<(), TurnError> {
        if self.broadcast.contains_key(&txid) {
            return Ok(());
        }
        let transaction: Transaction = deserialize(raw).map_err(|error| {
            TurnError::Wallet(WalletError::Build {
                detail: format!("anchor {anchor} has a transaction that is none: {error}"),
            })
        })?;
        self.broadcast.insert(txid, self.clock.now_ms());
        match self.chain.broadcast(&transaction).await {
            Ok(how) => {
                tracing::info!(anchor, txid = %Txid::from_byte_array(txid), ?how, "handed in an anchor's transaction");
                Ok(self.inbox.tell(&[AnchorInput::Mempool { txid, present: true }]).await?)
            }
            Err(error @ ChainError::Rejected { .. }) => {
                tracing::warn!(anchor, txid = %Txid::from_byte_array(txid), %error, "an anchor's transaction is not taken");
                Err(error.into())
            }
            Err(error) => {
                // It may or may not have arrived: the same bytes again.
                self.broadcast.remove(&txid);
                Err(error.into())
            }
        }
    }
}

fn outpoint(txid: &Hash, index: u32) -> OutPoint {
    OutPoint { txid: Txid::from_byte_array(*txid), vout: index }
}
