use bytes::Bytes;
use eschaton_types::{Rules, Transaction, TxError, TxId};

/// A transaction that passed everything that needs no state: canonical, within limits, of this
/// network, and signed by its owners. Only [`screen`] makes one.
#[derive(Clone, Debug)]
pub struct Screened {
    transaction: Transaction,
    known: bool,
}

impl Screened {
    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The transaction, by value.
    pub fn into_transaction(self) -> Transaction {
        self.transaction
    }

    /// Its signatures were checked when it first came, so they were not checked again. What came now may
    /// carry others: only its id may be used.
    pub fn is_known(&self) -> bool {
        self.known
    }
}

/// Why a transaction was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its id, if it decodes.
    pub txid: Option<TxId>,
    /// The first rule that it breaks.
    pub error: TxError,
}

/// Judges bytes from outside. Cheap checks come first and signatures last, and nothing is shared, so
/// the service spreads a batch over cores. `known` tells ids whose signatures were checked before.
pub fn screen(bytes: Bytes, rules: &Rules, known: impl Fn(&TxId) -> bool) -> Result<Screened, Refused> {
    let transaction = Transaction::decode(bytes).map_err(|error| Refused { txid: None, error })?;
    let refused = |error| Refused { txid: Some(transaction.txid), error };
    transaction.check(rules).map_err(refused)?;
    let known = known(&transaction.txid);
    if !known {
        transaction.verify_signatures().map_err(refused)?;
    }
    Ok(Screened { transaction, known })
}

#[cfg(test)]
mod tests {
    use eschaton_types::{Amount, Body, Input, Key, Network, OutPoint, Output, Product, Witness};

    use super::*;

    fn payment(network: Network) -> (Body, Key) {
        let owner = Key::from_secret([1; 32]).expect("valid");
        let outpoint = OutPoint { txid: TxId([9; 32]), index: 0 };
        let input = Input::spend(outpoint, owner.address(), Product::Native);
        let output = Output::pay(owner.address(), Product::Native, Amount::new(1).expect("small"));
        (Body::plain(network, vec![input], vec![output]), owner)
    }

    const RULES: Rules = Rules { network: Network::Dev, native_issuer: None };

    fn bytes(network: Network, prove: impl FnOnce(&TxId, Key) -> Witness) -> Bytes {
        let (body, owner) = payment(network);
        let witness = prove(&TxId::of_body(&body.encode()), owner);
        Transaction::assemble(&body, &witness).expect("within limits").bytes
    }

    fn judge(network: Network, prove: impl FnOnce(&TxId, Key) -> Witness) -> Result<Screened, TxError> {
        screen(bytes(network, prove), &RULES, |_| false).map_err(|refused| refused.error)
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
        let garbage = screen(Bytes::from_static(&[0xff]), &RULES, |_| true).expect_err("no message");
        assert!(matches!(garbage, Refused { txid: None, error: TxError::Malformed { .. } }), "{garbage:?}");
        let refusal = judge(Network::Main, signed).err();
        assert_eq!(refusal, Some(TxError::WrongNetwork { found: 1, expected: 3 }));
        let refusal = judge(Network::Dev, |_, owner| signed(&TxId([0; 32]), owner)).err();
        assert_eq!(refusal, Some(TxError::BadSignature { what: "owner", position: 0 }));
    }

    #[test]
    fn signatures_of_a_known_id_are_not_checked_again_and_other_rules_are() {
        let txid = TxId::of_body(&payment(Network::Dev).0.encode());
        let forged = || bytes(Network::Dev, |_, owner| signed(&TxId([0; 32]), owner));
        let screened = screen(forged(), &RULES, |id| *id == txid).expect("known");
        assert!(screened.is_known());
        let refused = screen(forged(), &RULES, |id| *id != txid).expect_err("forged");
        let error = TxError::BadSignature { what: "owner", position: 0 };
        assert_eq!(refused, Refused { txid: Some(txid), error });
        let refused = screen(bytes(Network::Main, signed), &RULES, |_| true).expect_err("another network");
        assert_eq!(refused.error, TxError::WrongNetwork { found: 1, expected: 3 });
    }
}
