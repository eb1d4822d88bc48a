use bytes::Bytes;
use eschaton_types::{Rules, Transaction, TxError};

/// A transaction that passed everything that needs no state: canonical, within limits, of this
/// network, and signed by its owners. Only [`screen`] makes one.
#[derive(Clone, Debug)]
pub struct Screened(Transaction);

impl Screened {
    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.0
    }

    /// The transaction, by value.
    pub fn into_transaction(self) -> Transaction {
        self.0
    }
}

/// Judges bytes from outside. Cheap checks come first and signatures last, and nothing is shared, so
/// the service spreads a batch over cores.
pub fn screen(bytes: Bytes, rules: &Rules) -> Result<Screened, TxError> {
    let transaction = Transaction::decode(bytes)?;
    transaction.check(rules)?;
    transaction.verify_signatures()?;
    Ok(Screened(transaction))
}

#[cfg(test)]
mod tests {
    use eschaton_types::{Amount, Body, Input, Key, Network, OutPoint, Output, Product, TxId, Witness};

    use super::*;

    fn payment(network: Network) -> (Body, Key) {
        let owner = Key::from_secret([1; 32]).expect("valid");
        let outpoint = OutPoint { txid: TxId([9; 32]), index: 0 };
        let input = Input { outpoint, owner: owner.address(), product: Product::Native, read_only: false };
        let output = Output::pay(owner.address(), Product::Native, Amount::new(1).expect("small"));
        let body = Body {
            network,
            inputs: vec![input],
            outputs: vec![output],
            fees: vec![],
            not_before_ms: 0,
            not_after_ms: 0,
            min_spend_delay_ms: 0,
            metadata: Bytes::new(),
        };
        (body, owner)
    }

    fn judge(network: Network, prove: impl FnOnce(&TxId, Key) -> Witness) -> Result<Screened, TxError> {
        let (body, owner) = payment(network);
        let witness = prove(&TxId::of_body(&body.encode()), owner);
        let bytes = Transaction::assemble(&body, &witness)?.bytes;
        screen(bytes, &Rules { network: Network::Dev, native_issuer: None })
    }

    fn signed(txid: &TxId, owner: Key) -> Witness {
        Witness { owners: vec![owner.prove(txid)], ..Witness::default() }
    }

    #[test]
    fn each_stage_refuses_what_the_earlier_ones_passed() {
        let screened = judge(Network::Dev, signed).expect("valid");
        let (body, _) = payment(Network::Dev);
        assert_eq!(screened.transaction().body, body);
        assert_eq!(screened.into_transaction().txid, TxId::of_body(&body.encode()));
        let rules = Rules { network: Network::Dev, native_issuer: None };
        assert!(matches!(screen(Bytes::from_static(&[0xff]), &rules), Err(TxError::Malformed { .. })));
        let refusal = judge(Network::Main, signed).err();
        assert_eq!(refusal, Some(TxError::WrongNetwork { found: 1, expected: 3 }));
        let refusal = judge(Network::Dev, |_, owner| signed(&TxId([0; 32]), owner)).err();
        assert_eq!(refusal, Some(TxError::BadSignature { what: "owner", position: 0 }));
    }
}
