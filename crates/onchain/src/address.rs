use bitcoin::bech32::{self, Hrp};
use bitcoin::{Address, Network, Script, base58};
use eschaton_ports::chain::{ChainIdentity, ChainNetwork, Coin};

/// The text of the address with this script; none for a script that has no address. Litecoin's prefixes and versions are
/// those of Litecoin Core's `chainparams.cpp`.
pub fn address(identity: &ChainIdentity, script: &Script) -> Option<String> {
    let network = match identity.network {
        ChainNetwork::Main => Network::Bitcoin,
        ChainNetwork::Test => Network::Testnet,
        ChainNetwork::Regtest => Network::Regtest,
    };
    if identity.coin == Coin::Bitcoin {
        return Address::from_script(script, network).ok().map(|address| address.to_string());
    }
    let (prefix, key_hash, script_hash) = match identity.network {
        ChainNetwork::Main => ("ltc", 0x30, 0x32),
        ChainNetwork::Test => ("tltc", 0x6f, 0x3a),
        ChainNetwork::Regtest => ("rltc", 0x6f, 0x3a),
    };
    let bytes = script.as_bytes();
    if let Some(version) = script.witness_version() {
        let version = bech32::Fe32::try_from(version.to_num()).ok()?;
        return bech32::segwit::encode(Hrp::parse(prefix).ok()?, version, bytes.get(2..)?).ok();
    }
    let hashed = |version: u8, hash: &[u8]| base58::encode_check(&[&[version], hash].concat());
    match () {
        () if script.is_p2pkh() => Some(hashed(key_hash, bytes.get(3..23)?)),
        () if script.is_p2sh() => Some(hashed(script_hash, bytes.get(2..22)?)),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::hashes::Hash;
    use bitcoin::{BlockHash, PubkeyHash, ScriptBuf, ScriptHash, WPubkeyHash};

    use super::*;

    fn identity(coin: Coin, network: ChainNetwork) -> ChainIdentity {
        ChainIdentity { coin, network, genesis: BlockHash::all_zeros() }
    }

    /// The script of the secret key 0x0101…01, whose addresses litecoind and bitcoind print in the engines' script.
    #[test]
    fn litecoin_has_its_own_texts() {
        let hash = "79b000887626b294a914501a4cd226b58b235983";
        let script = ScriptBuf::new_p2wpkh(&hash.parse::<WPubkeyHash>().unwrap());
        let text = |coin, network| address(&identity(coin, network), &script).unwrap();
        assert_eq!(
            text(Coin::Bitcoin, ChainNetwork::Regtest),
            "bcrt1q0xcqpzrky6eff2g52qdye53xkk9jxkvrl4xfg5"
        );
        assert_eq!(
            text(Coin::Litecoin, ChainNetwork::Regtest),
            "rltc1q0xcqpzrky6eff2g52qdye53xkk9jxkvrpcuql2"
        );
        assert!(text(Coin::Litecoin, ChainNetwork::Main).starts_with("ltc1q"));
        let old =
            |script: ScriptBuf| address(&identity(Coin::Litecoin, ChainNetwork::Main), &script).unwrap();
        assert!(old(ScriptBuf::new_p2pkh(&PubkeyHash::all_zeros())).starts_with('L'));
        assert!(old(ScriptBuf::new_p2sh(&ScriptHash::all_zeros())).starts_with('M'));
        let none = ScriptBuf::new_op_return([1; 32]);
        assert_eq!(address(&identity(Coin::Litecoin, ChainNetwork::Main), &none), None);
    }
}
