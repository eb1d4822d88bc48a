use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use eschaton_ports::{Rng, Signer, SignerError};
use zeroize::Zeroizing;

use crate::home::sync_dir;

/// Seed in hexadecimal and a newline.
const KEY_FILE_BYTES: usize = 65;

/// Why a key file does not give a signer.
#[derive(Debug, thiserror::Error)]
pub enum SignerOpenError {
    /// The file system said no.
    #[error("key file {}: cannot {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Someone else can read the key.
    #[error(
        "key file {} is open to others (mode {mode:03o}); run `chmod 600 {}`, and make a new key if others may have read it",
        path.display(),
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key file.
    #[error("key file {} does not hold 64 hexadecimal digits; restore it from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Signs with an Ed25519 key from a file that only its owner may read: the 32-byte seed as 64
/// hexadecimal digits and a newline.
pub struct FileSigner(SigningKey);

impl FileSigner {
    /// Reads the key; makes and writes one from `rng` if there is no such file.
    pub fn open(path: &Path, rng: &dyn Rng) -> Result<Self, SignerOpenError> {
        Ok(Self(SigningKey::from_bytes(&*open_seed(path, rng)?)))
    }
}

/// Reads a 32-byte secret from a file that only its owner may read: 64 hexadecimal digits and a newline. Makes and
/// writes one from `rng` if there is no such file.
pub fn open_seed(path: &Path, rng: &dyn Rng) -> Result<Zeroizing<[u8; 32]>, SignerOpenError> {
    match File::open(path) {
        Ok(file) => read(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path, rng)?;
            let file = File::open(path).map_err(failed(path, "open it"))?;
            read(path, file)
        }
        Err(error) => Err(failed(path, "open it")(error)),
    }
}

fn read(path: &Path, file: File) -> Result<Zeroizing<[u8; 32]>, SignerOpenError> {
    let mode = file.metadata().map_err(failed(path, "see its mode"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SignerOpenError::Readable { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES + 1));
    let limit = u64::try_from(KEY_FILE_BYTES + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut text).map_err(failed(path, "read it"))?;
    let mut seed = Zeroizing::new([0_u8; 32]);
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    hex::decode_to_slice(digits, &mut *seed)
        .map_err(|_| SignerOpenError::Malformed { path: path.to_owned() })?;
    Ok(seed)
}

#[async_trait]
impl Signer for FileSigner {
    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.0.sign(message).to_bytes())
    }
}

/// Writes a whole key beside the file and links it into place: a crash leaves no half key, and an
/// existing key is never replaced.
fn create(path: &Path, rng: &dyn Rng) -> Result<(), SignerOpenError> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    rng.fill(&mut *seed);
    let mut text = Zeroizing::new(hex::encode(*seed));
    text.push('\n');

    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(beside, "remove what a crash left")(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)
        .map_err(failed(beside, "create it"))?;
    file.write_all(text.as_bytes()).map_err(failed(beside, "write it"))?;
    file.sync_all().map_err(failed(beside, "sync it"))?;
    fs::hard_link(beside, path).map_err(failed(path, "put the new key there"))?;
    fs::remove_file(beside).map_err(failed(beside, "remove it"))?;
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(parent).map_err(failed(parent, "sync the directory"))
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> SignerOpenError {
    move |source| SignerOpenError::Io { path: path.to_owned(), what, source }
}
