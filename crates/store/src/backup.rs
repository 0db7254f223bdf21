//! Backup of a slot, open or not, and restoring one.
//!
//! A backup is a data directory: what a crash at one moment would have left, so a server can start on it, and does so as
//! after a stop that was not in order. It holds everything that had been acknowledged when the backup began.
//!
//! While the settler rests for a moment, the manifest, the state table and the journal's end are copied, which is little
//! because settling keeps the journal short. Packs never change, so they are linked where the file system can, and
//! copied after the settler has gone on where it cannot; none of them is deleted meanwhile. `FORMAT` comes last: without
//! it an unfinished backup is no data directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_env::{DIRECT_ALIGNMENT, Disk, Env, aligned_buffer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::doctor::{Depth, Finding, diagnose_locked, take_lock};
use crate::error::OpenError;
use crate::files;
use crate::ids::JournalPosition;
use crate::layout::{Layout, SlotFormat};
use crate::manifest::{DeletionHold, Manifests, manifest_file_name};
use crate::media::{Claim, JournalMedium, LocalJournal};
use crate::pack::blob_name;
use crate::state::{State, StateError};

/// How much of the journal is copied at a time.
const JOURNAL_CHUNK_BYTES: usize = 1 << 20;

/// What a backup or a restored directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// How many of the packs share their bytes with the directory they came from.
    pub linked: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
}

/// Why a backup or a restore came to nothing. What is in the target directory is of no use then.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The target is in use.
    #[error("{0} is not empty: choose a directory that is, or that does not exist")]
    NotEmpty(PathBuf),
    /// What was to be copied is damaged.
    #[error("{dir} is damaged: {part}: {problem}")]
    Damaged {
        /// The backup, or the data directory.
        dir: PathBuf,
        /// Which part of it.
        part: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A data directory could not be looked at.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The state table could not be copied.
    #[error(transparent)]
    State(#[from] StateError),
    /// The disk failed.
    #[error("copying failed: {0}")]
    Io(#[from] io::Error),
}

/// A backup whose packs are still to be copied. They stay where they are until it is dropped.
pub(crate) struct Backup {
    env: Env,
    source: Layout,
    target: Layout,
    format: SlotFormat,
    /// Packs, with their sizes.
    packs: Vec<(String, u64)>,
    journal_bytes: u64,
    _hold: DeletionHold,
}

impl Backup {
    /// Copies everything but the packs to `target`. Nothing may change the manifest, write a checkpoint or trim the
    /// journal meanwhile. The journal is copied up to `written`.
    pub(crate) fn begin(
        env: &Env,
        source: Layout,
        target: &Path,
        manifests: &Manifests,
        state: &State,
        journal: &Arc<dyn JournalMedium>,
        written: JournalPosition,
    ) -> Result<Self, BackupError> {
        let format = read_format(env, &source)?;
        let target = make_target(&*env.disk, target)?;
        let covered = state.copy_to(&target.state())?;
        let manifest = manifests.current();
        if manifest.number > 0 {
            let name = manifest_file_name(manifest.number);
            let (from, to) = (source.manifest().join(&name), target.manifest().join(&name));
            files::copy(&*env.disk, &from, &to)?;
        }
        copy_journal(env, journal, &target, format, covered, written)?;
        let packs = manifest.packs.values();
        Ok(Self {
            env: env.clone(),
            source,
            target,
            format,
            packs: packs
                .map(|pack| (blob_name(pack.id), pack.size_bytes))
                .collect(),
            journal_bytes: written.0 - covered.0,
            _hold: manifests.hold_deletions(),
        })
    }

    /// Links or copies the packs and completes the backup.
    pub(crate) fn finish(self) -> Result<BackupSummary, BackupError> {
        let disk = &*self.env.disk;
        let mut summary = BackupSummary {
            packs: self.packs.len() as u64,
            pack_bytes: 0,
            linked: 0,
            journal_bytes: self.journal_bytes,
        };
        for (name, size_bytes) in &self.packs {
            let (from, to) = (
                self.source.packs().join(name),
                self.target.packs().join(name),
            );
            summary.linked += u64::from(files::link_or_copy(disk, &from, &to)?);
            summary.pack_bytes += size_bytes;
        }
        complete(&self.env, &self.target, self.format)?;
        Ok(summary)
    }
}

/// Makes a data directory in `target`, which is empty or does not exist, from a backup, all of which is read and checked
/// first. The backup stays as it is, and the two share nothing.
pub fn restore(env: &Env, backup: &Path, target: &Path) -> Result<BackupSummary, BackupError> {
    copy_closed(env, backup, target, Depth::Batches, files::copy_apart)
}

/// Makes a backup in `target`, which is empty or does not exist, of a data directory that no server has open. The two share
/// their packs where the file system can: what is in them is not read.
pub fn backup_closed(
    env: &Env,
    data_dir: &Path,
    target: &Path,
) -> Result<BackupSummary, BackupError> {
    copy_closed(env, data_dir, target, Depth::Structure, files::link_or_copy)
}

/// Copies a data directory that nobody opens meanwhile, its packs with `copy_pack`, which says whether they are shared.
fn copy_closed(
    env: &Env,
    from: &Path,
    target: &Path,
    depth: Depth,
    copy_pack: impl Fn(&dyn Disk, &Path, &Path) -> io::Result<bool>,
) -> Result<BackupSummary, BackupError> {
    let source = Layout::new(from);
    let _lock = take_lock(env, &source)?;
    let diagnosis = diagnose_locked(env, &source, depth, &mut |_, _| {})?;
    let worst = diagnosis.findings.into_iter().next();
    if let Some(Finding { part, problem, .. }) = worst.filter(|_| !diagnosis.whole) {
        return Err(BackupError::Damaged {
            dir: from.to_owned(),
            part,
            problem,
        });
    }
    let format = read_format(env, &source)?;
    let target = make_target(&*env.disk, target)?;
    let disk = &*env.disk;
    if disk.exists(&source.state())? {
        files::copy(disk, &source.state(), &target.state())?;
    }
    let mut summary = BackupSummary {
        packs: 0,
        pack_bytes: 0,
        linked: 0,
        journal_bytes: copy_all(disk, &source.journal(), &target.journal())?,
    };
    copy_all(disk, &source.manifest(), &target.manifest())?;
    for (name, _) in disk.list(&source.packs())? {
        let copy = target.packs().join(&name);
        let linked = copy_pack(disk, &source.packs().join(&name), &copy)?;
        summary.packs += 1;
        summary.pack_bytes += disk.len(&copy)?;
        summary.linked += u64::from(linked);
    }
    complete(env, &target, format)?;
    Ok(summary)
}

fn read_format(env: &Env, layout: &Layout) -> Result<SlotFormat, BackupError> {
    let format = SlotFormat::read(env, layout)?;
    format.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
}

/// Makes the directories of a new slot without what says that it is one.
fn make_target(disk: &dyn Disk, target: &Path) -> Result<Layout, BackupError> {
    if disk.exists(target)? && !disk.list(target)?.is_empty() {
        return Err(BackupError::NotEmpty(target.to_owned()));
    }
    let layout = Layout::new(target);
    for dir in [layout.journal(), layout.packs(), layout.manifest()] {
        disk.create_dir(&dir)?;
    }
    Ok(layout)
}

/// Makes a copied directory durable, and then a slot.
fn complete(env: &Env, target: &Layout, format: SlotFormat) -> Result<(), BackupError> {
    let dirs = [target.journal(), target.packs(), target.manifest()];
    for dir in &dirs {
        env.disk.sync_dir(dir)?;
    }
    format.write(env, target)?;
    env.disk.sync_dir(files::parent(target.root()))?;
    Ok(())
}

/// Copies the journal from `covered` to `written` into files of the same size.
fn copy_journal(
    env: &Env,
    journal: &Arc<dyn JournalMedium>,
    target: &Layout,
    format: SlotFormat,
    covered: JournalPosition,
    written: JournalPosition,
) -> io::Result<()> {
    let (disk, clock) = (Arc::clone(&env.disk), Arc::clone(&env.clock));
    let copy = LocalJournal::open(disk, clock, &target.journal(), format.journal_file_bytes)?;
    let copy = copy.beginning_at(covered);
    let align = DIRECT_ALIGNMENT as u64;
    let mut at = JournalPosition(covered.0 - covered.0 % align);
    let mut buffer = aligned_buffer(JOURNAL_CHUNK_BYTES);
    loop {
        let rest = written
            .0
            .saturating_sub(at.0)
            .next_multiple_of(align)
            .max(align);
        let len = rest.min(journal.room(at)).min(JOURNAL_CHUNK_BYTES as u64) as usize;
        buffer.clear();
        buffer.resize(len, 0);
        let read = journal.read(at, &mut buffer)?;
        // What lies beyond may be half written.
        let valid = written.0.saturating_sub(at.0).min(read as u64) as usize;
        buffer[valid..].fill(0);
        if !copy.claim(at.advance(len as u64), Claim::Ahead)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        at = at.advance(len as u64);
        let last = at >= written;
        copy.append(JournalPosition(at.0 - len as u64), &buffer, last)?;
        if last {
            return Ok(());
        }
    }
}

/// Copies all files of a directory. Returns their bytes.
fn copy_all(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for (name, _) in disk.list(from)? {
        bytes += files::copy(disk, &from.join(&name), &to.join(&name))?;
    }
    Ok(bytes)
}
