//! Checkpoints, signed notes, verifier keys and map leaves: read without panic, of one form only.
#![no_main]

use bytes::Bytes;
use eschaton_proof::{CheckpointBody, LeafValue, NoteSigner, VerifierKey};
use libfuzzer_sys::fuzz_target;

fn text_forms(text: &str, signer: &NoteSigner) {
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    let Ok(body) = CheckpointBody::parse(text) else { return };
    assert_eq!(body.to_string(), text);
    let signer = if body.origin == signer.verifier().name() {
        signer
    } else {
        assert!(signer.sign(body).is_err(), "signed for another log");
        return;
    };
    let signed = signer.sign(body.clone()).expect("its own origin");
    let opened = signer.verifier().open(signed.note()).expect("its own note");
    assert_eq!(*opened.body(), body);
    let other = NoteSigner::new(signer.verifier().name(), &[8; 32]).expect("a plain name");
    assert!(other.verifier().open(signed.note()).is_err(), "another key's signature passes");
}

fuzz_target!(|data: &[u8]| {
    let signer = NoteSigner::new("fuzz.example", &[7; 32]).expect("a plain name");
    assert!(signer.verifier().open(&Bytes::copy_from_slice(data)).is_err(), "a note that nobody signed");
    if let Ok(text) = str::from_utf8(data) {
        text_forms(text, &signer);
    }
    if let Ok(value) = LeafValue::from_bytes(data) {
        assert_eq!(value.to_bytes(), data, "two forms of one leaf");
        let mut rest = data;
        LeafValue::skip(&mut rest).expect("it was read");
        assert!(rest.is_empty(), "skipped another length than was read");
    }
});
