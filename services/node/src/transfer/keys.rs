//! The node's keys: in an export only when they were asked for.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, ensure};
use zeroize::Zeroizing;

use super::make_private;
use crate::identity::{ISSUER_FILE, NODE_KEY, write_durably};

/// Their directory in an export.
const DIR: &str = "keys";
const FILES: [&str; 2] = [NODE_KEY, ISSUER_FILE];

/// Copies the keys that there are into an export, readable by this user alone.
pub(super) fn store(keys_dir: &Path, export: &Path) -> anyhow::Result<()> {
    let dir = export.join(DIR);
    make_private(&dir)?;
    for name in FILES {
        if let Some(key) = read(&keys_dir.join(name))? {
            write_durably(&dir, name, &key, 0o600)?;
        }
    }
    Ok(())
}

/// Whether an export has keys.
pub(super) fn are_in(export: &Path) -> bool {
    export.join(DIR).is_dir()
}

/// Puts an export's keys where they are missing, and makes sure that there is the node's. Another key that is there is
/// not touched.
pub(super) fn bring(export: &Path, keys_dir: &Path) -> anyhow::Result<()> {
    make_private(keys_dir)?;
    for name in FILES {
        let (path, from) = (keys_dir.join(name), export.join(DIR).join(name));
        match (read(&path)?, read(&from)?) {
            (None, Some(key)) => write_durably(keys_dir, name, &key, 0o600)?,
            (Some(there), Some(key)) => ensure!(
                there.trim_ascii() == key.trim_ascii(),
                "{} is another key than the export's; if it is of no use (`eschaton migrate` makes one), remove it and \
                 repeat the command",
                path.display()
            ),
            (None, None) => ensure!(
                name != NODE_KEY,
                "{} is missing, and the export has no keys; copy the source's {NODE_KEY} there with mode 0600, or export \
                 --with-keys",
                path.display()
            ),
            (Some(_), None) => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}
