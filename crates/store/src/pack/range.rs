//! One partition's share of a pack, as packs and manifests both store it.

use bytes::BufMut;
use millstream_record::{BatchHeader, Offset, TimestampMs};

use crate::format::{FormatError, Reader};
use crate::ids::PartitionId;

/// Size of an encoded [`PackRange`] in bytes.
pub(crate) const RANGE_BYTES: usize = 72;

const COMPACTED: u32 = 1;
const DENSE: u32 = 2;

/// A run of one partition's batches in a pack.
///
/// A range *covers* all offsets from `first` to `end`, whether or not batches are left for them: compaction and trims
/// take records away and leave the offsets covered, so that the partition's end is never forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRange {
    /// Whose batches these are.
    pub partition: PartitionId,
    /// Every offset in it came out of compaction once.
    pub compacted: bool,
    /// Its batches follow one another without a gap, from `first` on. So where one starts, which no checksum of its own
    /// covers, is known.
    pub dense: bool,
    /// The first offset covered.
    pub first: Offset,
    /// The offset after the last one covered.
    pub end: Offset,
    /// The last offset of the last batch; `first - 1` when there are no batches.
    pub last: Offset,
    /// Bytes of batches.
    pub bytes: u64,
    /// Max timestamp of the first batch with records. -1 without records or timestamps.
    pub first_timestamp: TimestampMs,
    /// The latest timestamp. -1 without records or timestamps.
    pub max_timestamp: TimestampMs,
    /// The earliest time at which a tombstone in it may go (KIP-534).
    pub delete_horizon: Option<TimestampMs>,
}

/// Where the next batch of a range starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextBatch {
    /// There.
    At(Offset),
    /// There or further on: what may have been between is gone.
    AtOrAfter(Offset),
}

impl NextBatch {
    /// The lowest offset that it can have.
    pub(super) fn offset(self) -> Offset {
        match self {
            Self::At(offset) | Self::AtOrAfter(offset) => offset,
        }
    }

    /// Whether a batch may start there.
    pub(super) fn can_be(self, base_offset: Offset) -> bool {
        match self {
            Self::At(offset) => base_offset == offset,
            Self::AtOrAfter(offset) => base_offset >= offset,
        }
    }

    /// The first and the last offset of the batch that is there. What its header says of its place counts only where
    /// nothing else does.
    pub(super) fn span(self, header: &BatchHeader) -> (Offset, Offset) {
        let first = match self {
            Self::At(offset) => offset,
            Self::AtOrAfter(_) => header.base_offset,
        };
        (first, first + i64::from(header.last_offset_delta))
    }
}

impl PackRange {
    /// A range without batches that covers offsets from `first` on.
    pub(crate) fn empty(partition: PartitionId, first: Offset, compacted: bool) -> Self {
        Self {
            partition,
            compacted,
            dense: true,
            first,
            end: first,
            last: first - 1,
            bytes: 0,
            first_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            delete_horizon: None,
        }
    }

    /// Adds a batch at the end. It starts at or after the range's end.
    pub(crate) fn push(&mut self, header: &BatchHeader) {
        // What compaction emptied has a header only: its time is no record's.
        if header.record_count > 0 {
            if self.first_timestamp == TimestampMs::NONE {
                self.first_timestamp = header.max_timestamp;
            }
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        }
        self.bytes += u64::from(header.size_bytes);
        self.dense &= header.base_offset == self.last.next();
        self.last = header.last_offset();
        self.end = self.end.max(header.next_offset());
        self.delete_horizon = match (self.delete_horizon, header.delete_horizon) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Where its first batch starts.
    pub(super) fn first_batch(&self) -> NextBatch {
        self.batch_from(self.first)
    }

    /// Where the batch starts that follows one with that last offset.
    pub(super) fn batch_after(&self, last: Offset) -> NextBatch {
        self.batch_from(last.next())
    }

    fn batch_from(&self, offset: Offset) -> NextBatch {
        if self.dense {
            NextBatch::At(offset)
        } else {
            NextBatch::AtOrAfter(offset)
        }
    }

    /// Whether it has no batches.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.partition.0);
        let compacted = if self.compacted { COMPACTED } else { 0 };
        let dense = if self.dense { DENSE } else { 0 };
        out.put_u32(compacted | dense);
        out.put_i64(self.first.0);
        out.put_i64(self.end.0);
        out.put_i64(self.last.0);
        out.put_u64(self.bytes);
        out.put_i64(self.first_timestamp.0);
        out.put_i64(self.max_timestamp.0);
        out.put_i64(self.delete_horizon.unwrap_or(TimestampMs::NONE).0);
        out.put_u64(0);
    }

    /// Reads a range that makes sense in itself: offsets in order, no unknown flags.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let partition = PartitionId(reader.u32()?);
        let flags = reader.u32()?;
        let range = Self {
            partition,
            compacted: flags & COMPACTED != 0,
            dense: flags & DENSE != 0,
            first: Offset(reader.i64()?),
            end: Offset(reader.i64()?),
            last: Offset(reader.i64()?),
            bytes: reader.u64()?,
            first_timestamp: TimestampMs(reader.i64()?),
            max_timestamp: TimestampMs(reader.i64()?),
            delete_horizon: Some(TimestampMs(reader.i64()?)).filter(|horizon| horizon.0 >= 0),
        };
        let reserved = reader.u64()?;
        if flags & !(COMPACTED | DENSE) != 0 || reserved != 0 {
            return Err(reader.malformed("a range has flags that are not known"));
        }
        if range.first.0 < 0 || range.first > range.end {
            return Err(reader.malformed("a range ends before it starts"));
        }
        if range.last < range.first - 1 || range.last >= range.end {
            return Err(reader.malformed("a range's last batch lies outside it"));
        }
        if range.is_empty() != (range.last < range.first) {
            return Err(reader.malformed("a range has batches and no offsets, or the reverse"));
        }
        Ok(range)
    }
}
