use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;

use crate::pb::types as pb;
use crate::{Address, Amount, AmountError, Key, Network, OutPoint, Product, TxError, TxId, Witness};

/// The body version that this code speaks.
pub const VERSION: u32 = 1;
/// Limits of spec ledger.md, "Encoding".
pub const TRANSACTION_BYTES_MAX: usize = 65_536;
/// Most inputs, read-only ones included.
pub const INPUTS_MAX: usize = 256;
/// Most outputs.
pub const OUTPUTS_MAX: usize = 256;
/// Most bytes of [`Body::metadata`].
pub const METADATA_MAX: usize = 1_024;
/// Most bytes of [`Output::data`].
pub const DATA_MAX: usize = 1_024;
const SPEND_DELAY_MAX_MS: u64 = 100 * 366 * 24 * 3_600 * 1_000;

/// What a node must know to judge a transaction without state.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The ledger that this node serves.
    pub network: Network,
    /// Who may issue the native coin: "genesis or reward, authorised by configuration".
    pub native_issuer: Option<Address>,
}

/// A decoded transaction. Holding one proves that the bytes were canonical and within limits;
/// signatures are checked apart, by [`Transaction::verify_signatures`].
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The canonical bytes, as they arrived.
    pub bytes: Bytes,
    /// The transaction id.
    pub txid: TxId,
    /// What it does.
    pub body: Body,
    /// Why the owners agree.
    pub witness: Witness,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The ledger.
    pub network: Network,
    /// Outputs consumed or looked at.
    pub inputs: Vec<Input>,
    /// Outputs created.
    pub outputs: Vec<Output>,
    /// Left to the node, ascending by product.
    pub fees: Vec<Fee>,
    /// Not valid before this log time (ms since 1970); 0 is no limit.
    pub not_before_ms: u64,
    /// Not valid at or after this log time (ms since 1970); 0 is no limit.
    pub not_after_ms: u64,
    /// Outputs rest this long after acceptance.
    pub min_spend_delay_ms: u64,
    /// Free bytes, at most [`METADATA_MAX`].
    pub metadata: Bytes,
}

/// An output that is consumed, or depended on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Which output.
    pub outpoint: OutPoint,
    /// Its owner.
    pub owner: Address,
    /// Its product.
    pub product: Product,
    /// Looked at, not spent.
    pub read_only: bool,
}

/// An output that is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The new owner.
    pub owner: Address,
    /// Which product.
    pub product: Product,
    /// How much, above zero.
    pub amount: Amount,
    /// Free bytes, at most [`DATA_MAX`].
    pub data: Bytes,
    /// Needs the receiver's confirmation.
    pub confirmation_required: bool,
}

/// What is left to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fee {
    /// Which product.
    pub product: Product,
    /// How much, above zero.
    pub amount: Amount,
}

/// Decodes one message and refuses any form but the canonical one.
pub fn decode_canonical<M: Message + Default>(bytes: &Bytes, message: &'static str) -> Result<M, TxError> {
    let decoded =
        M::decode(bytes.clone()).map_err(|error| TxError::Malformed { detail: error.to_string() })?;
    if decoded.encoded_len() != bytes.len() || decoded.encode_to_vec() != *bytes {
        return Err(TxError::NotCanonical { message });
    }
    Ok(decoded)
}

/// Canonical bytes of a message.
pub fn encode<M: Message>(message: &M) -> Bytes {
    Bytes::from(message.encode_to_vec())
}

impl Transaction {
    /// From bytes of outside. Bounded before it is parsed; canonical; every length and count checked.
    pub fn decode(bytes: Bytes) -> Result<Self, TxError> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return Err(TxError::TooLarge { bytes: bytes.len(), max: TRANSACTION_BYTES_MAX });
        }
        let message: pb::Transaction = decode_canonical(&bytes, "transaction")?;
        let body = Body::decode(&message.body)?;
        // Present and empty, or absent, would be two forms of one transaction.
        if message.witness.as_ref().is_some_and(|witness| *witness == pb::Witness::default()) {
            return Err(TxError::NotCanonical { message: "witness" });
        }
        let witness = Witness::from_message(message.witness.unwrap_or_default())?;
        Ok(Self { bytes, txid: TxId::of_body(&message.body), body, witness })
    }

    /// Puts body and witness together. The result is checked as if it came from outside.
    pub fn assemble(body: &Body, witness: &Witness) -> Result<Self, TxError> {
        let witness = witness.to_message();
        let witness = if witness == pb::Witness::default() { None } else { Some(witness) };
        Self::decode(encode(&pb::Transaction { body: body.encode(), witness }))
    }

    /// Created by an issuer, out of nothing.
    pub fn is_issuance(&self) -> bool {
        self.witness.issuer.is_some()
    }

    /// Everything that needs neither state nor curve arithmetic.
    pub fn check(&self, rules: &Rules) -> Result<(), TxError> {
        if self.body.network != rules.network {
            return Err(TxError::WrongNetwork {
                found: self.body.network.number(),
                expected: rules.network.number(),
            });
        }
        self.body.check()?;
        if self.is_issuance() {
            return self.check_issuance(rules);
        }
        if self.body.consumed().next().is_none() {
            return Err(TxError::NoInputs);
        }
        Ok(())
    }

    fn check_issuance(&self, rules: &Rules) -> Result<(), TxError> {
        let refuse = |detail| Err(TxError::Issuance { detail });
        let Some(issuer) = &self.witness.issuer else { return refuse("it has no issuer's proof") };
        if !self.body.inputs.is_empty() {
            return refuse("it has inputs; issue and spend in two transactions");
        }
        if !self.body.fees.is_empty() {
            return refuse("it has fees; issue and pay in two transactions");
        }
        if !self.witness.owners.is_empty() || self.witness.aggregate.is_some() {
            return refuse("it has owner proofs but no inputs");
        }
        let address = issuer.address();
        let product = self.body.outputs.first().map(|output| output.product).unwrap_or_default();
        if self.body.outputs.iter().any(|output| output.product != product) {
            return refuse("its outputs are of several products; issue each apart");
        }
        let authorised = match product {
            Product::Native => rules.native_issuer == Some(address),
            issued => issued == Product::of_issuer(rules.network, &address),
        };
        if authorised { Ok(()) } else { refuse("the proof's address may not issue this product") }
    }

    /// The address whose shard coordinates an issuance.
    pub fn issuer(&self) -> Option<Address> {
        self.witness.issuer.as_ref().map(|proof| proof.address())
    }
}

impl Body {
    /// Without fees, locks and metadata.
    pub fn plain(network: Network, inputs: Vec<Input>, outputs: Vec<Output>) -> Self {
        Self {
            network,
            inputs,
            outputs,
            fees: Vec::new(),
            not_before_ms: 0,
            not_after_ms: 0,
            min_spend_delay_ms: 0,
            metadata: Bytes::new(),
        }
    }

    /// Signed by the owner of each consumed input, in order: one BIP 340 signature each. An address of
    /// one key; sets of keys make their [`Witness`] themselves.
    pub fn signed(&self, owners: &[Key]) -> Result<Transaction, TxError> {
        let txid = TxId::of_body(&self.encode());
        let owners = owners.iter().map(|owner| owner.prove(&txid)).collect();
        Transaction::assemble(self, &Witness { owners, ..Witness::default() })
    }

    /// An issuance, signed by its issuer.
    pub fn issued(&self, issuer: &Key) -> Result<Transaction, TxError> {
        let issuer = Some(issuer.prove(&TxId::of_body(&self.encode())));
        Transaction::assemble(self, &Witness { issuer, ..Witness::default() })
    }

    /// Inputs that are spent, in order.
    pub fn consumed(&self) -> impl Iterator<Item = &Input> {
        self.inputs.iter().filter(|input| !input.read_only)
    }

    fn decode(bytes: &Bytes) -> Result<Self, TxError> {
        let body: pb::TransactionBody = decode_canonical(bytes, "transaction body")?;
        if body.version != VERSION {
            return Err(TxError::UnknownVersion { version: body.version });
        }
        bounded(body.inputs.len(), INPUTS_MAX, "inputs")?;
        bounded(body.outputs.len(), OUTPUTS_MAX, "outputs")?;
        bounded(body.fees.len(), OUTPUTS_MAX, "fees")?;
        if body.metadata.len() > METADATA_MAX {
            return Err(TxError::Length { field: "metadata (at most 1,024 bytes)" });
        }
        Ok(Self {
            network: Network::from_number(body.network)?,
            inputs: body.inputs.iter().map(Input::from_message).collect::<Result<_, _>>()?,
            outputs: body.outputs.into_iter().map(Output::from_message).collect::<Result<_, _>>()?,
            fees: body.fees.iter().map(Fee::from_message).collect::<Result<_, _>>()?,
            not_before_ms: body.not_before_ms,
            not_after_ms: body.not_after_ms,
            min_spend_delay_ms: body.min_spend_delay_ms,
            metadata: body.metadata,
        })
    }

    /// Canonical bytes; their hash is the transaction id.
    pub fn encode(&self) -> Bytes {
        encode(&pb::TransactionBody {
            version: VERSION,
            network: self.network.number(),
            inputs: self.inputs.iter().copied().map(Input::to_message).collect(),
            outputs: self.outputs.iter().map(Output::to_message).collect(),
            fees: self
                .fees
                .iter()
                .map(|fee| pb::Fee { product: fee.product.to_bytes(), amount: fee.amount.units() })
                .collect(),
            not_before_ms: self.not_before_ms,
            not_after_ms: self.not_after_ms,
            min_spend_delay_ms: self.min_spend_delay_ms,
            metadata: self.metadata.clone(),
        })
    }

    fn check(&self) -> Result<(), TxError> {
        if self.outputs.is_empty() {
            return Err(TxError::NoOutputs);
        }
        match self.inputs.as_slice() {
            // The usual payment has few inputs; a hash set would cost more than the comparison.
            few if few.len() <= 8 => {
                for (position, input) in few.iter().enumerate() {
                    if few[..position].iter().any(|earlier| earlier.outpoint == input.outpoint) {
                        return Err(TxError::DuplicateInput { input: position });
                    }
                }
            }
            many => {
                let mut seen = HashSet::with_capacity(many.len());
                for (position, input) in many.iter().enumerate() {
                    if !seen.insert(input.outpoint) {
                        return Err(TxError::DuplicateInput { input: position });
                    }
                }
            }
        }
        if let Some(position) = self.outputs.iter().position(|output| output.amount.is_zero()) {
            return Err(TxError::ZeroAmount { position });
        }
        if let Some(position) = self.fees.iter().position(|fee| fee.amount.is_zero()) {
            return Err(TxError::ZeroAmount { position });
        }
        if !self.fees.is_sorted_by(|a, b| a.product < b.product) {
            return Err(TxError::FeeOrder);
        }
        if self.not_after_ms != 0 && self.not_after_ms <= self.not_before_ms {
            return Err(TxError::EmptyTimeLock);
        }
        if self.min_spend_delay_ms > SPEND_DELAY_MAX_MS {
            return Err(TxError::SpendDelay);
        }
        self.created()?;
        Ok(())
    }

    /// What outputs and fees sum to, per product, ascending. Errors when a sum passes 10^18.
    pub fn created(&self) -> Result<Vec<(Product, Amount)>, AmountError> {
        let outputs = self.outputs.iter().map(|output| (output.product, output.amount));
        sum_by_product(outputs.chain(self.fees.iter().map(|fee| (fee.product, fee.amount))))
    }
}

/// Sums per product, ascending by product. Errors when a sum passes 10^18.
pub fn sum_by_product(
    parts: impl IntoIterator<Item = (Product, Amount)>,
) -> Result<Vec<(Product, Amount)>, AmountError> {
    let mut sums: Vec<(Product, Amount)> = Vec::with_capacity(1);
    for (product, amount) in parts {
        match sums.binary_search_by_key(&product, |sum| sum.0) {
            Ok(at) => sums[at].1 = sums[at].1.plus(amount)?,
            Err(at) => sums.insert(at, (product, amount)),
        }
    }
    Ok(sums)
}

impl Input {
    /// Spends an output.
    pub fn spend(outpoint: OutPoint, owner: Address, product: Product) -> Self {
        Self { outpoint, owner, product, read_only: false }
    }

    fn from_message(message: &pb::Input) -> Result<Self, TxError> {
        let index = u16::try_from(message.index).ok().filter(|index| usize::from(*index) < OUTPUTS_MAX);
        Ok(Self {
            outpoint: OutPoint {
                txid: TxId::from_slice(&message.txid, "input transaction id (32 bytes)")?,
                index: index.ok_or(TxError::Length { field: "input index (below 256)" })?,
            },
            owner: Address::from_slice(&message.owner, "input owner (32 bytes)")?,
            product: Product::from_slice(&message.product)?,
            read_only: message.read_only,
        })
    }

    fn to_message(self) -> pb::Input {
        pb::Input {
            txid: self.outpoint.txid.to_bytes(),
            index: self.outpoint.index.into(),
            owner: self.owner.to_bytes(),
            product: self.product.to_bytes(),
            read_only: self.read_only,
        }
    }
}

impl Output {
    /// A plain payment to `owner`.
    pub fn pay(owner: Address, product: Product, amount: Amount) -> Self {
        Self { owner, product, amount, data: Bytes::new(), confirmation_required: false }
    }

    fn from_message(message: pb::Output) -> Result<Self, TxError> {
        if message.data.len() > DATA_MAX {
            return Err(TxError::Length { field: "output data (at most 1,024 bytes)" });
        }
        Ok(Self {
            owner: Address::from_slice(&message.owner, "output owner (32 bytes)")?,
            product: Product::from_slice(&message.product)?,
            amount: Amount::new(message.amount)?,
            data: message.data,
            confirmation_required: message.confirmation_required,
        })
    }

    fn to_message(&self) -> pb::Output {
        pb::Output {
            owner: self.owner.to_bytes(),
            product: self.product.to_bytes(),
            amount: self.amount.units(),
            data: self.data.clone(),
            confirmation_required: self.confirmation_required,
        }
    }
}

impl Fee {
    fn from_message(message: &pb::Fee) -> Result<Self, TxError> {
        Ok(Self { product: Product::from_slice(&message.product)?, amount: Amount::new(message.amount)? })
    }
}

fn bounded(count: usize, max: usize, what: &'static str) -> Result<(), TxError> {
    if count > max { Err(TxError::TooMany { what, max }) } else { Ok(()) }
}
