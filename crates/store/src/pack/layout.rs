//! The fixed parts of a pack, byte for byte: header, directory entry, index entry, trailer.

use bytes::BufMut;
use millstream_record::{Offset, TimestampMs};

use super::range::{PackRange, RANGE_BYTES};
use crate::format::{FormatError, Reader, seal, unseal};
use crate::ids::PackId;

/// The newest layout known here.
pub(super) const VERSION: u16 = 1;

/// Where the batches start.
pub(super) const HEADER_BYTES: usize = 64;
/// Size of the trailer, which ends the file.
pub(super) const TRAILER_BYTES: usize = 64;
/// Size of one range in the directory.
pub(super) const DIRECTORY_ENTRY_BYTES: usize = RANGE_BYTES + 24;
/// Size of one entry of the sparse index.
pub(super) const INDEX_ENTRY_BYTES: usize = 24;

const HEADER_MAGIC: [u8; 8] = *b"MSPACK\r\n";
const TRAILER_MAGIC: [u8; 8] = *b"MSPEND\r\n";
const WHAT: &str = "pack";

/// What a pack starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    /// The pack's number.
    pub id: PackId,
    /// When it was begun, by the server's clock.
    pub created: TimestampMs,
    /// The number of the manifest that was in force then: a pack that no manifest lists was left unfinished if this is
    /// still the newest one.
    pub manifest: u64,
}

impl PackHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.put_slice(&HEADER_MAGIC);
        out.put_u16(VERSION);
        out.put_bytes(0, 6);
        out.put_u64(self.id.0);
        out.put_i64(self.created.0);
        out.put_u64(self.manifest);
        out.put_bytes(0, HEADER_BYTES - 4 - out.len());
        seal(&mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(HEADER_MAGIC, VERSION)?;
        let mut reader = Reader::new(WHAT, unseal(WHAT, bytes)?);
        reader.array::<16>()?;
        Ok(Self {
            id: PackId(reader.u64()?),
            created: TimestampMs(reader.i64()?),
            manifest: reader.u64()?,
        })
    }
}

/// What a pack ends with: where its footer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) id: PackId,
    pub(super) footer_position: u64,
    pub(super) directory_entries: u32,
    pub(super) index_entries: u32,
    pub(super) footer_crc: u32,
}

impl Trailer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRAILER_BYTES);
        out.put_slice(&TRAILER_MAGIC);
        out.put_u16(VERSION);
        out.put_bytes(0, 6);
        out.put_u64(self.id.0);
        out.put_u64(self.footer_position);
        out.put_u32(self.directory_entries);
        out.put_u32(self.index_entries);
        out.put_u32(self.footer_crc);
        out.put_bytes(0, TRAILER_BYTES - 4 - out.len());
        seal(&mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(TRAILER_MAGIC, VERSION)?;
        let mut reader = Reader::new(WHAT, unseal(WHAT, bytes)?);
        reader.array::<16>()?;
        Ok(Self {
            id: PackId(reader.u64()?),
            footer_position: reader.u64()?,
            directory_entries: reader.u32()?,
            index_entries: reader.u32()?,
            footer_crc: reader.u32()?,
        })
    }

    /// Bytes of the footer, without what pads it.
    pub(super) fn footer_bytes(&self) -> u64 {
        u64::from(self.directory_entries) * DIRECTORY_ENTRY_BYTES as u64
            + u64::from(self.index_entries) * INDEX_ENTRY_BYTES as u64
    }
}

/// One range as the pack's directory has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// What it covers.
    pub range: PackRange,
    /// Where in the file its batches start.
    pub position: u64,
    /// Base offset of the first batch that has the range's max timestamp.
    pub max_timestamp_batch: Offset,
    /// The number of its first index entry.
    pub(super) index_start: u32,
    /// How many index entries it has.
    pub(super) index_count: u32,
}

impl DirectoryEntry {
    /// The entry of a range whose batches start at `position` and are not indexed.
    pub(super) fn bare(range: PackRange, position: u64) -> Self {
        Self {
            range,
            position,
            max_timestamp_batch: range.first,
            index_start: 0,
            index_count: 0,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.range.encode(out);
        out.put_u64(self.position);
        out.put_i64(self.max_timestamp_batch.0);
        out.put_u32(self.index_start);
        out.put_u32(self.index_count);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            range: PackRange::decode(reader)?,
            position: reader.u64()?,
            max_timestamp_batch: Offset(reader.i64()?),
            index_start: reader.u32()?,
            index_count: reader.u32()?,
        })
    }

    /// Where in the file its batches end.
    pub(super) fn end_position(&self) -> u64 {
        self.position.saturating_add(self.range.bytes)
    }
}

/// Where one batch of a range starts. A range's first batch has no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// The batch's base offset.
    pub(super) base_offset: Offset,
    /// Where it starts, in bytes from the start of the range.
    pub(super) position: u64,
    /// The latest timestamp of the range's batches before this one.
    pub(super) max_timestamp_before: TimestampMs,
}

impl IndexEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.base_offset.0);
        out.put_u64(self.position);
        out.put_i64(self.max_timestamp_before.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            base_offset: Offset(reader.i64()?),
            position: reader.u64()?,
            max_timestamp_before: TimestampMs(reader.i64()?),
        })
    }
}
