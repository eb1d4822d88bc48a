//! Files that survive a crash whole: written beside, synced, then put in place in one step.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a command waits for another one that holds the same wallet.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system said no.
    #[error("cannot {action} {}: {source}; check the path, its permissions and the free space", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new file would take the place of another.
    #[error("{} exists already; choose another name, nothing is overwritten", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// No such file.
    #[error("{} does not exist; {advice}", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// How to make it.
        advice: &'static str,
    },
    /// Others than the owner may read a secret.
    #[error("{} may be read by others (mode {mode:03o}); its secrets may be known: run `chmod 600 {}`", path.display(), path.display())]
    NotPrivate {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than anything that belongs there.
    #[error("{} is longer than {max} bytes and so is no {what}; check the path", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// The bound.
        max: u64,
        /// What was looked for.
        what: &'static str,
    },
    /// Another process holds the lock.
    #[error("another command has used {} for {waited_s} seconds; wait for it to end and try again", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
        /// How long it was waited for.
        waited_s: u64,
    },
}

pub(crate) fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::Io { action, path: path.to_owned(), source }
}

/// Held while a wallet's files change; released when dropped, or when the process ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// Waits a bounded time for the lock that guards `path`, and takes it.
#[allow(
    clippy::disallowed_methods,
    reason = "waits for another process in real time, with a deadline; the file system tells no event"
)]
pub(crate) fn lock(path: &Path) -> Result<FileLock, FileError> {
    let guard = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&guard)
        .map_err(io_error("open the lock", &guard))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(FileLock { _file: file }),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => {
                return Err(FileError::Locked { path: path.to_owned(), waited_s: LOCK_WAIT.as_secs() });
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &guard)(error)),
        }
    }
}

/// `path` with `suffix` after its whole name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of `path`, for syncing.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory entry durable.
fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = folder(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync the folder", folder))
}

/// Creates missing folders, private to their owner.
pub(crate) fn private_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create the folder", path))?;
    sync_folder(path)
}

/// Creates missing folders above `path`, private to their owner.
pub(crate) fn private_parent(path: &Path) -> Result<(), FileError> {
    private_folder(folder(path))
}

/// A synced file of mode 0600 beside `path`, not yet in its place.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, FileError> {
    let random = getrandom::u64().map_err(|error| io_error("name a new file beside", path)(error.into()))?;
    let temporary = beside(path, &format!(".{random:016x}.tmp"));
    let write = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    if let Err(error) = write() {
        // Best effort: what is left over is ours, private and never read.
        let _ = fs::remove_file(&temporary);
        return Err(io_error("write", path)(error));
    }
    Ok(temporary)
}

/// Creates `path` with mode 0600; on return it is durable. Never replaces a file.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = write_beside(path, bytes)?;
    // A link fails when the name is taken, and shows the whole file or nothing.
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(FileError::Exists { path: path.to_owned() });
        }
        Err(error) => return Err(io_error("create", path)(error)),
        Ok(()) => removed.map_err(io_error("remove", &temporary))?,
    }
    sync_folder(path)
}

/// Puts new content in the place of `path` in one step, mode 0600; on return it is durable.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = write_beside(path, bytes)?;
    if let Err(error) = fs::rename(&temporary, path) {
        // As above.
        let _ = fs::remove_file(&temporary);
        return Err(io_error("replace", path)(error));
    }
    sync_folder(path)
}

/// Removes `path` if it is there; on return that is durable.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => sync_folder(path),
    }
}

/// What a file is and how to get it, for errors.
pub(crate) struct Kind {
    pub(crate) what: &'static str,
    pub(crate) advice: &'static str,
    pub(crate) max: u64,
}

/// Reads a bounded file.
pub(crate) fn read(path: &Path, kind: &Kind) -> Result<Vec<u8>, FileError> {
    read_open(&open(path, kind)?, path, kind)
}

/// Reads a bounded file that holds secrets. Refuses one that group or others may touch.
pub(crate) fn read_private(path: &Path, kind: &Kind) -> Result<Vec<u8>, FileError> {
    let file = open(path, kind)?;
    let mode = file.metadata().map_err(io_error("inspect", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::NotPrivate { path: path.to_owned(), mode });
    }
    read_open(&file, path, kind)
}

fn open(path: &Path, kind: &Kind) -> Result<File, FileError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(FileError::Missing { path: path.to_owned(), advice: kind.advice })
        }
        opened => opened.map_err(io_error("open", path)),
    }
}

fn read_open(mut file: &File, path: &Path, kind: &Kind) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    Read::take(&mut file, kind.max + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > kind.max) {
        return Err(FileError::TooLong { path: path.to_owned(), max: kind.max, what: kind.what });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KIND: Kind = Kind { what: "test", advice: "make it", max: 8 };

    #[test]
    fn creating_never_overwrites_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, b"one").unwrap();
        assert!(matches!(create(&path, b"two"), Err(FileError::Exists { .. })));
        assert_eq!(read_private(&path, &KIND).unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path, &KIND).unwrap(), b"three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "temporaries are gone");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(matches!(read(&path, &KIND), Err(FileError::Missing { .. })));
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, b"old").unwrap();
        // The name of a folder cannot be replaced by a file, so the last step fails.
        let blocked = folder.path().join("b");
        fs::create_dir(&blocked).unwrap();
        assert!(replace(&blocked, b"new").is_err());
        assert_eq!(read(&path, &KIND).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "temporaries are gone");
    }

    #[test]
    fn long_and_public_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, b"123456789").unwrap();
        assert!(matches!(read(&path, &KIND), Err(FileError::TooLong { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_private(&path, &KIND).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}
