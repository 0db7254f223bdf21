//! All packs of a slot, as readers see them: which ranges make up a partition, and how to read across them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_record::{Batch, Offset, TimestampMs};
use parking_lot::RwLock;

use super::cache::PackCache;
use super::layout::DirectoryEntry;
use super::range::PackRange;
use super::reader::PackReader;
use super::search::{Stamp, first_record_since, later, latest_record};
use super::{PackError, PackInfo, blob_name, rebuild};
use crate::error::ReadError;
use crate::format::FormatError;
use crate::ids::{PackId, PartitionId};
use crate::media::BlobMedium;

/// How much is read at a time to look for the latest timestamp in part of a range.
const SEARCH_CHUNK_BYTES: usize = 256 << 10;

/// A range and the pack it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedRange {
    /// The pack.
    pub pack: PackId,
    /// The range.
    pub range: PackRange,
}

/// The packs in force. Changed by the settler only, through [`crate::manifest::Manifests::commit`]; read by all.
pub struct PackSet {
    medium: Arc<dyn BlobMedium>,
    cache: PackCache,
    /// Each partition's ranges in order of offset.
    partitions: RwLock<HashMap<PartitionId, Vec<Place>>>,
}

/// Where a range is: a pack and the number of the range in it.
struct Place {
    pack: Arc<PackInfo>,
    range: u32,
}

impl Place {
    fn range(&self) -> &PackRange {
        &self.pack.ranges[self.range as usize]
    }

    fn placed(&self) -> PlacedRange {
        PlacedRange {
            pack: self.pack.id,
            range: *self.range(),
        }
    }
}

impl PackSet {
    /// A set of `packs`, whose ranges do not overlap.
    pub fn new<'a>(
        medium: Arc<dyn BlobMedium>,
        packs: impl IntoIterator<Item = &'a Arc<PackInfo>>,
    ) -> Self {
        let set = Self {
            medium,
            cache: PackCache::default(),
            partitions: RwLock::default(),
        };
        set.replace(&[], packs);
        set
    }

    /// Puts the ranges of `added` in the place of those of `removed`, for all readers at once.
    pub(crate) fn replace<'a>(
        &self,
        removed: &[Arc<PackInfo>],
        added: impl IntoIterator<Item = &'a Arc<PackInfo>>,
    ) {
        let mut partitions = self.partitions.write();
        for pack in removed {
            for range in &pack.ranges {
                if let Some(places) = partitions.get_mut(&range.partition) {
                    places.retain(|place| place.pack.id != pack.id);
                    if places.is_empty() {
                        partitions.remove(&range.partition);
                    }
                }
            }
        }
        for pack in added {
            for (number, range) in pack.ranges.iter().enumerate() {
                let places = partitions.entry(range.partition).or_default();
                let key = (range.first, range.end);
                let at = places.partition_point(|place| {
                    let other = place.range();
                    (other.first, other.end) <= key
                });
                let pack = Arc::clone(pack);
                let range = number as u32;
                places.insert(at, Place { pack, range });
            }
        }
        drop(partitions);
        for pack in removed {
            self.cache.forget(pack.id);
        }
    }

    /// The ranges of `partition` in order of offset.
    pub fn ranges(&self, partition: PartitionId) -> Vec<PlacedRange> {
        let partitions = self.partitions.read();
        let places = partitions.get(&partition).into_iter().flatten();
        places.map(Place::placed).collect()
    }

    /// The offset after the last one of `partition` that packs cover: where its tail starts. `None` when they cover
    /// nothing of it.
    pub fn end(&self, partition: PartitionId) -> Option<Offset> {
        let partitions = self.partitions.read();
        Some(partitions.get(&partition)?.last()?.range().end)
    }

    /// Bytes of batches of `partition` in packs, those that were trimmed but lie beside others included.
    pub fn size_bytes(&self, partition: PartitionId) -> u64 {
        let partitions = self.partitions.read();
        let places = partitions.get(&partition).into_iter().flatten();
        places.map(|place| place.range().bytes).sum()
    }

    /// A read of `partition` from `from` on, as [`super::PackReader::read`] does it, with the range chosen now. `None`
    /// when no batch at or after `from` is in a pack: look in the tail.
    pub fn read(
        self: &Arc<Self>,
        partition: PartitionId,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
    ) -> Option<PackRead> {
        let placed = self.find(partition, from)?;
        (placed.range.first < upto).then(|| PackRead {
            set: Arc::clone(self),
            placed,
            from,
            max_bytes,
            upto,
        })
    }

    /// The first record of `partition`, from `from` on, whose timestamp is at least `at`. Blocks. `None` when there is
    /// none in packs: look in the tail.
    pub fn offset_for_time(
        &self,
        partition: PartitionId,
        at: TimestampMs,
        from: Offset,
    ) -> Result<Option<(TimestampMs, Offset)>, ReadError> {
        let mut from = from;
        while let Some(placed) = self.find_by_time(partition, at, from) {
            let found = self.in_pack(placed, |pack, entry| {
                let Some(batch) = pack.find_by_time(entry, at, from)? else {
                    return Ok(None);
                };
                let base = batch.header.base_offset;
                let found = first_record_since(&batch, at, from);
                let found = found.map_err(|error| PackError::from(error).at(base))?;
                Ok(Some((found, batch.header.next_offset())))
            });
            let found = match found {
                // It was merged or trimmed meanwhile.
                Err(_) if !self.has(&placed) => continue,
                Err(error) => return Err(error),
                Ok(found) => found,
            };
            from = match found {
                Some((Some(record), _)) => return Ok(Some(record)),
                // Its records are older than its header says, or were trimmed.
                Some((None, next)) => next,
                None => placed.range.end.max(from.next()),
            };
        }
        Ok(None)
    }

    /// The first of the records of `partition`, from `from` on, that have the latest timestamp there is in packs. Blocks.
    pub fn max_timestamp(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Result<Option<(TimestampMs, Offset)>, ReadError> {
        'anew: loop {
            let mut best: Option<Stamp> = None;
            for placed in self.ranges(partition) {
                let range = placed.range;
                let hopeless = best.is_some_and(|(latest, _)| range.max_timestamp <= latest);
                if range.is_empty() || range.last < from || hopeless {
                    continue;
                }
                let latest = self.in_pack(placed, |pack, entry| latest_in_range(pack, entry, from));
                best = match latest {
                    // It was merged or trimmed meanwhile.
                    Err(_) if !self.has(&placed) => continue 'anew,
                    latest => later(best, latest?),
                };
            }
            return Ok(best);
        }
    }

    /// The open pack.
    pub(crate) fn open(&self, id: PackId) -> Result<Arc<PackReader>, PackError> {
        let is_listed = || self.info(id).is_some();
        self.cache.get(id, || self.open_anew(id), is_listed)
    }

    fn open_anew(&self, id: PackId) -> Result<PackReader, PackError> {
        let damage = match PackReader::open(&*self.medium, id) {
            Err(PackError::Format(damage)) => damage,
            opened => return opened,
        };
        let Some(info) = self.info(id) else {
            return Err(damage.into());
        };
        tracing::error!(
            pack = blob_name(id), %damage,
            "what a pack says of itself is damaged: it is made anew from the batches; run `millstream doctor`"
        );
        rebuild(&*self.medium, &info)
    }

    /// What is known of a pack.
    fn info(&self, id: PackId) -> Option<Arc<PackInfo>> {
        let partitions = self.partitions.read();
        let mut places = partitions.values().flatten();
        let place = places.find(|place| place.pack.id == id)?;
        Some(Arc::clone(&place.pack))
    }

    /// Where packs are.
    pub(crate) fn medium(&self) -> &Arc<dyn BlobMedium> {
        &self.medium
    }

    /// The first range that has a batch at or after `from`.
    fn find(&self, partition: PartitionId, from: Offset) -> Option<PlacedRange> {
        self.find_where(partition, from, |_| true)
    }

    fn find_by_time(
        &self,
        partition: PartitionId,
        at: TimestampMs,
        from: Offset,
    ) -> Option<PlacedRange> {
        self.find_where(partition, from, |range| range.max_timestamp >= at)
    }

    /// The first range that has a batch at or after `from`, of those that are `wanted`.
    fn find_where(
        &self,
        partition: PartitionId,
        from: Offset,
        wanted: impl Fn(&PackRange) -> bool,
    ) -> Option<PlacedRange> {
        let partitions = self.partitions.read();
        let places = partitions.get(&partition)?;
        let start = places.partition_point(|place| place.range().end <= from);
        let found = places[start..].iter().find(|place| {
            let range = place.range();
            !range.is_empty() && range.last >= from && wanted(range)
        });
        found.map(Place::placed)
    }

    /// Where reading can go on after damage at `from`; `None` if nothing is damaged there, or the disk refuses.
    pub(crate) fn after_damage(&self, partition: PartitionId, from: Offset) -> Option<Offset> {
        let placed = self.find(partition, from)?;
        match self.in_pack(placed, |pack, entry| Ok(pack.after_damage(entry, from))) {
            Ok(next) => Some(next),
            Err(_) if !self.has(&placed) => None,
            // The whole pack.
            Err(ReadError::Damaged { .. }) => Some(placed.range.end),
            Err(_) => None,
        }
    }

    /// Runs `read` on the range in its open pack.
    fn in_pack<T>(
        &self,
        placed: PlacedRange,
        read: impl FnOnce(&Arc<PackReader>, &DirectoryEntry) -> Result<T, PackError>,
    ) -> Result<T, ReadError> {
        let range = placed.range;
        let id = placed.pack;
        let pack = self
            .cache
            .get(id, || self.open_anew(id), || self.has(&placed));
        let result = pack.and_then(|pack| {
            let entry = pack.range(range.partition, range.first);
            let entry = entry.filter(|entry| entry.range == range);
            let entry = entry.ok_or(FormatError::Malformed {
                what: "pack",
                why: "it does not hold what the manifest says",
            })?;
            read(&pack, &entry)
        });
        result.map_err(|error| match error {
            PackError::Io(error) if error.kind() != std::io::ErrorKind::NotFound => error.into(),
            error => damaged(&placed, &error),
        })
    }

    /// Whether the range is still in force where it was.
    fn has(&self, placed: &PlacedRange) -> bool {
        let partitions = self.partitions.read();
        let present = partitions.get(&placed.range.partition);
        present.is_some_and(|places| places.iter().any(|place| place.placed() == *placed))
    }
}

/// A read of one range of a pack.
pub struct PackRead {
    set: Arc<PackSet>,
    placed: PlacedRange,
    from: Offset,
    max_bytes: usize,
    upto: Offset,
}

impl PackRead {
    /// Reads the batches: whole ones, in order, the first of which contains the offset asked for, or is the next one
    /// after it when compaction left none there. Blocks.
    ///
    /// `None` when the range cannot be read and is not in force any more: it was merged, compacted or trimmed since it was
    /// chosen, and where its batches are now has to be found out anew.
    pub fn run(&self) -> Result<Option<Bytes>, ReadError> {
        let read = self.set.in_pack(self.placed, |pack, entry| {
            pack.read(entry, self.from, self.max_bytes, self.upto)
        });
        match read {
            Err(_) if !self.set.has(&self.placed) => Ok(None),
            read => read.map(Some),
        }
    }
}

impl std::fmt::Debug for PackRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackRead")
            .field("placed", &self.placed)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// The first of the range's records, from `from` on, that have the latest timestamp.
fn latest_in_range(
    pack: &Arc<PackReader>,
    entry: &DirectoryEntry,
    from: Offset,
) -> Result<Option<Stamp>, PackError> {
    if from <= entry.range.first {
        let bytes = pack.read(entry, entry.max_timestamp_batch, 0, entry.range.end)?;
        return Ok(latest_record(&Batch::parse(bytes)?, from)?);
    }
    let mut best = None;
    let mut scan = pack.scan_near(entry, from, SEARCH_CHUNK_BYTES);
    while let Some(batch) = scan.next_batch()? {
        let header = &batch.header;
        if header.last_offset() >= from && best.is_none_or(|(time, _)| header.max_timestamp > time)
        {
            best = later(best, latest_record(&batch, from)?);
        }
    }
    Ok(best)
}

fn damaged(placed: &PlacedRange, error: &PackError) -> ReadError {
    let offset = match error {
        PackError::Misplaced { offset, .. } | PackError::At { offset, .. } => *offset,
        _ => placed.range.first,
    };
    ReadError::Damaged {
        partition: placed.range.partition,
        offset,
        reason: format!("{}: {error}", blob_name(placed.pack)),
    }
}
