//! Frees flushed write buffers, and deletes merged files, where nobody waits.
//!
//! fjall drops both under the lock that every reader and writer of their keyspace takes. A buffer is freed row by row, about
//! 2 ms for each MiB, and as the engine's threads yield to those who answer, several times that on busy cores. Who holds them a
//! little longer than the engine does drops them instead.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fjall::{AbstractTree, Keyspace};

use crate::background::{self, Repeated};

/// Between two looks. A buffer lives for longer than this under any load: the engine drops one when it flushes the next.
const EVERY: Duration = Duration::from_millis(25);

/// Lists of files that are held: the engine drops the one before last at its next change.
const LISTS: usize = 4;

/// Drops the buffers and files of an engine's keyspaces.
pub(crate) fn free(engine: &str, keyspaces: impl IntoIterator<Item = Keyspace>) -> io::Result<Repeated> {
    let mut watched: Vec<Buffers> = keyspaces.into_iter().map(Buffers::of).collect();
    Repeated::start(format!("{engine}-buffers"), EVERY, move || {
        background::yields();
        move || watched.iter_mut().for_each(Buffers::look)
    })
}

/// One keyspace's buffers that are not freed, the one that is written to last, and its newest lists of files.
struct Buffers {
    keyspace: Keyspace,
    held: Vec<Arc<dyn Any + Send + Sync>>,
    files: VecDeque<(u64, Box<dyn Any + Send>)>,
}

impl Buffers {
    fn of(keyspace: Keyspace) -> Self {
        Self { keyspace, held: Vec::new(), files: VecDeque::new() }
    }

    /// Takes hold of what is in use, and drops what nobody else has any more.
    fn look(&mut self) {
        let written: Arc<dyn Any + Send + Sync> = self.keyspace.tree.active_memtable();
        let known = self.held.last().is_some_and(|last| Arc::ptr_eq(last, &written));
        if !known {
            self.held.push(written);
        }
        self.held.retain(|buffer| Arc::strong_count(buffer) > 1);

        let files = self.keyspace.tree.current_version();
        if self.files.back().is_none_or(|(id, _)| *id != files.id()) {
            self.files.push_back((files.id(), Box::new(files)));
            if self.files.len() > LISTS {
                self.files.pop_front();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fjall::{Database, KeyspaceCreateOptions};

    use super::*;

    #[test]
    fn a_buffer_that_the_engine_drops_is_freed_here() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::builder(dir.path()).open().unwrap();
        let keyspace = db.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
        let mut buffers = Buffers::of(keyspace.clone());
        for round in 0..8_u32 {
            buffers.look();
            keyspace.insert(round.to_be_bytes(), "row").unwrap();
            keyspace.rotate_memtable_and_wait().unwrap();
        }
        // The engine's last hold on a spent buffer ends with the next flush.
        let before: Vec<_> = buffers.held.iter().map(Arc::downgrade).collect();
        let held_by =
            |holders: usize| before.iter().filter(|buffer| buffer.strong_count() == holders).count();
        let dropped = held_by(1);
        buffers.look();
        let (freed, held) = (held_by(0), buffers.held.len());
        assert!(dropped >= 1, "this engine frees buffers elsewhere now: is this module still of use?");
        assert_eq!(freed, dropped);
        assert!(held <= 3, "{held}");
    }
}
