use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fjall::{CompressionType, Database};

use crate::journal::{self, MARK_KEY, Mark, Scan, Tolerance};

const HEADER: &str = "header";
/// The engine's own directory.
pub(crate) const ENGINE: &str = "engine";

/// Why a directory does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two owners of one directory would each believe that they are alone.
    #[error("{} is in use by another process; stop that one, or use another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The shard count is fixed when a log is made: every owner's shard follows from it.
    #[error(
        "log in {} has {recorded} shards, but {asked} were asked for; start with {recorded}, or with an empty directory",
        dir.display()
    )]
    Shards {
        /// The directory.
        dir: PathBuf,
        /// Shards at first open.
        recorded: u32,
        /// Shards asked for now.
        asked: u32,
    },
    /// The options make no sense.
    #[error("cannot open {}: {detail}", dir.display())]
    Options {
        /// The directory.
        dir: PathBuf,
        /// What to set otherwise.
        detail: String,
    },
    /// Not a directory of this kind and format.
    #[error("{} is not usable: {detail}", path.display())]
    Foreign {
        /// What was looked at.
        path: PathBuf,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// Data that was acknowledged is damaged or missing. Nothing was changed on disk.
    #[error("{} is damaged: {detail}; {remedy}", path.display())]
    Damaged {
        /// What was looked at.
        path: PathBuf,
        /// What was found.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The file system said no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The engine said no.
    #[error("engine in {} does not open: {detail}; see to its disk", dir.display())]
    Engine {
        /// The directory.
        dir: PathBuf,
        /// What it said.
        detail: String,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), what, source }
    }

    fn engine(dir: &Path) -> impl Fn(fjall::Error) -> Self {
        move |error| match error {
            fjall::Error::Locked => Self::InUse { dir: dir.to_owned() },
            other => Self::Engine { dir: dir.to_owned(), detail: format!("{other:?}") },
        }
    }
}

/// What a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The truth, in this many shards.
    Log { shards: u32 },
    /// A view.
    Store,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Log { .. } => "log",
            Kind::Store => "store",
        }
    }

    /// Of the directory's layout: which keyspaces there are and what is in them.
    fn format(self) -> u32 {
        match self {
            // Since there are timestamps.
            Kind::Log { .. } => 2,
            // Since tables are cut into pieces.
            Kind::Store => 2,
        }
    }

    /// The oldest format that is brought up to date by opening it: it lacks keyspaces and nothing else.
    fn oldest_format(self) -> u32 {
        match self {
            Kind::Log { .. } => 1,
            Kind::Store => 2,
        }
    }

    /// What to do about damage.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Kind::Log { .. } => "restore the directory from a backup or a replica",
            Kind::Store => "delete the directory and start again, it is rebuilt from the log",
        }
    }

    fn tolerance(self) -> Tolerance {
        match self {
            Kind::Log { .. } => Tolerance::LastBatch,
            Kind::Store => Tolerance::Tail,
        }
    }
}

/// How much of the machine an engine may use.
pub(crate) struct EngineOptions {
    pub(crate) cache_bytes: u64,
    pub(crate) journal_bytes_max: u64,
}

/// A directory that is ours alone, its journals checked, its engine open.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) db: Database,
    pub(crate) mark: Mark,
    pub(crate) scan: Scan,
    /// First open: nothing was ever acknowledged.
    pub(crate) created: bool,
    /// As its header says; of this program when it is new.
    format: u32,
    /// Hold it until the engine is closed.
    pub(crate) lock: File,
}

impl Home {
    /// Locks the directory, checks header and journals, and opens the engine. A directory opened for
    /// the first time has no header until [`Home::seal`].
    pub(crate) fn open(dir: &Path, kind: Kind, options: &EngineOptions) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::io(dir, "create directory"))?;
        let lock = lock(dir)?;
        let engine = dir.join(ENGINE);
        let recorded = read_header(dir)?;
        let created = recorded.is_none();
        let (mark, format) = match recorded {
            Some(Header { kind: recorded, format, mark }) => {
                check_kind(dir, recorded, kind)?;
                (mark, format)
            }
            None => {
                remove_half_made(&engine, kind)?;
                (Mark::new().map_err(OpenError::io(dir, "get randomness for"))?, kind.format())
            }
        };
        let scan = if created {
            Scan::default()
        } else {
            if !engine.join("version").is_file() {
                let detail = "the engine's `version` file is missing".to_owned();
                return Err(OpenError::Damaged { path: engine, detail, remedy: kind.remedy() });
            }
            journal::check(&engine, dir, &mark, kind.tolerance(), kind.remedy())?
        };
        let db = Database::builder(&engine)
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes_max.max(64 << 20))
            // Hashes and signatures do not compress, and the journal is on the path of every commit.
            .journal_compression(CompressionType::None)
            // With more, fjall's first hands every merge back to the queue at once, again and again while another works.
            .worker_threads(1)
            .open()
            .map_err(OpenError::engine(&engine))?;
        Ok(Self { dir: dir.to_owned(), kind, db, mark, scan, created, format, lock })
    }

    /// A keyspace, made at first open. Later its absence is damage: fjall deletes a keyspace that it
    /// cannot read the state of, and would say nothing.
    pub(crate) fn keyspace(
        &self,
        name: &str,
        options: impl FnOnce() -> fjall::KeyspaceCreateOptions,
    ) -> Result<fjall::Keyspace, OpenError> {
        self.keyspace_since(0, name, options)
    }

    /// As [`Home::keyspace`], of one that directories have since this format: an older one gets it now.
    pub(crate) fn keyspace_since(
        &self,
        format: u32,
        name: &str,
        options: impl FnOnce() -> fjall::KeyspaceCreateOptions,
    ) -> Result<fjall::Keyspace, OpenError> {
        if !self.created && self.format >= format && !self.db.keyspace_exists(name) {
            return Err(self.damaged(format!("keyspace {name} is missing")));
        }
        self.db.keyspace(name, options).map_err(OpenError::engine(&self.dir))
    }

    /// Ends opening, once all keyspaces are there. At first open, writes the header: from now on
    /// whatever is missing is damage; so too when an older directory got what it lacked. Later, checks that tables
    /// and journals tell the same story.
    /// Gives the sequence of the last batch, 0 before the first.
    pub(crate) fn seal(&self, marks: &fjall::Keyspace) -> Result<u64, OpenError> {
        if self.created || self.format < self.kind.format() {
            write_header(&self.dir, self.kind, self.kind.format(), &self.mark)?;
        }
        let stored = marks.get(MARK_KEY).map_err(OpenError::engine(&self.dir))?;
        let stored = match stored {
            Some(value) => {
                Some(self.mark.sequence(&value).ok_or_else(|| self.damaged("its mark is another's".into()))?)
            }
            None => None,
        };
        if self.scan.last_sequence.is_some() && self.scan.last_sequence != stored {
            return Err(self.damaged(format!(
                "journals end at batch {:?}, tables at {stored:?}",
                self.scan.last_sequence
            )));
        }
        Ok(stored.unwrap_or(0))
    }

    /// Ends opening as a program of an older format did.
    #[cfg(test)]
    pub(crate) fn seal_as(&self, format: u32) -> Result<(), OpenError> {
        write_header(&self.dir, self.kind, format, &self.mark)
    }

    pub(crate) fn damaged(&self, detail: String) -> OpenError {
        OpenError::Damaged { path: self.dir.clone(), detail, remedy: self.kind.remedy() }
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(OpenError::io(&path, "open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, what: "lock", source }),
    }
}

fn check_kind(dir: &Path, recorded: Kind, asked: Kind) -> Result<(), OpenError> {
    match (recorded, asked) {
        _ if recorded == asked => Ok(()),
        (Kind::Log { shards: recorded }, Kind::Log { shards: asked }) => {
            Err(OpenError::Shards { dir: dir.to_owned(), recorded, asked })
        }
        _ => Err(OpenError::Foreign {
            path: dir.to_owned(),
            detail: format!("it holds a {}, not a {}; use another directory", recorded.name(), asked.name()),
        }),
    }
}

/// An engine without a header was being made when the machine stopped, and holds nothing: fjall would
/// stumble over it. One that does hold something has lost its header.
fn remove_half_made(engine: &Path, kind: Kind) -> Result<(), OpenError> {
    if !engine.exists() {
        return Ok(());
    }
    if journal::holds_data(engine).map_err(OpenError::io(engine, "look through"))? {
        let detail = "it holds data, but the header beside it is missing".to_owned();
        return Err(OpenError::Damaged { path: engine.to_owned(), detail, remedy: kind.remedy() });
    }
    fs::remove_dir_all(engine).map_err(OpenError::io(engine, "remove what a crash left in"))
}

/// What a directory says of itself.
struct Header {
    kind: Kind,
    format: u32,
    mark: Mark,
}

fn header_text(kind: Kind, format: u32, mark: &Mark) -> String {
    let shards = match kind {
        Kind::Log { shards } => format!("shards {shards}\n"),
        Kind::Store => String::new(),
    };
    let text = format!("eschaton {}\nformat {format}\n{shards}mark {}\n", kind.name(), mark.to_hex());
    let check = crc32fast::hash(text.as_bytes());
    format!("{text}check {check:08x}\n")
}

fn read_header(dir: &Path) -> Result<Option<Header>, OpenError> {
    let path = dir.join(HEADER);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(&path, "read")(error)),
    };
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default()
    };
    let kind = match field("eschaton") {
        // A number that does not parse is found below, where the header is written back.
        "log" => Some(Kind::Log { shards: field("shards").parse().unwrap_or(0) }),
        "store" => Some(Kind::Store),
        _ => None,
    };
    let format = field("format").parse::<u32>().ok();
    if let (Some(kind), Some(format)) = (kind, format)
        && !(kind.oldest_format()..=kind.format()).contains(&format)
    {
        let remedy = if format > kind.format() { "use a newer program" } else { kind.remedy() };
        let detail = format!("it has format {format}, this program writes {}; {remedy}", kind.format());
        return Err(OpenError::Foreign { path, detail });
    }
    let header = || Some(Header { kind: kind?, format: format?, mark: Mark::from_hex(field("mark"))? });
    header()
        // Written back it must be the same to the byte, its check sum included.
        .filter(|header| header_text(header.kind, header.format, &header.mark) == text)
        .map(Some)
        .ok_or_else(|| OpenError::Damaged {
            path,
            detail: "it is not a header as written".to_owned(),
            remedy: "restore the directory from a backup or a replica, a store from the log",
        })
}

fn write_header(dir: &Path, kind: Kind, format: u32, mark: &Mark) -> Result<(), OpenError> {
    let (path, beside) = (dir.join(HEADER), dir.join("header.new"));
    // Readable by the owner alone: who knows the secret could forge marks inside payloads.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(OpenError::io(&beside, "create"))?;
    file.write_all(header_text(kind, format, mark).as_bytes()).map_err(OpenError::io(&beside, "write"))?;
    file.sync_all().map_err(OpenError::io(&beside, "sync"))?;
    fs::rename(&beside, &path).map_err(OpenError::io(&path, "put in place"))?;
    sync_dir(dir).map_err(OpenError::io(dir, "sync directory"))?;
    let parent = dir.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(parent).map_err(OpenError::io(parent, "sync directory"))
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
