//! A transaction from outside: judged without panic, and of one form only.
#![no_main]

use bytes::Bytes;
use eschaton_types::{Key, Network, Rules, Transaction, TxId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(transaction) = Transaction::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(transaction.txid, TxId::of_body(&transaction.body.encode()));
    let again = Transaction::assemble(&transaction.body, &transaction.witness).expect("decoded once already");
    assert_eq!(again.bytes, data, "two forms of one transaction");

    // The issuer of the golden vectors, so that the fuzzer's seeds pass.
    let issuer = Key::from_secret([0x70; 32]).expect("valid");
    let native_issuer = Some(issuer.address());
    let networks = [Network::Main, Network::Test, Network::Dev];
    let accepts = |network: &Network| transaction.check(&Rules { network: *network, native_issuer }).is_ok();
    let accepting = networks.into_iter().filter(accepts).count();
    assert!(accepting <= 1, "one transaction passes on two networks");
    let signed = transaction.verify_signatures().is_ok();
    if accepting == 1 && signed {
        assert!(transaction.body.created().is_ok(), "accepted, and its sums overflow");
        assert!(transaction.is_issuance() != transaction.body.consumed().next().is_some());
    }
});
