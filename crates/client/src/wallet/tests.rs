#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec()).unwrap()
}

fn error_of<T>(result: Result<T, WalletError>) -> WalletError {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error,
    }
}

#[test]
fn a_new_wallet_is_private_and_never_replaces_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/wallet.json");
    let wallet = Wallet::create(&path, Network::Dev, None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert!(matches!(
        error_of(Wallet::create(&path, Network::Dev, None)),
        WalletError::File(FileError::Exists { .. })
    ));
    let again = Wallet::open(&path).unwrap();
    assert_eq!(again.addresses(), wallet.addresses());
    assert_eq!(again.protection(), "file mode 0600 alone");
    assert!(again.unlock(None).unwrap().get(&wallet.latest_address()).is_some());
}

#[test]
fn a_wallet_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    Wallet::create(&path, Network::Dev, None).unwrap();
    for mode in [0o604, 0o640, 0o660, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = error_of(Wallet::open(&path));
        assert!(error.to_string().contains("chmod 600"), "{mode:o}: {error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Wallet::open(&path).unwrap();
}

#[test]
fn encrypted_keys_need_their_passphrase_and_an_unchanged_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    let right = passphrase("correct horse");
    let mut wallet = Wallet::create(&path, Network::Test, Some(&right)).unwrap();
    let first = wallet.latest_address();
    let second = wallet.add_address(Some(&right)).unwrap();
    let wallet = Wallet::open(&path).unwrap();
    assert_eq!(wallet.addresses(), [first, second]);
    let keys = wallet.unlock(Some(&right)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (_, key) in keys.iter() {
        assert!(!text.contains(&hex::encode(key.secret_bytes())), "a secret is in the clear");
    }
    assert!(matches!(error_of(wallet.unlock(None)), WalletError::PassphraseNeeded));
    assert!(matches!(error_of(wallet.unlock(Some(&passphrase("wrong")))), WalletError::WrongPassphrase));
    // An address put in by someone else's hand is noticed.
    let stranger = Key::from_secret([9; 32]).unwrap().address();
    let changed = text.replace(&first.to_text(Network::Test), &stranger.to_text(Network::Test));
    fs::write(&path, changed).unwrap();
    let changed = Wallet::open(&path).unwrap();
    assert!(matches!(error_of(changed.unlock(Some(&right))), WalletError::WrongPassphrase));
}

#[test]
fn keys_added_by_two_commands_are_both_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    let mut one = Wallet::create(&path, Network::Dev, None).unwrap();
    let mut two = Wallet::open(&path).unwrap();
    let (a, b) = (one.add_address(None).unwrap(), two.add_address(None).unwrap());
    let addresses = Wallet::open(&path).unwrap().addresses().to_vec();
    assert!(addresses.contains(&a) && addresses.contains(&b) && addresses.len() == 3);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_file_is_refused_without_quoting_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    Wallet::create(&path, Network::Dev, None).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let keys = Wallet::open(&path).unwrap().unlock(None).unwrap();
    let secret = hex::encode(keys.iter().next().unwrap().1.secret_bytes());
    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("\"dev\"", "\"main\""),
        ("eschaton-wallet", "other"),
        ("\"keys\": [", "\"keys\": [["),
        ("\"keys\"", "\"more\""),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = error_of(Wallet::open(&path)).to_string();
        assert!(!error.contains(&secret), "{error}");
    }
    fs::write(&path, text.replace(&secret, &"11".repeat(32))).unwrap();
    assert!(matches!(error_of(Wallet::open(&path).unwrap().unlock(None)), WalletError::Content { .. }));
}

#[test]
fn passphrase_files_are_private_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passphrase");
    fs::write(&path, "secret\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        error_of(Passphrase::from_file(&path)),
        WalletError::File(FileError::NotPrivate { .. })
    ));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Passphrase::from_file(&path).unwrap().bytes(), b"secret");
    fs::write(&path, "\n").unwrap();
    assert!(matches!(error_of(Passphrase::from_file(&path)), WalletError::PassphraseLength));
}
