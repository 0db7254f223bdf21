//! An open pack: finds batches by offset or time and reads them.

use std::sync::Arc;

use bytes::Bytes;
use millstream_record::{Batch, BatchHeader, Batches, Offset, TimestampMs};

use super::footer::{Footer, Start, read_exact};
use super::layout::{DirectoryEntry, PackHeader};
use super::range::NextBatch;
use super::scan::RangeScan;
use super::{PackError, blob_name};
use crate::format::FormatError;
use crate::ids::{PackId, PartitionId};
use crate::media::{Blob, BlobMedium};

/// How much is read at a time to look for a batch by its timestamp.
const SEARCH_CHUNK_BYTES: usize = 256 << 10;

/// An open pack, its footer in memory.
pub struct PackReader {
    header: PackHeader,
    blob: Arc<dyn Blob>,
    footer: Footer,
}

impl PackReader {
    /// Opens pack `id`. Everything but the batches is checked.
    pub fn open(medium: &dyn BlobMedium, id: PackId) -> Result<Self, PackError> {
        let reader = Self::from_blob(medium.open(&blob_name(id))?)?;
        if reader.header.id != id {
            return Err(FormatError::Malformed {
                what: "pack",
                why: "it has another pack's name",
            }
            .into());
        }
        Ok(reader)
    }

    /// Opens the pack that `blob` holds.
    pub fn from_blob(blob: Arc<dyn Blob>) -> Result<Self, PackError> {
        let (header, footer) = Footer::read(&*blob)?;
        Ok(Self::new(header, blob, footer))
    }

    pub(super) fn new(header: PackHeader, blob: Arc<dyn Blob>, footer: Footer) -> Self {
        Self {
            header,
            blob,
            footer,
        }
    }

    /// What the pack starts with.
    pub fn header(&self) -> PackHeader {
        self.header
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.blob.len()
    }

    /// Its ranges in order of partition and offset.
    pub fn ranges(&self) -> impl Iterator<Item = DirectoryEntry> {
        self.footer.entries()
    }

    /// The range of `partition` that starts at `first`.
    pub fn range(&self, partition: PartitionId, first: Offset) -> Option<DirectoryEntry> {
        self.footer.find(partition, first)
    }

    /// How much memory the footer takes.
    pub(super) fn footer_bytes(&self) -> usize {
        self.footer.size_bytes()
    }

    /// Reads whole batches of `entry` in order, starting with the one that contains `from` or else the next one, as many
    /// as fit `max_bytes` but at least one, as far as they start before `upto`. What is returned passed its checksums.
    ///
    /// Empty when no such batch is left in the range.
    pub fn read(
        &self,
        entry: &DirectoryEntry,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
    ) -> Result<Bytes, PackError> {
        let Start {
            position,
            mut next,
            gap_bytes,
        } = self.footer.start_for_offset(entry, from);
        let rest_bytes = entry.range.bytes - position;
        // What lies before the wanted batch is skipped: usually less than a gap.
        let read_bytes = rest_bytes.min(gap_bytes.saturating_add(max_bytes as u64));
        let bytes = read_exact(&*self.blob, entry.position + position, read_bytes as usize)?;

        let mut skipped = 0;
        let (first, available) = loop {
            if skipped as u64 >= rest_bytes {
                // There is one, if not where the headers before it say.
                if from <= entry.range.last {
                    return Err(misplaced(entry, next));
                }
                return Ok(Bytes::new());
            }
            // Where an index lies, what it leads to may be further on than what was read.
            let here = bytes.slice(skipped.min(bytes.len())..);
            let header = self.header_at(entry, position + skipped as u64, &here)?;
            let (_, last) = next.span(&header);
            // Those before the wanted one need not be whole.
            if last >= from || !entry.range.dense {
                check_place(entry, &header, next)?;
            }
            if last >= from {
                break (header, here);
            }
            next = entry.range.batch_after(last);
            skipped += header.size_bytes as usize;
        };
        if first.base_offset >= upto {
            return Ok(Bytes::new());
        }
        let first_bytes = first.size_bytes as usize;
        let available = if available.len() < first_bytes {
            // Larger than asked for: a reader gets at least one batch, or it would be stuck.
            let at = entry.position + position + skipped as u64;
            if skipped as u64 + first_bytes as u64 > rest_bytes {
                return Err(FormatError::Truncated("batch in a pack").into());
            }
            read_exact(&*self.blob, at, first_bytes)?
        } else {
            available
        };
        // Its place has been checked.
        let next = NextBatch::At(first.base_offset);
        take_whole(entry, &available, next, max_bytes, upto)
    }

    /// Where reading can go on after [`PackReader::read`] has found damage at `from`: behind the batch that is damaged if
    /// what follows it can be trusted, else where the index leads to next.
    pub fn after_damage(&self, entry: &DirectoryEntry, from: Offset) -> Offset {
        let beyond = |offset: &Offset| *offset > from;
        let after_batch = self.batch_after(entry, from).ok().flatten();
        let next = after_batch.unwrap_or_else(|| self.footer.next_indexed(entry, from));
        Some(next).filter(beyond).unwrap_or(entry.range.end)
    }

    /// The base offset of the batch that follows the one with `from`, or the end of the range. `None` if it cannot be told.
    fn batch_after(
        &self,
        entry: &DirectoryEntry,
        from: Offset,
    ) -> Result<Option<Offset>, PackError> {
        let start = self.footer.start_for_offset(entry, from);
        let (mut position, mut next) = (start.position, start.next);
        while position < entry.range.bytes {
            let header = self.header_at(entry, position, &[])?;
            let (first, last) = next.span(&header);
            let is_behind = position > start.position && first > from;
            if is_behind || !entry.range.dense {
                check_place(entry, &header, next)?;
            }
            if is_behind {
                return Ok(Some(first));
            }
            next = entry.range.batch_after(last);
            position += u64::from(header.size_bytes);
        }
        Ok((position == entry.range.bytes).then_some(entry.range.end))
    }

    /// The first batch, from `from` on, whose max timestamp is at least `at`. Damage on the way is told with its place.
    pub fn find_by_time(
        self: &Arc<Self>,
        entry: &DirectoryEntry,
        at: TimestampMs,
        from: Offset,
    ) -> Result<Option<Batch>, PackError> {
        let by_time = self.footer.start_for_time(entry, at);
        let by_offset = self.footer.start_for_offset(entry, from);
        let start = if by_time.position > by_offset.position {
            by_time
        } else {
            by_offset
        };
        let mut scan = self.scan_from(entry, start, SEARCH_CHUNK_BYTES);
        let mut next = start.next.offset();
        while let Some(batch) = scan.next_batch().map_err(|error| error.at(next))? {
            next = batch.header.next_offset();
            if batch.header.last_offset() >= from && batch.header.max_timestamp >= at {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Walks all batches of a range, reading `chunk_bytes` at a time.
    pub fn scan(self: &Arc<Self>, entry: &DirectoryEntry, chunk_bytes: usize) -> RangeScan {
        self.scan_near(entry, entry.range.first, chunk_bytes)
    }

    /// Walks the batches of a range from the one that contains `from`, or a few before it.
    pub fn scan_near(
        self: &Arc<Self>,
        entry: &DirectoryEntry,
        from: Offset,
        chunk_bytes: usize,
    ) -> RangeScan {
        let start = self.footer.start_for_offset(entry, from);
        self.scan_from(entry, start, chunk_bytes)
    }

    fn scan_from(
        self: &Arc<Self>,
        entry: &DirectoryEntry,
        start: Start,
        chunk_bytes: usize,
    ) -> RangeScan {
        RangeScan::new(Arc::clone(self), *entry, start, chunk_bytes)
    }

    /// Reads `len` bytes of a range, `position` bytes from its start.
    pub(super) fn read_range(
        &self,
        entry: &DirectoryEntry,
        position: u64,
        len: usize,
    ) -> Result<Bytes, PackError> {
        read_exact(&*self.blob, entry.position + position, len)
    }

    /// The header of the batch at `position`, of which `bytes` may hold only a part.
    fn header_at(
        &self,
        entry: &DirectoryEntry,
        position: u64,
        bytes: &[u8],
    ) -> Result<BatchHeader, PackError> {
        if bytes.len() >= millstream_record::header::HEADER_BYTES {
            return Ok(BatchHeader::parse(bytes)?);
        }
        let rest =
            (entry.range.bytes - position).min(millstream_record::header::HEADER_BYTES as u64);
        let bytes = self.read_range(entry, position, rest as usize)?;
        Ok(BatchHeader::parse(&bytes)?)
    }
}

/// The whole batches at the start of `bytes`, at least one.
fn take_whole(
    entry: &DirectoryEntry,
    bytes: &Bytes,
    mut next: NextBatch,
    max_bytes: usize,
    upto: Offset,
) -> Result<Bytes, PackError> {
    let mut taken = 0;
    for batch in Batches::new(bytes.clone()) {
        // What is cut off at the end was not asked for; anything else wrong with the first batch is.
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if taken == 0 => return Err(error.into()),
            Err(_) => break,
        };
        let fits = taken == 0 || taken + batch.bytes.len() <= max_bytes;
        if !fits || batch.header.base_offset >= upto {
            break;
        }
        if let Err(error) = check_batch(entry, &batch, next) {
            if taken == 0 {
                return Err(error);
            }
            break;
        }
        next = entry.range.batch_after(batch.header.last_offset());
        taken += batch.bytes.len();
    }
    Ok(bytes.slice(..taken))
}

/// Checks that a batch is whole, and starts where it has to.
pub(super) fn check_batch(
    entry: &DirectoryEntry,
    batch: &Batch,
    next: NextBatch,
) -> Result<(), PackError> {
    check_place(entry, &batch.header, next)?;
    batch.check_crc()?;
    Ok(())
}

fn check_place(
    entry: &DirectoryEntry,
    header: &BatchHeader,
    next: NextBatch,
) -> Result<(), PackError> {
    let range = &entry.range;
    if next.can_be(header.base_offset) && header.last_offset() <= range.last {
        Ok(())
    } else {
        Err(misplaced(entry, next))
    }
}

fn misplaced(entry: &DirectoryEntry, next: NextBatch) -> PackError {
    PackError::Misplaced {
        partition: entry.range.partition,
        offset: next.offset(),
    }
}

impl std::fmt::Debug for PackReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackReader")
            .field("header", &self.header)
            .field("ranges", &self.footer.len())
            .finish_non_exhaustive()
    }
}
