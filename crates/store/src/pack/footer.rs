//! A pack's footer: the directory of its ranges and their sparse index.
//!
//! It stays as the bytes that were read, and entries are decoded as they are looked at: entries have a fixed size, so a
//! search needs no more, and a cached footer costs what it takes on disk.

use bytes::Bytes;
use millstream_env::DIRECT_ALIGNMENT;
use millstream_limits::PACK_FOOTER_BYTES_MAX;
use millstream_record::{Offset, TimestampMs};

use super::PackError;
use super::layout::{
    DIRECTORY_ENTRY_BYTES, DirectoryEntry, HEADER_BYTES, INDEX_ENTRY_BYTES, IndexEntry, PackHeader,
    TRAILER_BYTES, Trailer,
};
use super::range::NextBatch;
use crate::format::{FormatError, Reader, crc32c};
use crate::ids::{PackId, PartitionId};
use crate::media::Blob;

const WHAT: &str = "pack footer";

/// A footer whose checksum and every entry have been checked.
#[derive(Debug, Clone)]
pub(super) struct Footer {
    bytes: Bytes,
    directory_entries: usize,
}

/// Where in a range to start looking, and how far the next place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// In bytes from the start of the range.
    pub(super) position: u64,
    /// Where the batch that is there starts.
    pub(super) next: NextBatch,
    /// Bytes up to the next index entry or the range's end.
    pub(super) gap_bytes: u64,
}

impl Footer {
    /// Reads header, trailer and footer of a pack.
    pub(super) fn read(blob: &dyn Blob) -> Result<(PackHeader, Self), PackError> {
        let size = blob.len();
        if size < (HEADER_BYTES + TRAILER_BYTES) as u64
            || !size.is_multiple_of(DIRECT_ALIGNMENT as u64)
        {
            return Err(FormatError::Truncated("pack").into());
        }
        let header = PackHeader::decode(&read_exact(blob, 0, HEADER_BYTES)?)?;
        let (id, footer) = Self::read_behind_batches(blob)?;
        if id != header.id {
            return Err(malformed("its header and its trailer are of different packs").into());
        }
        Ok((header, footer))
    }

    /// Reads trailer and footer of a pack that has room for them. Says whose they are.
    pub(super) fn read_behind_batches(blob: &dyn Blob) -> Result<(PackId, Self), PackError> {
        let trailer_position = blob.len().saturating_sub(TRAILER_BYTES as u64);
        let trailer = Trailer::decode(&read_exact(blob, trailer_position, TRAILER_BYTES)?)?;
        let footer_bytes = trailer.footer_bytes();
        let end = trailer.footer_position.checked_add(footer_bytes);
        if end.is_none_or(|end| end > trailer_position)
            || trailer.footer_position < HEADER_BYTES as u64
        {
            return Err(malformed("it lies outside the pack").into());
        }
        if footer_bytes > PACK_FOOTER_BYTES_MAX {
            return Err(malformed("it is larger than any pack's").into());
        }
        let bytes = read_exact(blob, trailer.footer_position, footer_bytes as usize)?;
        if crc32c(&bytes) != trailer.footer_crc {
            return Err(FormatError::Checksum(WHAT).into());
        }
        let footer = Self {
            bytes,
            directory_entries: trailer.directory_entries as usize,
        };
        footer.check(trailer.footer_position)?;
        Ok((trailer.id, footer))
    }

    /// A footer that was just encoded.
    pub(super) fn new(bytes: Vec<u8>, directory_entries: usize) -> Self {
        Self {
            bytes: bytes.into(),
            directory_entries,
        }
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.directory_entries
    }

    /// How much memory it takes.
    pub(super) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The ranges in order of partition and offset.
    pub(super) fn entries(&self) -> impl Iterator<Item = DirectoryEntry> {
        (0..self.len()).map(|number| self.entry(number))
    }

    /// The range of `partition` that starts at `first`.
    pub(super) fn find(&self, partition: PartitionId, first: Offset) -> Option<DirectoryEntry> {
        let number = partition_point(self.len(), |number| {
            let range = self.entry(number).range;
            (range.partition, range.first) < (partition, first)
        });
        // Ranges may cover nothing, so several can start at one offset; the one with batches is the one to read.
        (number..self.len())
            .map(|number| self.entry(number))
            .take_while(|entry| (entry.range.partition, entry.range.first) == (partition, first))
            .last()
    }

    /// Where to start looking for the batch that contains `offset`, or else the next one.
    pub(super) fn start_for_offset(&self, entry: &DirectoryEntry, offset: Offset) -> Start {
        self.start(entry, |index| index.base_offset <= offset)
    }

    /// Where to start looking for the first batch that is not older than `at`.
    pub(super) fn start_for_time(&self, entry: &DirectoryEntry, at: TimestampMs) -> Start {
        self.start(entry, |index| index.max_timestamp_before < at)
    }

    /// The first offset after `offset` that the index leads to, or where the range ends.
    pub(super) fn next_indexed(&self, entry: &DirectoryEntry, offset: Offset) -> Offset {
        let first = entry.index_start as usize;
        let count = entry.index_count as usize;
        let passed = partition_point(count, |number| {
            self.index(first + number).base_offset <= offset
        });
        if passed < count {
            self.index(first + passed).base_offset
        } else {
            entry.range.end
        }
    }

    /// The last index entry for which `before` holds, which it does for all entries before that one.
    fn start(&self, entry: &DirectoryEntry, before: impl Fn(&IndexEntry) -> bool) -> Start {
        let first = entry.index_start as usize;
        let count = entry.index_count as usize;
        let passed = partition_point(count, |number| before(&self.index(first + number)));
        let (position, batch) = match passed.checked_sub(1) {
            Some(number) => {
                let index = self.index(first + number);
                (index.position, NextBatch::At(index.base_offset))
            }
            None => (0, entry.range.first_batch()),
        };
        let end = if passed < count {
            self.index(first + passed).position
        } else {
            entry.range.bytes
        };
        Start {
            position,
            next: batch,
            gap_bytes: end - position,
        }
    }

    fn entry(&self, number: usize) -> DirectoryEntry {
        let at = number * DIRECTORY_ENTRY_BYTES;
        let mut reader = Reader::new(WHAT, &self.bytes[at..at + DIRECTORY_ENTRY_BYTES]);
        DirectoryEntry::decode(&mut reader).expect("checked when the footer was read")
    }

    fn index(&self, number: usize) -> IndexEntry {
        let at = self.directory_entries * DIRECTORY_ENTRY_BYTES + number * INDEX_ENTRY_BYTES;
        let mut reader = Reader::new(WHAT, &self.bytes[at..at + INDEX_ENTRY_BYTES]);
        IndexEntry::decode(&mut reader).expect("checked when the footer was read")
    }

    /// Checks that ranges are sorted, lie one after another in the file, and share out the index among them.
    fn check(&self, batches_end: u64) -> Result<(), FormatError> {
        let mut reader = Reader::new(WHAT, &self.bytes);
        let mut position = HEADER_BYTES as u64;
        let mut index_start = 0u32;
        let mut before: Option<(PartitionId, Offset)> = None;
        let mut shares = Vec::with_capacity(self.directory_entries);
        for _ in 0..self.directory_entries {
            let entry = DirectoryEntry::decode(&mut reader)?;
            let range = entry.range;
            if before.is_some_and(|before| before > (range.partition, range.first)) {
                return Err(malformed("its ranges overlap or are out of order"));
            }
            before = Some((range.partition, range.end));
            if entry.position != position || entry.index_start != index_start {
                return Err(malformed("its ranges do not lie one after another"));
            }
            position = entry.end_position();
            index_start = index_start
                .checked_add(entry.index_count)
                .ok_or(malformed("its index is too large"))?;
            shares.push((entry.index_count, range));
        }
        if position > batches_end {
            return Err(malformed("its ranges end after the batches do"));
        }
        for (count, range) in shares {
            let mut last = (range.first, 0, TimestampMs(i64::MIN));
            for _ in 0..count {
                let entry = IndexEntry::decode(&mut reader)?;
                let rises = entry.base_offset > last.0
                    && entry.position > last.1
                    && entry.max_timestamp_before >= last.2;
                if !rises || entry.position >= range.bytes || entry.base_offset >= range.end {
                    return Err(malformed("its index does not rise within its range"));
                }
                last = (
                    entry.base_offset,
                    entry.position,
                    entry.max_timestamp_before,
                );
            }
        }
        reader.end()
    }
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: WHAT, why }
}

/// The first of `0..len` for which `before` does not hold.
fn partition_point(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Reads `len` bytes at `position`, all of them. `len` is bounded by the caller.
pub(super) fn read_exact(blob: &dyn Blob, position: u64, len: usize) -> Result<Bytes, PackError> {
    let mut bytes = vec![0; len];
    if blob.read_at(&mut bytes, position)? < len {
        return Err(FormatError::Truncated("pack").into());
    }
    Ok(bytes.into())
}
