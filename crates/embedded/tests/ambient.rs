//! Clock, randomness and signer of one machine.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ed25519_dalek::{Signature, VerifyingKey};
use eschaton_embedded::{FileSigner, OsRng, SignerOpenError, SystemClock};
use eschaton_ports::Signer;
use eschaton_ports::conformance::ambient as suite;

fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let key = VerifyingKey::from_bytes(key).unwrap();
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

#[tokio::test]
async fn clock_and_randomness_conform() {
    suite::run_clock(&SystemClock).await;
    suite::run_rng(&OsRng::new().unwrap());
}

#[tokio::test]
async fn signer_conforms_and_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.key");
    let rng = OsRng::new().unwrap();
    // What a crash while making a key leaves behind is no obstacle.
    fs::write(dir.path().join("node.key.new"), "half a k").unwrap();
    let signer = FileSigner::open(&path, &rng).unwrap();
    suite::run_signer(&signer, verify).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the key");
    assert_eq!(FileSigner::open(&path, &rng).unwrap().public_key(), signer.public_key());
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.key");
    let rng = OsRng::new().unwrap();
    FileSigner::open(&path, &rng).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = FileSigner::open(&path, &rng).err().unwrap();
        assert!(matches!(error, SignerOpenError::Readable { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for text in [&b""[..], b"abc\n", &[b'0'; 63], &[b'0'; 66], &[b'x'; 64]] {
        fs::write(&path, text).unwrap();
        let error = FileSigner::open(&path, &rng).err().unwrap();
        assert!(matches!(error, SignerOpenError::Malformed { .. }), "{error}");
    }
}
