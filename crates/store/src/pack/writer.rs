//! Writes packs, one after another, through one chunk of memory.

use std::sync::Arc;

use bytes::BytesMut;
use millstream_env::{DIRECT_ALIGNMENT, aligned_buffer};
use millstream_limits::PACK_FOOTER_BYTES_MAX;
use millstream_record::{BatchHeader, Offset, TimestampMs};

use super::layout::{
    DIRECTORY_ENTRY_BYTES, DirectoryEntry, INDEX_ENTRY_BYTES, IndexEntry, PackHeader,
    TRAILER_BYTES, Trailer,
};
use super::range::PackRange;
use super::{PackError, PackInfo, blob_name};
use crate::format::crc32c;
use crate::ids::{PackId, PartitionId};
use crate::media::{BlobMedium, BlobWriter};

/// How much is written at a time: large direct writes cost the least, and disturb the journal's syncs the least.
const CHUNK_BYTES: usize = 8 << 20;

const PACK_BEGUN: &str = "a pack was begun";
const RANGE_BEGUN: &str = "a range was begun";

/// Writes packs one at a time. Dropping it leaves nothing behind of a pack that was not finished.
///
/// Ranges come in order of partition and offset: [`PackWriter::begin`], then for each range
/// [`PackWriter::begin_range`], its batches by [`PackWriter::append`] and [`PackWriter::end_range`], then
/// [`PackWriter::finish`].
pub struct PackWriter {
    medium: Arc<dyn BlobMedium>,
    chunk: BytesMut,
    pack: Option<Unfinished>,
}

struct Unfinished {
    header: PackHeader,
    blob: Box<dyn BlobWriter>,
    /// Bytes so far, the chunk's included.
    position: u64,
    directory: Vec<DirectoryEntry>,
    index: Vec<IndexEntry>,
    range: Option<OpenRange>,
}

/// A range whose batches are being gone through.
pub(super) struct OpenRange {
    entry: DirectoryEntry,
    index_interval_bytes: u64,
    /// Where the last index entry points, in bytes from the start of the range.
    indexed_position: u64,
}

impl PackWriter {
    /// A writer of packs on `medium`.
    pub fn new(medium: Arc<dyn BlobMedium>) -> Self {
        Self {
            medium,
            chunk: aligned_buffer(CHUNK_BYTES),
            pack: None,
        }
    }

    /// Starts a pack. The number is not in use.
    pub fn begin(&mut self, header: PackHeader) -> Result<(), PackError> {
        self.chunk.clear();
        let blob = self.medium.create(&blob_name(header.id))?;
        self.pack = Some(Unfinished {
            header,
            blob,
            position: 0,
            directory: Vec::new(),
            index: Vec::new(),
            range: None,
        });
        self.write(&header.encode())
    }

    /// Whether a pack has been begun and not finished.
    pub fn is_open(&self) -> bool {
        self.pack.is_some()
    }

    /// Bytes that the pack would have if it were finished now.
    pub fn size_bytes(&self) -> u64 {
        self.pack.as_ref().map_or(0, |pack| {
            pack.position + pack.footer_bytes() + TRAILER_BYTES as u64
        })
    }

    /// Whether the footer has no room for many more ranges: time to finish this pack and begin another.
    pub fn is_footer_full(&self) -> bool {
        self.pack
            .as_ref()
            .is_some_and(|pack| pack.footer_bytes() > PACK_FOOTER_BYTES_MAX / 2)
    }

    /// Starts a range that covers offsets from `first` on. With `compacted`, all that it covers came out of compaction.
    pub fn begin_range(
        &mut self,
        partition: PartitionId,
        first: Offset,
        compacted: bool,
        index_interval_bytes: u32,
    ) {
        let pack = self.pack();
        debug_assert!(pack.range.is_none(), "the range before was ended");
        let range = PackRange::empty(partition, first, compacted);
        let indexed = pack.index.len() as u32;
        pack.range = Some(OpenRange::begin(
            &range,
            pack.position,
            indexed,
            index_interval_bytes,
        ));
    }

    /// Adds one batch, which is whole and starts at or after the range's end. It is stored byte for byte.
    pub fn append(&mut self, batch: &[u8]) -> Result<(), PackError> {
        let header = BatchHeader::parse(batch)?;
        self.append_at(header.base_offset, header.delete_horizon, batch)
    }

    /// Adds one batch as it is, but for its base offset. `delete_horizon` is when it is worth looking into the batch for
    /// tombstones, which is not what its header says once those are gone.
    ///
    /// # Panics
    ///
    /// When no range was begun.
    pub fn append_at(
        &mut self,
        base_offset: Offset,
        delete_horizon: Option<TimestampMs>,
        batch: &[u8],
    ) -> Result<(), PackError> {
        let mut header = BatchHeader::parse(batch)?;
        header.base_offset = base_offset;
        header.delete_horizon = delete_horizon;
        let pack = self.pack();
        let open = pack.range.as_mut().expect(RANGE_BEGUN);
        if header.base_offset < open.entry.range.end || header.size_bytes as usize != batch.len() {
            return Err(PackError::Misplaced {
                partition: open.entry.range.partition,
                offset: header.base_offset,
            });
        }
        open.push(&header, &mut pack.index);
        let (_, rest) = batch.split_at(size_of::<i64>());
        self.write(&base_offset.0.to_be_bytes())?;
        self.write(rest)
    }

    /// The open range so far.
    pub fn range(&self) -> Option<&PackRange> {
        let open = self.pack.as_ref()?.range.as_ref()?;
        Some(&open.entry.range)
    }

    /// Makes the open range cover everything up to `end`, whether or not batches are there.
    ///
    /// # Panics
    ///
    /// When no range was begun.
    pub fn cover(&mut self, end: Offset) {
        let open = self.pack().range.as_mut().expect(RANGE_BEGUN);
        let range = &mut open.entry.range;
        range.end = range.end.max(end);
    }

    /// Ends the range.
    ///
    /// # Panics
    ///
    /// When no range was begun.
    pub fn end_range(&mut self) {
        let pack = self.pack();
        let open = pack.range.take().expect(RANGE_BEGUN);
        pack.directory.push(open.entry);
    }

    /// Writes the footer and makes the pack durable.
    ///
    /// # Panics
    ///
    /// When no pack was begun.
    pub fn finish(&mut self) -> Result<PackInfo, PackError> {
        let mut pack = self.pack.take().expect(PACK_BEGUN);
        debug_assert!(pack.range.is_none(), "the last range was ended");
        let footer = encode_footer(&pack.directory, &pack.index);
        let trailer = Trailer {
            id: pack.header.id,
            footer_position: pack.position,
            directory_entries: pack.directory.len() as u32,
            index_entries: pack.index.len() as u32,
            footer_crc: crc32c(&footer),
        };
        fill(&mut self.chunk, &mut pack, &footer)?;
        // The trailer ends the last block of the file, so that every write is aligned.
        let unpadded = pack.position + TRAILER_BYTES as u64;
        let padding = unpadded.next_multiple_of(DIRECT_ALIGNMENT as u64) - unpadded;
        fill(&mut self.chunk, &mut pack, &vec![0; padding as usize])?;
        fill(&mut self.chunk, &mut pack, &trailer.encode())?;
        if !self.chunk.is_empty() {
            pack.blob.write(&self.chunk)?;
            self.chunk.clear();
        }
        pack.blob.finish()?;
        Ok(PackInfo {
            id: pack.header.id,
            size_bytes: pack.position,
            created: pack.header.created,
            ranges: pack.directory.iter().map(|entry| entry.range).collect(),
        })
    }

    fn pack(&mut self) -> &mut Unfinished {
        self.pack.as_mut().expect(PACK_BEGUN)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let pack = self.pack.as_mut().expect(PACK_BEGUN);
        fill(&mut self.chunk, pack, bytes)
    }
}

/// Adds `bytes` to the chunk, writing it whenever it is full.
fn fill(chunk: &mut BytesMut, pack: &mut Unfinished, mut bytes: &[u8]) -> Result<(), PackError> {
    pack.position += bytes.len() as u64;
    while !bytes.is_empty() {
        let (part, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - chunk.len()));
        chunk.extend_from_slice(part);
        bytes = rest;
        if chunk.len() == CHUNK_BYTES {
            pack.blob.write(chunk)?;
            chunk.clear();
        }
    }
    Ok(())
}

impl OpenRange {
    /// Starts at the first batch of `range`, at `position` in the file, after `indexed` index entries of others.
    pub(super) fn begin(
        range: &PackRange,
        position: u64,
        indexed: u32,
        index_interval_bytes: u32,
    ) -> Self {
        let range = PackRange::empty(range.partition, range.first, range.compacted);
        Self {
            entry: DirectoryEntry {
                index_start: indexed,
                ..DirectoryEntry::bare(range, position)
            },
            index_interval_bytes: index_interval_bytes.into(),
            indexed_position: 0,
        }
    }

    /// The entry of the range, of which all is known.
    pub(super) fn end(self, range: PackRange) -> DirectoryEntry {
        DirectoryEntry {
            range,
            ..self.entry
        }
    }

    pub(super) fn push(&mut self, header: &BatchHeader, index: &mut Vec<IndexEntry>) {
        let range = &mut self.entry.range;
        if range.bytes - self.indexed_position >= self.index_interval_bytes && !range.is_empty() {
            self.indexed_position = range.bytes;
            self.entry.index_count += 1;
            index.push(IndexEntry {
                base_offset: header.base_offset,
                position: range.bytes,
                max_timestamp_before: range.max_timestamp,
            });
        }
        if header.record_count > 0 && header.max_timestamp > range.max_timestamp {
            self.entry.max_timestamp_batch = header.base_offset;
        }
        range.push(header);
    }
}

impl Unfinished {
    fn footer_bytes(&self) -> u64 {
        (self.directory.len() * DIRECTORY_ENTRY_BYTES + self.index.len() * INDEX_ENTRY_BYTES) as u64
    }
}

/// The footer of a pack.
pub(super) fn encode_footer(directory: &[DirectoryEntry], index: &[IndexEntry]) -> Vec<u8> {
    let bytes = directory.len() * DIRECTORY_ENTRY_BYTES + index.len() * INDEX_ENTRY_BYTES;
    let mut out = Vec::with_capacity(bytes);
    for entry in directory {
        entry.encode(&mut out);
    }
    for entry in index {
        entry.encode(&mut out);
    }
    out
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackWriter")
            .field("pack", &self.pack.as_ref().map(|pack| pack.header))
            .finish_non_exhaustive()
    }
}

/// When a pack was begun and under which manifest: what [`PackWriter::begin`] needs besides its number.
#[derive(Debug, Clone, Copy)]
pub struct PackOrigin {
    /// The server's time.
    pub now: TimestampMs,
    /// The number of the manifest in force.
    pub manifest: u64,
}

impl PackOrigin {
    /// The header of pack `id`.
    pub fn header(self, id: PackId) -> PackHeader {
        PackHeader {
            id,
            created: self.now,
            manifest: self.manifest,
        }
    }
}
