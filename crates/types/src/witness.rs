use secp256k1::musig::KeyAggCache;
use secp256k1::{XOnlyPublicKey, schnorr};

use crate::ids::array;
use crate::pb::types as pb;
use crate::{Address, INPUTS_MAX, KEYS_MAX, KeySet, OUTPUTS_MAX, Transaction, TxError};

/// Why the owners agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// One for each consumed input, in order; or none, with an aggregate.
    pub owners: Vec<OwnerProof>,
    /// One signature for all consumed inputs (BIP 327).
    pub aggregate: Option<Aggregate>,
    /// One for each output that asks for confirmation, in order.
    pub confirmations: Vec<OwnerProof>,
    /// In an issuance.
    pub issuer: Option<OwnerProof>,
}

/// Keys that hash to an address, and enough of their signatures over the transaction id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerProof {
    /// The address's keys.
    pub keys: KeySet,
    /// (position of the key, BIP 340 signature), ascending.
    pub signatures: Vec<(u8, [u8; 64])>,
}

/// The aggregate signature of all consumed inputs' keys, in input order (BIP 327 KeyAgg).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Compressed public keys, one for each consumed input.
    pub keys: Vec<[u8; 33]>,
    /// BIP 340 signature under the aggregate key.
    pub signature: [u8; 64],
}

impl Witness {
    pub(crate) fn from_message(message: pb::Witness) -> Result<Self, TxError> {
        for (count, max, what) in [
            (message.owners.len(), INPUTS_MAX, "owner proofs"),
            (message.confirmations.len(), OUTPUTS_MAX, "confirmations"),
        ] {
            if count > max {
                return Err(TxError::TooMany { what, max });
            }
        }
        let proofs = |messages: &[pb::OwnerProof]| {
            messages.iter().map(OwnerProof::from_message).collect::<Result<Vec<_>, _>>()
        };
        let owners = proofs(&message.owners)?;
        let confirmations = proofs(&message.confirmations)?;
        let aggregate = message.aggregate.as_ref().map(Aggregate::from_message).transpose()?;
        if aggregate.is_some() && !owners.is_empty() {
            return Err(TxError::MixedProofs);
        }
        let issuer = message.issuer.as_ref().map(OwnerProof::from_message).transpose()?;
        Ok(Self { owners, aggregate, confirmations, issuer })
    }

    pub(crate) fn to_message(&self) -> pb::Witness {
        pb::Witness {
            owners: self.owners.iter().map(OwnerProof::to_message).collect(),
            aggregate: self.aggregate.as_ref().map(|aggregate| pb::AggregateProof {
                keys: aggregate.keys.iter().map(|key| key.to_vec().into()).collect(),
                signature: aggregate.signature.to_vec().into(),
            }),
            confirmations: self.confirmations.iter().map(OwnerProof::to_message).collect(),
            issuer: self.issuer.as_ref().map(OwnerProof::to_message),
        }
    }
}

impl OwnerProof {
    /// The address that these keys own.
    pub fn address(&self) -> Address {
        self.keys.address()
    }

    fn from_message(message: &pb::OwnerProof) -> Result<Self, TxError> {
        if message.keys.len() > KEYS_MAX || message.signatures.len() > KEYS_MAX {
            return Err(TxError::KeySet);
        }
        let keys =
            message.keys.iter().map(|key| array(key, "public key (32 bytes)")).collect::<Result<_, _>>()?;
        let signatures = message
            .signatures
            .iter()
            .map(|signature| {
                let position = u8::try_from(signature.key).map_err(|_| TxError::KeySet)?;
                Ok((position, array(&signature.signature, "signature (64 bytes)")?))
            })
            .collect::<Result<_, TxError>>()?;
        Ok(Self { keys: KeySet::new(keys, message.threshold)?, signatures })
    }

    fn to_message(&self) -> pb::OwnerProof {
        pb::OwnerProof {
            keys: self.keys.keys().iter().map(|key| key.to_vec().into()).collect(),
            threshold: self.keys.threshold().into(),
            signatures: self
                .signatures
                .iter()
                .map(|(key, signature)| pb::KeySignature {
                    key: (*key).into(),
                    signature: signature.to_vec().into(),
                })
                .collect(),
        }
    }

    fn verify(
        &self,
        owner: &Address,
        message: &[u8],
        what: &'static str,
        position: usize,
    ) -> Result<(), TxError> {
        if self.address() != *owner {
            return Err(TxError::WrongKey { what, position });
        }
        self.verify_signatures(message, what, position)
    }

    fn verify_signatures(&self, message: &[u8], what: &'static str, position: usize) -> Result<(), TxError> {
        let exact = self.signatures.len() == usize::from(self.keys.threshold());
        if !exact || !self.signatures.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(TxError::SignatureCount { what, position });
        }
        for (key, signature) in &self.signatures {
            let bytes =
                self.keys.keys().get(usize::from(*key)).ok_or(TxError::SignatureCount { what, position })?;
            let point = XOnlyPublicKey::from_byte_array(*bytes)
                .map_err(|_| TxError::BadKey { proof: position, key: usize::from(*key) })?;
            schnorr::verify(&schnorr::Signature::from_byte_array(*signature), message, &point)
                .map_err(|_| TxError::BadSignature { what, position })?;
        }
        Ok(())
    }
}

impl Aggregate {
    fn from_message(message: &pb::AggregateProof) -> Result<Self, TxError> {
        if message.keys.is_empty() {
            return Err(TxError::Length { field: "aggregate key list (one for each consumed input)" });
        }
        if message.keys.len() > INPUTS_MAX {
            return Err(TxError::TooMany { what: "aggregate keys", max: INPUTS_MAX });
        }
        let keys = message
            .keys
            .iter()
            .map(|key| array(key, "aggregate key (33 bytes)"))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, signature: array(&message.signature, "aggregate signature (64 bytes)")? })
    }

    fn verify(&self, owners: &[Address], message: &[u8]) -> Result<(), TxError> {
        let what = "aggregate";
        if self.keys.len() != owners.len() {
            return Err(TxError::ProofCount { what, found: self.keys.len(), needed: owners.len() });
        }
        let mut points = Vec::with_capacity(self.keys.len());
        for (position, (key, owner)) in self.keys.iter().zip(owners).enumerate() {
            let point = secp256k1::PublicKey::from_byte_array_compressed(*key)
                .map_err(|_| TxError::BadKey { proof: position, key: 0 })?;
            if KeySet::single(point.x_only_public_key().0.to_byte_array()).address() != *owner {
                return Err(TxError::WrongKey { what, position });
            }
            points.push(point);
        }
        let references: Vec<_> = points.iter().collect();
        let key = KeyAggCache::new(&references).agg_pk();
        schnorr::verify(&schnorr::Signature::from_byte_array(self.signature), message, &key)
            .map_err(|_| TxError::BadSignature { what, position: 0 })
    }
}

impl Transaction {
    /// Every signature that the transaction needs: its own curve arithmetic and nothing else, so a
    /// batch spreads over cores.
    pub fn verify_signatures(&self) -> Result<(), TxError> {
        let message = &self.txid.0;
        let witness = &self.witness;
        if let Some(aggregate) = &witness.aggregate {
            let owners: Vec<_> = self.body.consumed().map(|input| input.owner).collect();
            aggregate.verify(&owners, message)?;
        } else {
            let needed = self.body.consumed().count();
            if witness.owners.len() != needed {
                return Err(TxError::ProofCount { what: "owner", found: witness.owners.len(), needed });
            }
            for (position, (input, proof)) in self.body.consumed().zip(&witness.owners).enumerate() {
                proof.verify(&input.owner, message, "owner", position)?;
            }
        }
        let needed = self.body.outputs.iter().filter(|output| output.confirmation_required).count();
        if witness.confirmations.len() != needed {
            return Err(TxError::ProofCount {
                what: "confirmation",
                found: witness.confirmations.len(),
                needed,
            });
        }
        let confirmed = self.body.outputs.iter().filter(|output| output.confirmation_required);
        for (position, (output, proof)) in confirmed.zip(&witness.confirmations).enumerate() {
            proof.verify(&output.owner, message, "confirmation", position)?;
        }
        match &witness.issuer {
            Some(issuer) => issuer.verify_signatures(message, "issuer", 0),
            None => Ok(()),
        }
    }
}
