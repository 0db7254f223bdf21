//! The state table: one ordered key-value table for everything that is small and keyed.
//!
//! The journal is the authority. The table is what the journal's state changes add up to: a *base* on disk (redb) that
//! holds everything up to one journal position, and above it an *overlay* in memory with what was sequenced since.
//! Reads see both, as of the last sequenced commit. A *checkpoint* moves the overlay into the base, together with the
//! journal position it then covers, in one transaction; what lies before that position may then leave the journal.
//!
//! How it is used:
//!
//! 1. [`State::open`], then [`State::apply`] for every journal entry from [`State::covered_position`] on.
//! 2. [`State::apply`] for every commit, in the order in which commits are sequenced.
//! 3. For a checkpoint, [`State::freeze`] at the boundary between two commits. Once the journal is **durable** up to that
//!    boundary, [`State::write`] with its position, on a thread that may block. One checkpoint at a time.
//!
//! A table that was never checkpointed has no file, so an empty data directory costs no sync at start. A missing file
//! therefore reads as an empty table that covers position 0: whoever opens it compares that with where the journal
//! starts, and refuses to go on if there is a gap.
//!
//! Keys that start with [`keys::STORE_PREFIX`] are the store's own; [`keys`] draws them. This module knows nothing of
//! what the keys and values mean. Start with [`State`]; `overlay.rs` is the part in memory, `base.rs` the part on disk,
//! `backend.rs` what lets redb work on the disk of [`millstream_env`].

mod backend;
mod base;
pub mod keys;
mod overlay;
mod scan;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_env::{Disk, DiskFile};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::ids::JournalPosition;
use base::Base;
use overlay::Overlay;
pub use scan::Scan;

/// Why the state table could not be read or written.
///
/// After an error of [`State::write`] other than lack of room the table must not be used any more; the journal still has
/// everything.
#[derive(Debug, Error)]
pub enum StateError {
    /// The table's file could not be read or written, or is damaged.
    #[error("the state table failed: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A file operation failed.
    #[error("the state table's file failed: {0}")]
    Io(#[from] std::io::Error),
    /// The table's file had to be opened again, and could not be.
    #[error("the state table could not be opened again: {0}")]
    Gone(String),
    /// The table's content is not what it should be, or newer.
    #[error(transparent)]
    Format(#[from] crate::format::FormatError),
}

impl StateError {
    /// Whether it only means that there is no room at present.
    pub fn is_want_of_room(&self) -> bool {
        self.io_error().is_some_and(crate::error::is_want_of_room)
    }

    /// What the disk, or the system, has refused.
    pub(crate) fn io_error(&self) -> Option<&std::io::Error> {
        match self {
            Self::Io(error) => Some(error),
            Self::Database(error) => match &**error {
                redb::Error::Io(error) => Some(error),
                _ => None,
            },
            Self::Format(_) | Self::Gone(_) => None,
        }
    }
}

impl<E: Into<redb::Error>> From<Box<E>> for StateError {
    fn from(error: Box<E>) -> Self {
        Self::Database(Box::new((*error).into()))
    }
}

/// The state table of one slot. All methods may be called from any thread.
pub struct State {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    generations: RwLock<Generations>,
    /// Held while the base's file is written or copied.
    writing: Mutex<()>,
}

/// From newest to oldest: a key's first entry found in this order counts.
struct Generations {
    active: Overlay,
    frozen: Option<Arc<Overlay>>,
    base: Option<Arc<Base>>,
    covered: JournalPosition,
}

impl Generations {
    /// The table's file, if there is one yet. That it could not be opened again is an error.
    fn base(&self) -> Result<Option<&Arc<Base>>, StateError> {
        if self.base.is_none() && self.covered > JournalPosition::ZERO {
            return Err(StateError::Gone("an earlier attempt failed".to_owned()));
        }
        Ok(self.base.as_ref())
    }
}

/// An overlay that takes no more changes and waits to be written by [`State::write`].
#[derive(Debug)]
pub struct Checkpoint {
    entries: Arc<Overlay>,
}

/// What became of a key.
pub(crate) enum Changed {
    /// It has this value.
    Put(Bytes),
    /// It is gone.
    Deleted,
}

impl Checkpoint {
    /// How many keys it changes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it changes nothing. Writing it is still worth something: the covered position moves on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    /// Opens the table whose file is at `path`; without a file it is empty. Repairs what a crash left unfinished.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StateError> {
        let base = Base::open(&*disk, path)?;
        Self::over(base, disk, path)
    }

    /// Opens the table whose file is at `path` without ever changing the file: repairs stay in memory.
    pub fn open_unchanged(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StateError> {
        let base = Base::open_shadowed(&*disk, path)?;
        Self::over(base, disk, path)
    }

    fn over(base: Option<Base>, disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StateError> {
        let covered = match &base {
            Some(base) => base.position()?,
            None => JournalPosition(0),
        };
        Ok(Self {
            disk,
            path: path.to_owned(),
            generations: RwLock::new(Generations {
                active: Overlay::default(),
                frozen: None,
                base: base.map(Arc::new),
                covered,
            }),
            writing: Mutex::new(()),
        })
    }

    /// Everything before this position is in the table's file.
    pub fn covered_position(&self) -> JournalPosition {
        self.generations.read().covered
    }

    /// Bytes of keys and values that are only in memory, the checkpoint being written included.
    pub fn overlay_bytes(&self) -> usize {
        let generations = self.generations.read();
        let frozen = generations.frozen.as_ref();
        generations.active.bytes() + frozen.map_or(0, |frozen| frozen.bytes())
    }

    /// Adds one commit's changes, all at once. A key that is both put and deleted is deleted. Keys and values are copied,
    /// so that they do not hold on to the larger buffers that they may be slices of.
    pub fn apply(&self, puts: &[(Bytes, Bytes)], deletes: &[Bytes]) {
        if puts.is_empty() && deletes.is_empty() {
            return;
        }
        let mut generations = self.generations.write();
        for (key, value) in puts {
            generations.active.put(key, value);
        }
        for key in deletes {
            generations.active.delete(key);
        }
    }

    /// The value of `key`. Reads the disk when the key has not changed since the last checkpoint.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let read = {
            let generations = self.generations.read();
            let frozen = generations.frozen.as_deref();
            if let Some(entry) = generations
                .active
                .get(key)
                .or_else(|| frozen.and_then(|frozen| frozen.get(key)))
            {
                return Ok(entry.clone());
            }
            // Begun under the lock, so that no checkpoint can move an entry past both looks.
            match generations.base()? {
                Some(base) => base.begin_read()?,
                None => return Ok(None),
            }
        };
        read.get(key)
    }

    /// What became of `key` if it has changed since the last checkpoint. Never reads the disk.
    pub(crate) fn get_changed(&self, key: &[u8]) -> Option<Changed> {
        let generations = self.generations.read();
        let frozen = generations.frozen.as_deref();
        let changed = generations.active.get(key);
        let changed = changed.or_else(|| frozen.and_then(|frozen| frozen.get(key)))?;
        Some(changed.clone().map_or(Changed::Deleted, Changed::Put))
    }

    /// All keys that start with `prefix`, in order, with their values, as of now: later changes do not show.
    pub fn scan(&self, prefix: &[u8]) -> Result<Scan, StateError> {
        self.scan_from(prefix, prefix)
    }

    /// The same, from the key `from` on, which starts with `prefix` or comes before all that do.
    pub fn scan_from(&self, prefix: &[u8], from: &[u8]) -> Result<Scan, StateError> {
        let generations = self.generations.read();
        let mut overlay = match &generations.frozen {
            Some(frozen) => frozen.range(prefix, from),
            None => overlay::Entries::new(),
        };
        overlay.extend(generations.active.range(prefix, from));
        let base = match generations.base()? {
            Some(base) => Some(base.begin_read()?.range(from)?),
            None => None,
        };
        Ok(Scan::new(prefix, overlay, base))
    }

    /// Seals what was applied so far for a checkpoint; later changes go into a new overlay. `None` while an earlier
    /// checkpoint has not been written yet.
    pub fn freeze(&self) -> Option<Checkpoint> {
        let mut generations = self.generations.write();
        if generations.frozen.is_some() {
            return None;
        }
        let entries = Arc::new(std::mem::take(&mut generations.active));
        generations.frozen = Some(Arc::clone(&entries));
        Some(Checkpoint { entries })
    }

    /// Writes a checkpoint that covers everything before `position`, up to which the journal is durable. Blocks for two
    /// or three syncs. If it fails for lack of room, nothing has changed and it can be written again.
    pub fn write(
        &self,
        checkpoint: &Checkpoint,
        position: JournalPosition,
    ) -> Result<(), StateError> {
        let _writing = self.writing.lock();
        let base = self.generations.read().base()?.cloned();
        let base = match base {
            Some(base) => {
                if let Err(error) = base.write(&checkpoint.entries, position) {
                    let file = base.file();
                    drop(base);
                    self.reopen_if_full(&error, file)?;
                    return Err(error);
                }
                base
            }
            None => Arc::new(Base::create(
                &*self.disk,
                &self.path,
                &checkpoint.entries,
                position,
            )?),
        };
        let mut generations = self.generations.write();
        generations.base = Some(base);
        generations.frozen = None;
        generations.covered = position;
        Ok(())
    }

    /// Gives up a base that a full disk has broken off in the middle of a transaction, and opens it as it was before. If
    /// that fails too, there is no table any more, which must not be taken for an empty one.
    fn reopen_if_full(
        &self,
        error: &StateError,
        file: Arc<dyn DiskFile>,
    ) -> Result<(), StateError> {
        if error.is_want_of_room() {
            let mut generations = self.generations.write();
            generations.base = None;
            // Everybody waits for this: it must not read all of the table.
            let reopened = Base::reopen(file);
            let reopened = reopened.map_err(|error| StateError::Gone(error.to_string()))?;
            generations.base = Some(Arc::new(reopened));
        }
        Ok(())
    }

    /// Writes a copy of the table's file, which covers [`State::covered_position`], to `target`. No checkpoint can be
    /// written meanwhile. Returns the position that the copy covers; there is no copy when it is 0.
    pub fn copy_to(&self, target: &Path) -> Result<JournalPosition, StateError> {
        let _writing = self.writing.lock();
        let covered = self.covered_position();
        if self.disk.exists(&self.path)? {
            crate::files::copy(&*self.disk, &self.path, target)?;
        }
        Ok(covered)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("path", &self.path)
            .field("covered", &self.covered_position())
            .finish_non_exhaustive()
    }
}
