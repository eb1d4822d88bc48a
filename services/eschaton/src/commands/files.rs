//! Documents, and the proofs beside them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::Digest;
use sha2::digest::Output;

/// Files of one run: what is known of each is kept in memory.
const FILES_MAX: usize = 1_000_000;
/// Bytes read at a time.
const READ_BYTES: usize = 1 << 18;

/// What is looked for below directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// Everything but proofs.
    Documents,
    /// Files that end in `.ots`.
    Proofs,
}

/// The files that are meant: those that are named, whatever they are, and all that are sought below directories.
/// Links are followed when they are named.
pub(super) fn find(path: &Path, sought: Sought, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be read; check the path", path.display());
    if !fs::metadata(path).with_context(cannot)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let mut open = vec![path.to_owned()];
    while let Some(dir) = open.pop() {
        let cannot = || format!("{} cannot be read; check its rights", dir.display());
        for entry in fs::read_dir(&dir).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let kind = entry.file_type().with_context(cannot)?;
            let path = entry.path();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && is_proof(&path) == (sought == Sought::Proofs) {
                let too_many = match sought {
                    Sought::Documents => "files; stamp them in several runs",
                    Sought::Proofs => "proofs; check them in several runs",
                };
                ensure!(found.len() < FILES_MAX, "more than {FILES_MAX} {too_many}");
                found.push(path);
            }
        }
    }
    Ok(())
}

/// By its name.
pub(super) fn is_proof(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "ots")
}

/// Where a document's proof is.
pub(super) fn beside(document: &Path) -> PathBuf {
    let mut name = document.as_os_str().to_owned();
    name.push(".ots");
    name.into()
}

/// A file's digest, a bounded piece in memory at a time.
pub(super) fn digest<D: Digest>(path: &Path) -> io::Result<Output<D>> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (D::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize()),
            Ok(count) => hash.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
