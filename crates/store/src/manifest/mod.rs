//! The manifest: which packs make up the slot.
//!
//! A manifest is one file, written whole under the next number: written, synced, renamed, directory synced. Only then do
//! readers see the new packs, are replaced packs deleted, and is the manifest before it removed. A crash in between
//! leaves at most packs that nothing lists: those that were being written, and those that had been replaced. Both are
//! deleted at the next open where the newest manifest proves what they are; any other pack that is not listed is left
//! alone and reported.
//!
//! A pack's entry lists the ranges that count, which may be fewer than its file holds: trims, drops and compaction take
//! ranges away at once, and the disk is given back when the pack is rewritten or removed.
//!
//! [`Manifests::open`] finds the newest manifest, [`Manifests::sweep`] deletes what no manifest needs once that one is known to
//! be right, [`Manifests::commit`] applies an [`Edit`]. There is one writer, the
//! settler. [`Manifests::packs`] is for everybody. `docs/storage-format.md` draws the file.
//!
//! An empty data directory has no manifest. Packs without any manifest are an error: nothing says which of them count.

mod codec;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_record::Offset;
use thiserror::Error;

use crate::format::FormatError;
use crate::ids::{JournalPosition, PackId, PartitionId};
use crate::pack::{PackInfo, PackRange};
pub(crate) use store::file_name as manifest_file_name;
pub use store::{DeletionHold, ManifestReport, Manifests};

/// Which packs make up the slot, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// Rises by one with every change. 0 before the first.
    pub number: u64,
    /// The number that the next pack gets, unless a pack with that number was left behind.
    pub next_pack: PackId,
    /// Everything in the journal before this has been settled.
    pub settled: JournalPosition,
    /// The packs that count.
    pub packs: BTreeMap<PackId, Arc<PackInfo>>,
    /// Packs that do not count and may have to be deleted at the next open: they were replaced, or they were being written
    /// when this manifest was.
    pub discarded: Vec<PackId>,
}

/// A change of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edit {
    /// Everything in the journal before this has been settled; `None` when that does not change.
    pub settled: Option<JournalPosition>,
    /// New packs, whole and durable on their medium.
    pub add: Vec<PackInfo>,
    /// Packs that are not needed any more.
    pub remove: Vec<PackId>,
    /// Ranges that are not needed any more, each with its pack. A pack that keeps no range is removed.
    pub drop_ranges: Vec<(PackId, PackRange)>,
}

impl Edit {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.settled.is_none()
            && self.add.is_empty()
            && self.remove.is_empty()
            && self.drop_ranges.is_empty()
    }
}

/// Why a manifest could not be read or written.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// The disk failed.
    #[error("the manifest failed: {0}")]
    Io(#[from] std::io::Error),
    /// The newest manifest is damaged, or of a newer release.
    #[error("{path}: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// There are packs, and nothing says which of them count.
    #[error(
        "there are {packs} packs and no manifest in {dir}: restore the manifest, or the data directory from a backup"
    )]
    Missing {
        /// Where it should be.
        dir: PathBuf,
        /// How many packs there are.
        packs: usize,
    },
    /// A change may be in force, or not: the next start finds out.
    #[error("whether the manifest was written is not known: {0}")]
    Unclear(#[source] std::io::Error),
    /// An edit that cannot be right.
    #[error("a change of the packs contradicts the manifest: {0}")]
    Contradiction(&'static str),
}

impl Manifest {
    /// The ranges of all packs by partition, each partition's in order of offset.
    pub fn by_partition(&self) -> BTreeMap<PartitionId, Vec<(PackId, PackRange)>> {
        let mut partitions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pack in self.packs.values() {
            for range in &pack.ranges {
                partitions
                    .entry(range.partition)
                    .or_default()
                    .push((pack.id, *range));
            }
        }
        for ranges in partitions.values_mut() {
            ranges.sort_by_key(|(_, range)| (range.first, range.end));
        }
        partitions
    }

    /// Bytes of all packs.
    pub fn size_bytes(&self) -> u64 {
        self.packs.values().map(|pack| pack.size_bytes).sum()
    }

    /// The manifest after `edit`, under the next number.
    fn edited(&self, edit: &Edit) -> Result<Self, ManifestError> {
        let mut next = self.clone();
        next.number += 1;
        if let Some(settled) = edit.settled {
            if settled < next.settled {
                return Err(ManifestError::Contradiction("settling goes backwards"));
            }
            next.settled = settled;
        }
        for id in &edit.remove {
            if next.packs.remove(id).is_none() {
                return Err(ManifestError::Contradiction(
                    "a pack to remove is not there",
                ));
            }
            next.discarded.push(*id);
        }
        for (id, dropped) in group_by_pack(&edit.drop_ranges) {
            next.drop_ranges(id, &dropped)?;
        }
        for pack in &edit.add {
            if next.packs.insert(pack.id, Arc::new(pack.clone())).is_some() {
                return Err(ManifestError::Contradiction(
                    "a pack to add is there already",
                ));
            }
        }
        Ok(next)
    }

    /// Takes ranges out of pack `id`, and the pack itself when it keeps none.
    fn drop_ranges(&mut self, id: PackId, dropped: &[PackRange]) -> Result<(), ManifestError> {
        let contradiction = ManifestError::Contradiction("a range to drop is not there");
        let Some(pack) = self.packs.get(&id) else {
            return Err(contradiction);
        };
        let mut kept = PackInfo::clone(pack);
        kept.ranges.retain(|range| !dropped.contains(range));
        if kept.ranges.len() + dropped.len() != pack.ranges.len() {
            return Err(contradiction);
        }
        if kept.ranges.is_empty() {
            self.packs.remove(&id);
            self.discarded.push(id);
        } else {
            self.packs.insert(id, Arc::new(kept));
        }
        Ok(())
    }

    /// Whether no offset is covered twice.
    fn is_free_of_overlaps(&self) -> bool {
        self.by_partition().values().all(|ranges| {
            let mut end = Offset(i64::MIN);
            ranges.iter().all(|(_, range)| {
                let follows = range.first >= end;
                end = range.end;
                follows
            })
        })
    }
}

fn group_by_pack(ranges: &[(PackId, PackRange)]) -> BTreeMap<PackId, Vec<PackRange>> {
    let mut packs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (id, range) in ranges {
        packs.entry(*id).or_default().push(*range);
    }
    packs
}
