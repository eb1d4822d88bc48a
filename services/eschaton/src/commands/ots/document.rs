//! Documents and the proofs beside them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::super::files::{self, beside, is_proof};
use anyhow::{Context, bail, ensure};
use eschaton_ots::{DetachedFile, FILE_BYTES_MAX, FileHash, MAGIC};
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Keccak256;

/// A proof, and the document that it is of, by name.
pub(super) struct Pair {
    pub(super) ots: PathBuf,
    pub(super) document: PathBuf,
    pub(super) proof: DetachedFile,
}

/// Reads the proof at `path`, or the one beside the document at `path`. What it is, its content says.
pub(super) fn open(path: &Path, document: Option<&PathBuf>) -> anyhow::Result<Pair> {
    let bytes = read(path)?;
    if let Some(bytes) = bytes {
        let proof = DetachedFile::from_bytes(&bytes)
            .with_context(|| format!("{} is damaged or no proof", path.display()))?;
        let document = match document {
            Some(document) => document.clone(),
            None => {
                let stem = path.file_stem().filter(|_| is_proof(path));
                let stem = stem.with_context(|| {
                    format!("{} does not end in .ots; name its document with --document", path.display())
                })?;
                path.with_file_name(stem)
            }
        };
        return Ok(Pair { ots: path.to_owned(), document, proof });
    }
    let ots = beside(path);
    let bytes = match ots.symlink_metadata().is_ok() {
        true => read(&ots)?,
        false => None,
    };
    let Some(bytes) = bytes else {
        bail!(
            "{} is no .ots file and has none beside it; stamp it first, or for another proof use eschaton verify inclusion, output or consistency",
            path.display()
        );
    };
    ensure!(document.is_none(), "{} is a document itself; leave out --document", path.display());
    let proof = DetachedFile::from_bytes(&bytes)
        .with_context(|| format!("{} is damaged or no proof", ots.display()))?;
    Ok(Pair { ots, document: path.to_owned(), proof })
}

/// A whole `.ots` file; none when its first bytes are of something else.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let cannot = || format!("{} cannot be read; check the path", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut bytes = Vec::new();
    (&mut file).take(u64::try_from(MAGIC.len())?).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes != MAGIC {
        return Ok(None);
    }
    // One more than allowed, so that the reader sees that it is too long.
    file.take(u64::try_from(FILE_BYTES_MAX)?).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(Some(bytes))
}

/// The document's digest.
pub(super) fn digest(path: &Path, hash: FileHash) -> anyhow::Result<Vec<u8>> {
    match hash {
        FileHash::Sha1 => hashed::<Sha1>(path),
        FileHash::Ripemd160 => hashed::<Ripemd160>(path),
        FileHash::Sha256 => hashed::<Sha256>(path),
        FileHash::Keccak256 => hashed::<Keccak256>(path),
    }
}

fn hashed<D: Digest>(path: &Path) -> anyhow::Result<Vec<u8>> {
    let hash = files::digest::<D>(path);
    let hash = hash.with_context(|| {
        format!("document {} cannot be read; name it with --document if it is elsewhere", path.display())
    })?;
    Ok(hash.to_vec())
}

/// Puts a proof in the place of the one that is there: whole, or not at all.
pub(super) fn replace(path: &Path, proof: &DetachedFile) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written; it is as it was", path.display());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let bytes = proof.to_bytes()?;
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(cannot)
}
