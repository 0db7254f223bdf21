//! The 61 bytes before the records, read and patched without touching what follows them.
//!
//! ```text
//!  0  base offset          i64   \
//!  8  length               i32    | outside the checksum: the broker assigns the offset and the
//! 12  leader epoch         i32    | epoch without reading the batch again
//! 16  magic                i8     |
//! 17  crc32c               u32   /   of everything from byte 21 to the end
//! 21  attributes           i16   bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//! 23  last offset delta    i32
//! 27  base timestamp       i64   the first record's, or the delete horizon where bit 6 is set (KIP-534)
//! 35  max timestamp        i64
//! 43  producer id          i64
//! 51  producer epoch       i16
//! 53  base sequence        i32
//! 57  record count         i32
//! 61  records
//! ```
//!
//! All big-endian. The length counts what follows it: the batch's size less 12.

use crc_fast::{CrcAlgorithm, Digest};

use crate::error::BatchError;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Size of the header in bytes: the smallest batch, one without records.
pub const HEADER_BYTES: usize = 61;

/// Bytes up to and including the length field, which the length does not count.
pub const LENGTH_PREFIX_BYTES: usize = 12;

/// Bytes from the start up to and including the magic byte: what tells a batch's size and format.
const MAGIC_PREFIX_BYTES: usize = 17;

/// Where the bytes under the checksum start.
const CRC_FROM: usize = 21;

const MAGIC: i8 = 2;

const CODEC_MASK: i16 = 0b0000_0111;
const LOG_APPEND_TIME: i16 = 0b0000_1000;
const TRANSACTIONAL: i16 = 0b0001_0000;
const CONTROL: i16 = 0b0010_0000;
const DELETE_HORIZON: i16 = 0b0100_0000;

/// How a batch's records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy, raw or in xerial's framing.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard (RFC 8878, KIP-110).
    Zstd = 4,
}

impl Codec {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The name that Kafka's settings use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    fn from_attributes(attributes: i16) -> Result<Self, BatchError> {
        let id = (attributes & CODEC_MASK) as u8;
        Self::ALL
            .get(usize::from(id))
            .copied()
            .ok_or(BatchError::UnknownCodec(id))
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who set a batch's timestamps (KIP-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer, one for each record.
    #[default]
    CreateTime,
    /// The broker, one for the whole batch: its max timestamp.
    LogAppendTime,
}

/// A batch's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record as it was produced; compaction may have removed that record, the offset stays.
    pub base_offset: Offset,
    /// The whole batch in bytes, header included.
    pub size_bytes: u32,
    /// The leadership that accepted the batch.
    pub leader_epoch: LeaderEpoch,
    /// CRC32C of everything after itself.
    pub crc: u32,
    /// How the records are compressed.
    pub codec: Codec,
    /// Who set the timestamps.
    pub timestamp_type: TimestampType,
    /// The batch belongs to a transaction.
    pub transactional: bool,
    /// The batch holds control records (transaction markers), which are not delivered to applications.
    pub control: bool,
    /// When the tombstones in this batch may go, once compaction has set it (KIP-534).
    pub delete_horizon: Option<TimestampMs>,
    /// Offset of the last record as it was produced, less the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamps are counted from: the first record's timestamp or the delete horizon.
    pub base_timestamp: TimestampMs,
    /// The latest timestamp of the batch.
    pub max_timestamp: TimestampMs,
    /// The idempotent producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// That producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// The first record's sequence number.
    pub base_sequence: Sequence,
    /// How many records there are.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, of which only the first 61 are looked at.
    ///
    /// What is returned is a header that a batch can have: format v2, a known codec, no negative length, offset or
    /// count, and no more records than offsets. The checksum is not looked at; see [`crate::Batch::check_crc`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let size_bytes = Self::peek_size(bytes)?;
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(truncated(HEADER_BYTES, bytes));
        };
        let attributes = i16_at(header, 21);
        let base_timestamp = TimestampMs(i64_at(header, 27));
        let header = Self {
            base_offset: Offset(i64_at(header, 0)),
            size_bytes,
            leader_epoch: LeaderEpoch(i32_at(header, 12)),
            crc: i32_at(header, 17) as u32,
            codec: Codec::from_attributes(attributes)?,
            timestamp_type: if attributes & LOG_APPEND_TIME == 0 {
                TimestampType::CreateTime
            } else {
                TimestampType::LogAppendTime
            },
            transactional: attributes & TRANSACTIONAL != 0,
            control: attributes & CONTROL != 0,
            delete_horizon: (attributes & DELETE_HORIZON != 0).then_some(base_timestamp),
            last_offset_delta: i32_at(header, 23),
            base_timestamp,
            max_timestamp: TimestampMs(i64_at(header, 35)),
            producer_id: ProducerId(i64_at(header, 43)),
            producer_epoch: ProducerEpoch(i16_at(header, 51)),
            base_sequence: Sequence(i32_at(header, 53)),
            record_count: i32_at(header, 57),
        };
        header.check_ranges()?;
        Ok(header)
    }

    /// The size in bytes of the batch that starts `bytes`, after a look at its length and format only. Needs 17 bytes.
    pub fn peek_size(bytes: &[u8]) -> Result<u32, BatchError> {
        let Some(prefix) = bytes.first_chunk::<MAGIC_PREFIX_BYTES>() else {
            return Err(truncated(MAGIC_PREFIX_BYTES, bytes));
        };
        match prefix[16] as i8 {
            MAGIC => {}
            magic @ (0 | 1) => return Err(BatchError::OldFormat(magic)),
            magic => return Err(BatchError::UnknownFormat(magic)),
        }
        let length = i32_at(prefix, 8);
        let size_bytes = i64::from(length) + LENGTH_PREFIX_BYTES as i64;
        if size_bytes < HEADER_BYTES as i64 {
            return Err(BatchError::LengthTooSmall(length));
        }
        Ok(size_bytes as u32)
    }

    /// Encodes the header as it stands, the checksum field included: after a change to anything under the checksum,
    /// [`seal`] the batch.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&(self.size_bytes - LENGTH_PREFIX_BYTES as u32).to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[16] = MAGIC as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes().to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.0.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Encodes the header for `payload` with the size and the checksum that fit them both, so that a changed header and
    /// the records it was read with can go out side by side without being copied together.
    pub fn encode_over(&self, payload: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = *self;
        header.size_bytes = (HEADER_BYTES + payload.len()) as u32;
        let mut out = header.encode();
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&out[CRC_FROM..]);
        digest.update(payload);
        out[17..21].copy_from_slice(&(digest.finalize() as u32).to_be_bytes());
        out
    }

    /// Offset of the last record as it was produced.
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after this batch: where the next one starts.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// How many offsets the batch takes up; more than its records once compaction has removed some.
    pub fn offset_count(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1
    }

    /// Whether the batch came from an idempotent producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 >= 0
    }

    /// The last record's sequence number, or [`Sequence::NONE`].
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence == Sequence::NONE {
            Sequence::NONE
        } else {
            self.base_sequence.advance(self.last_offset_delta)
        }
    }

    /// Writes the header over the start of `batch`, the rest of which is final, with the right size and checksum.
    pub(crate) fn finish(&mut self, batch: &mut [u8]) {
        self.size_bytes = batch.len() as u32;
        batch[..HEADER_BYTES].copy_from_slice(&self.encode());
        self.crc = computed_crc(batch);
        batch[17..21].copy_from_slice(&self.crc.to_be_bytes());
    }

    fn attributes(&self) -> i16 {
        let flag = |set: bool, bit: i16| if set { bit } else { 0 };
        self.codec as i16
            | flag(
                self.timestamp_type == TimestampType::LogAppendTime,
                LOG_APPEND_TIME,
            )
            | flag(self.transactional, TRANSACTIONAL)
            | flag(self.control, CONTROL)
            | flag(self.delete_horizon.is_some(), DELETE_HORIZON)
    }

    fn check_ranges(&self) -> Result<(), BatchError> {
        let bad = |field, value| Err(BatchError::BadField { field, value });
        if self.base_offset.0 < 0 {
            return bad("base offset", self.base_offset.0);
        }
        if self.last_offset_delta < 0 {
            return bad("last offset delta", self.last_offset_delta.into());
        }
        // The offset after the batch has to exist as well.
        if self.base_offset.0 > i64::MAX - self.offset_count() {
            return bad("base offset", self.base_offset.0);
        }
        if self.record_count < 0 {
            return bad("record count", self.record_count.into());
        }
        if i64::from(self.record_count) > self.offset_count() {
            return Err(BatchError::CountMismatch {
                count: self.record_count,
                offsets: self.offset_count(),
            });
        }
        Ok(())
    }
}

/// CRC32C of the part of `batch` that its checksum covers. `batch` is one whole batch.
pub fn computed_crc(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(batch.get(CRC_FROM..).unwrap_or_default())
}

/// How many records there are in `batches`, which are whole and follow one another: looks at each header only.
pub fn records_in(mut batches: &[u8]) -> u64 {
    let mut records = 0;
    while let Some(header) = batches.first_chunk::<HEADER_BYTES>() {
        records += u64::from(i32_at(header, 57).max(0).unsigned_abs());
        let Ok(size_bytes) = BatchHeader::peek_size(batches) else {
            break;
        };
        batches = batches.get(size_bytes as usize..).unwrap_or_default();
    }
    records
}

/// Writes the checksum that fits the rest of `batch`, which is one whole batch.
pub fn seal(batch: &mut [u8]) {
    let crc = computed_crc(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Sets the base offset at the start of `batch`. The checksum does not cover it.
pub fn set_base_offset(batch: &mut [u8], offset: Offset) {
    batch[0..8].copy_from_slice(&offset.0.to_be_bytes());
}

/// Sets the leader epoch at the start of `batch`. The checksum does not cover it.
pub fn set_leader_epoch(batch: &mut [u8], epoch: LeaderEpoch) {
    batch[12..16].copy_from_slice(&epoch.0.to_be_bytes());
}

/// Makes `batch`, which is one whole batch, say that the broker took it at `now`, and computes its checksum again.
pub fn set_log_append_time(batch: &mut [u8], now: TimestampMs) {
    let attributes = i16_at(batch, 21) | LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    set_max_timestamp(batch, now);
}

/// Makes `batch`, which is one whole batch, say that `latest` is its latest timestamp, and computes its checksum again.
pub fn set_max_timestamp(batch: &mut [u8], latest: TimestampMs) {
    batch[35..43].copy_from_slice(&latest.0.to_be_bytes());
    seal(batch);
}

fn truncated(needed_bytes: usize, bytes: &[u8]) -> BatchError {
    BatchError::Truncated {
        needed_bytes,
        available_bytes: bytes.len(),
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(array_at(bytes, at))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}
