use bitcoin::{Transaction, TxOut};

/// What is checked of scripts, for people.
pub const CHECKS: &str = "spends of plain keys (P2PKH, P2WPKH, P2TR by key); every other spend is refused";

/// Whether a transaction may spend these outputs, one for each input in order. The error says why not.
pub(crate) fn check(transaction: &Transaction, spent: &[TxOut]) -> Result<(), String> {
    if transaction.input.len() != spent.len() {
        return Err("inputs and spent outputs differ in number".to_owned());
    }
    plain::check(transaction, spent)
}

/// Signatures of plain keys, and nothing else.
mod plain {
    use bitcoin::hashes::Hash;
    use bitcoin::script::Instruction;
    use bitcoin::secp256k1::{Message, Secp256k1, VerifyOnly, schnorr};
    use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
    use bitcoin::{PubkeyHash, PublicKey, Transaction, TxOut, WPubkeyHash, XOnlyPublicKey, ecdsa, taproot};

    pub(super) fn check(transaction: &Transaction, spent: &[TxOut]) -> Result<(), String> {
        let secp = Secp256k1::verification_only();
        for (index, output) in spent.iter().enumerate() {
            input(&secp, transaction, spent, index)
                .map_err(|why| format!("input {index} of {}: {why}", output.script_pubkey))?;
        }
        Ok(())
    }

    fn input(
        secp: &Secp256k1<VerifyOnly>,
        transaction: &Transaction,
        spent: &[TxOut],
        index: usize,
    ) -> Result<(), &'static str> {
        let (input, output) = (&transaction.input[index], &spent[index]);
        let script = &output.script_pubkey;
        let mut cache = SighashCache::new(transaction);
        if script.is_p2wpkh() {
            let items: Vec<&[u8]> = input.witness.iter().collect();
            let [signature, key] = items[..] else { return Err("the witness is not a signature and a key") };
            if !input.script_sig.is_empty() || key.len() != 33 {
                return Err("not a spend by a compressed key in the witness");
            }
            let (signature, kind) = signature_of(signature)?;
            let key = PublicKey::from_slice(key).map_err(|_| "the key is none")?;
            if script.as_bytes()[2..] != WPubkeyHash::hash(&key.to_bytes()).to_byte_array() {
                return Err("the key is another one");
            }
            let hash = cache
                .p2wpkh_signature_hash(index, script, output.value, kind)
                .map_err(|_| "no such input")?;
            return verify(secp, hash.to_byte_array(), &signature, &key);
        }
        if script.is_p2pkh() {
            let parts: Option<Vec<&[u8]>> = input.script_sig.instructions_minimal().map(pushed).collect();
            let parts = parts.ok_or("the script is not a signature and a key")?;
            let [signature, key] = parts[..] else { return Err("the script is not a signature and a key") };
            if !input.witness.is_empty() {
                return Err("a witness where none belongs");
            }
            let (signature, kind) = signature_of(signature)?;
            let key = PublicKey::from_slice(key).map_err(|_| "the key is none")?;
            if script.as_bytes()[3..23] != PubkeyHash::hash(&key.to_bytes()).to_byte_array() {
                return Err("the key is another one");
            }
            let hash =
                cache.legacy_signature_hash(index, script, kind.to_u32()).map_err(|_| "no such input")?;
            return verify(secp, hash.to_byte_array(), &signature, &key);
        }
        if script.is_p2tr() {
            let items: Vec<&[u8]> = input.witness.iter().collect();
            let [signature] = items[..] else { return Err("not a spend by key") };
            if !input.script_sig.is_empty() {
                return Err("a script where none belongs");
            }
            let signature = taproot::Signature::from_slice(signature).map_err(|_| "the signature is none")?;
            let key = XOnlyPublicKey::from_slice(&script.as_bytes()[2..]).map_err(|_| "the key is none")?;
            // SIGHASH_SINGLE without its output is invalid in taproot; the hash's computation says so.
            let hash = cache
                .taproot_key_spend_signature_hash(index, &Prevouts::All(spent), signature.sighash_type)
                .map_err(|_| "the signature's hash type does not fit")?;
            let explicit = items[0].len() == 65;
            if explicit && signature.sighash_type == TapSighashType::Default {
                return Err("a hash type that must not be written");
            }
            let bytes: &schnorr::Signature = &signature.signature;
            return secp
                .verify_schnorr(bytes, &Message::from_digest(hash.to_byte_array()), &key)
                .map_err(|_| "the signature does not fit");
        }
        Err("a script that this chain cannot check")
    }

    fn pushed<'a, E>(part: Result<Instruction<'a>, E>) -> Option<&'a [u8]> {
        match part {
            Ok(Instruction::PushBytes(bytes)) => Some(bytes.as_bytes()),
            _ => None,
        }
    }

    /// Strict DER, a defined hash type, and low S are policy; the first is consensus (BIP 66). All are demanded here.
    fn signature_of(bytes: &[u8]) -> Result<(ecdsa::Signature, EcdsaSighashType), &'static str> {
        let signature = ecdsa::Signature::from_slice(bytes).map_err(|_| "the signature is none")?;
        Ok((signature, signature.sighash_type))
    }

    fn verify(
        secp: &Secp256k1<VerifyOnly>,
        hash: [u8; 32],
        signature: &ecdsa::Signature,
        key: &PublicKey,
    ) -> Result<(), &'static str> {
        // High S does not verify: libsecp256k1 takes the low one alone.
        secp.verify_ecdsa(&Message::from_digest(hash), &signature.signature, &key.inner)
            .map_err(|_| "the signature does not fit")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::key::{Keypair, TapTweak};
    use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
    use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
    use bitcoin::{
        Amount, CompressedPublicKey, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
        transaction,
    };

    use super::*;

    /// One input of each kind that the plain check knows, signed.
    fn signed() -> (Transaction, Vec<TxOut>) {
        let secp = Secp256k1::new();
        let keys = Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[5; 32]).unwrap());
        let public = CompressedPublicKey(keys.public_key());
        let scripts = [
            ScriptBuf::new_p2wpkh(&public.wpubkey_hash()),
            ScriptBuf::new_p2pkh(&public.pubkey_hash()),
            ScriptBuf::new_p2tr(&secp, keys.x_only_public_key().0, None),
        ];
        let spent: Vec<TxOut> = scripts
            .iter()
            .map(|script| TxOut { value: Amount::from_sat(10_000), script_pubkey: script.clone() })
            .collect();
        let input = (0..3).map(|vout| TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array([9; 32]), vout },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        });
        let mut transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: input.collect(),
            output: vec![TxOut { value: Amount::from_sat(20_000), script_pubkey: scripts[0].clone() }],
        };
        let all = EcdsaSighashType::All;
        let mut cache = SighashCache::new(&transaction);
        let zero = cache.p2wpkh_signature_hash(0, &scripts[0], spent[0].value, all).unwrap().to_byte_array();
        let one = cache.legacy_signature_hash(1, &scripts[1], all.to_u32()).unwrap().to_byte_array();
        let kind = TapSighashType::Default;
        let two =
            cache.taproot_key_spend_signature_hash(2, &Prevouts::All(&spent), kind).unwrap().to_byte_array();
        let ecdsa = |hash| bitcoin::ecdsa::Signature {
            signature: secp.sign_ecdsa(&Message::from_digest(hash), &keys.secret_key()),
            sighash_type: all,
        };
        let tweaked = keys.tap_tweak(&secp, None).to_keypair();
        let schnorr = secp.sign_schnorr_no_aux_rand(&Message::from_digest(two), &tweaked);
        transaction.input[0].witness = Witness::p2wpkh(&ecdsa(zero), &keys.public_key());
        transaction.input[1].script_sig = bitcoin::script::Builder::new()
            .push_slice(ecdsa(one).serialize())
            .push_key(&public.into())
            .into_script();
        transaction.input[2].witness.push(schnorr.serialize());
        (transaction, spent)
    }

    #[test]
    fn any_bit_that_is_changed_is_refused() {
        let (transaction, spent) = signed();
        assert_eq!(plain::check(&transaction, &spent), Ok(()));
        let bytes = bitcoin::consensus::serialize(&transaction);
        let mut refused = 0;
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = bitcoin::consensus::deserialize::<Transaction>(&bytes) else { continue };
            if changed.input.len() != 3 {
                continue;
            }
            assert!(check(&changed, &spent).is_err(), "bit {bit}");
            refused += 1;
        }
        assert!(refused > 1_000, "{refused}");
        let mut cheaper = spent.clone();
        cheaper[0].value = Amount::from_sat(9_999);
        assert!(plain::check(&transaction, &cheaper).is_err());
        let anyone = TxOut { value: spent[0].value, script_pubkey: ScriptBuf::from_bytes(vec![0x51]) };
        assert!(plain::check(&transaction, &[anyone, spent[1].clone(), spent[2].clone()]).is_err());
    }
}
