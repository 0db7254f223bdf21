//! The manifest's files, and the packs they speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_env::{Disk, EntryKind};
use millstream_limits::MANIFEST_BYTES_MAX;
use millstream_record::TimestampMs;

use super::{Edit, Manifest, ManifestError};
use crate::files;
use crate::ids::PackId;
use crate::media::BlobMedium;
use crate::pack::{PackOrigin, PackReader, PackSet, blob_name, parse_blob_name};

/// The manifest in force, its files, and the packs as readers see them.
pub struct Manifests {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    current: Manifest,
    next_pack: PackId,
    /// Numbers given out for packs that no manifest lists yet.
    unfinished: BTreeSet<PackId>,
    /// A commit failed in such a way that its manifest may be found by the next start: no pack is deleted any more.
    unclear: bool,
    set: Arc<PackSet>,
    /// Shared with every [`DeletionHold`].
    holds: Arc<()>,
}

/// While it lives, packs that are not needed any more are not deleted.
pub struct DeletionHold {
    _hold: Arc<()>,
}

/// What opening the manifest found out about the packs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestReport {
    /// Packs that the manifest lists and that are not there, or not with that size. What they held cannot be read.
    pub missing: Vec<PackId>,
    /// Blobs that nothing explains. They were left alone.
    pub orphans: Vec<String>,
    /// Packs that were being written or had been replaced: [`Manifests::sweep`] deletes them.
    pub deleted: Vec<PackId>,
}

impl Manifests {
    /// Opens the newest manifest in `dir`, which exists, over the packs on `medium`.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        medium: Arc<dyn BlobMedium>,
    ) -> Result<(Self, ManifestReport), ManifestError> {
        let blobs = medium.list()?;
        let current = match newest(&*disk, dir)? {
            Some(manifest) => manifest,
            None if blobs.is_empty() => Manifest::default(),
            None => {
                return Err(ManifestError::Missing {
                    dir: dir.to_owned(),
                    packs: blobs.len(),
                });
            }
        };
        let inventory = Inventory::new(&current, &blobs, &*medium);
        let mut manifests = Self {
            disk,
            dir: dir.to_owned(),
            set: Arc::new(PackSet::new(medium, current.packs.values())),
            next_pack: inventory.next_pack,
            unfinished: BTreeSet::new(),
            unclear: false,
            current,
            holds: Arc::new(()),
        };
        manifests
            .current
            .discarded
            .clone_from(&inventory.report.deleted);
        Ok((manifests, inventory.report))
    }

    /// Deletes what opening found to be left over. Until then nothing has been changed.
    pub fn sweep(&mut self) {
        self.delete_discarded();
        self.remove_old_files();
    }

    /// Reads the newest manifest in `dir` without changing anything; `None` when there is none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Manifest>, ManifestError> {
        newest(disk, dir)
    }

    /// The manifest in force.
    pub fn current(&self) -> &Manifest {
        &self.current
    }

    /// The packs in force, for readers.
    pub fn packs(&self) -> &Arc<PackSet> {
        &self.set
    }

    /// A number for a new pack. It ends up in a manifest by [`Manifests::commit`], or is given up by
    /// [`Manifests::abandon`].
    pub fn allocate(&mut self) -> PackId {
        let id = self.next_pack;
        self.next_pack = id.next();
        self.unfinished.insert(id);
        id
    }

    /// Gives up packs that were begun and will not be listed, finished or not.
    pub fn abandon(&mut self, packs: &[PackId]) {
        for id in packs {
            self.unfinished.remove(id);
        }
        self.current.discarded.extend_from_slice(packs);
        self.delete_discarded();
    }

    /// What packs begun now say of themselves. Writes the first manifest if there is none yet: a pack without a manifest
    /// would look like one that lost it.
    pub fn origin(&mut self, now: TimestampMs) -> Result<PackOrigin, ManifestError> {
        if self.current.number == 0 {
            self.commit(&Edit::default())?;
        }
        Ok(PackOrigin {
            now,
            manifest: self.current.number,
        })
    }

    /// Keeps all packs of the manifest in force where they are, for whoever copies them. They are deleted with the next
    /// change after the last hold has been dropped.
    pub fn hold_deletions(&self) -> DeletionHold {
        DeletionHold {
            _hold: Arc::clone(&self.holds),
        }
    }

    /// Makes `edit` durable, then shows it to readers and deletes the packs it removes.
    ///
    /// After an error other than lack of room the slot has failed: what is on disk is not known, and so both what was in
    /// force and what was to be stays there. After a lack of room nothing has changed.
    pub fn commit(&mut self, edit: &Edit) -> Result<(), ManifestError> {
        let mut next = self.current.edited(edit)?;
        next.next_pack = self.next_pack;
        // A manifest that says two things of one offset would be refused at the next start. The one in force is still good,
        // and so is the journal: stopping here loses nothing.
        if !next.is_free_of_overlaps() {
            return Err(ManifestError::Contradiction(
                "an offset would be covered twice",
            ));
        }
        let mut unfinished = self.unfinished.clone();
        for pack in &edit.add {
            unfinished.remove(&pack.id);
        }
        let replaced = next.discarded.len();
        next.discarded.extend(&unfinished);
        let path = self.dir.join(file_name(next.number));
        if let Err(error) = files::write_whole(&*self.disk, &path, &next.encode()) {
            self.unclear = !matches!(self.disk.exists(&path), Ok(false));
            return Err(if self.unclear {
                ManifestError::Unclear(error)
            } else {
                error.into()
            });
        }
        next.discarded.truncate(replaced);

        self.publish(edit, &next);
        self.unfinished = unfinished;
        self.current = next;
        self.delete_discarded();
        self.remove_old_files();
        Ok(())
    }

    /// Shows readers the packs of `next` in the place of those that `edit` changes.
    fn publish(&self, edit: &Edit, next: &Manifest) {
        let shrunk = edit.drop_ranges.iter().map(|(id, _)| *id);
        let changed: BTreeSet<PackId> = shrunk.chain(edit.remove.iter().copied()).collect();
        let before = changed
            .iter()
            .filter_map(|id| self.current.packs.get(id).cloned());
        let added = edit.add.iter().map(|pack| pack.id);
        let after = changed
            .iter()
            .copied()
            .chain(added)
            .filter_map(|id| next.packs.get(&id));
        self.set.replace(&before.collect::<Vec<_>>(), after);
    }

    /// Deletes the packs that do not count any more. If they cannot be deleted now, that is tried again later.
    fn delete_discarded(&mut self) {
        let discarded = &mut self.current.discarded;
        if discarded.is_empty() || self.unclear || Arc::strong_count(&self.holds) > 1 {
            return;
        }
        match self.set.medium().delete(&blob_names(discarded)) {
            Ok(()) => discarded.clear(),
            Err(error) => {
                tracing::warn!(packs = ?discarded, %error, "cannot delete packs that are not needed any more");
            }
        }
    }

    /// Removes the manifests before the one in force, and unfinished ones. If they cannot be removed now, that is tried
    /// again later.
    fn remove_old_files(&self) {
        if let Err(error) = self.try_to_remove_old_files() {
            tracing::warn!(%error, "cannot remove manifests that are not in force any more");
        }
    }

    fn try_to_remove_old_files(&self) -> io::Result<()> {
        for (name, kind) in self.disk.list(&self.dir)? {
            let unfinished = name
                .strip_suffix(".new")
                .is_some_and(|name| parse_file_name(name).is_some());
            let older = parse_file_name(&name).is_some_and(|number| number < self.current.number);
            if kind == EntryKind::File && (unfinished || older) {
                self.disk.remove(&self.dir.join(name))?;
            }
        }
        Ok(())
    }
}

/// What is on the medium beside what should be.
struct Inventory {
    report: ManifestReport,
    next_pack: PackId,
}

impl Inventory {
    fn new(manifest: &Manifest, blobs: &[(String, Option<u64>)], medium: &dyn BlobMedium) -> Self {
        let mut report = ManifestReport::default();
        let mut found = BTreeMap::new();
        for (name, size) in blobs {
            match parse_blob_name(name) {
                Some(id) => {
                    found.insert(id, *size);
                }
                None => report.orphans.push(name.clone()),
            }
        }
        for pack in manifest.packs.values() {
            if found.get(&pack.id) != Some(&Some(pack.size_bytes)) {
                report.missing.push(pack.id);
            }
        }
        for id in found.keys().filter(|id| !manifest.packs.contains_key(id)) {
            if manifest.discarded.contains(id) || is_unfinished(manifest, *id, medium) {
                report.deleted.push(*id);
            } else {
                report.orphans.push(blob_name(*id));
            }
        }
        let beyond_found = found.last_key_value().map(|(id, _)| id.next());
        Self {
            report,
            next_pack: manifest.next_pack.max(beyond_found.unwrap_or_default()),
        }
    }
}

/// Whether a pack that `manifest` does not list was begun under it: then no manifest has ever listed it, and the journal
/// still has what it holds.
fn is_unfinished(manifest: &Manifest, id: PackId, medium: &dyn BlobMedium) -> bool {
    id >= manifest.next_pack
        && PackReader::open(medium, id).is_ok_and(|pack| pack.header().manifest == manifest.number)
}

fn newest(disk: &dyn Disk, dir: &Path) -> Result<Option<Manifest>, ManifestError> {
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let numbers = entries.iter().filter_map(|(name, _)| parse_file_name(name));
    let Some(number) = numbers.max() else {
        return Ok(None);
    };
    let path = dir.join(file_name(number));
    let content = files::read(disk, &path, MANIFEST_BYTES_MAX)?;
    let manifest = Manifest::decode(&content).and_then(|manifest| {
        if manifest.number == number {
            Ok(manifest)
        } else {
            Err(crate::format::FormatError::Malformed {
                what: "manifest",
                why: "it has another manifest's name",
            })
        }
    });
    match manifest {
        Ok(manifest) => Ok(Some(manifest)),
        Err(source) => Err(ManifestError::Damaged { path, source }),
    }
}

fn blob_names(packs: &[PackId]) -> Vec<String> {
    packs.iter().map(|id| blob_name(*id)).collect()
}

/// The file of manifest `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:020}")
}

fn parse_file_name(name: &str) -> Option<u64> {
    let number = name.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

impl std::fmt::Debug for Manifests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manifests")
            .field("dir", &self.dir)
            .field("number", &self.current.number)
            .finish_non_exhaustive()
    }
}
