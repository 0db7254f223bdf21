//! Making a new batch out of an old one: for compaction, and for topics that store another codec than they are sent.

use bytes::Bytes;

use crate::batch::Batch;
use crate::builder::BatchBuilder;
use crate::compression::{self, Compression};
use crate::error::BatchError;
use crate::header::{BatchHeader, Codec, HEADER_BYTES, TimestampType};
use crate::ids::TimestampMs;
use crate::record::Record;
use crate::records::Records;

/// How [`rewrite`] treats what it keeps.
#[derive(Debug, Clone, Copy)]
pub struct RewriteOptions {
    /// When tombstones may be dropped that have no such time yet: now and `delete.retention.ms`. `None` sets none.
    pub delete_horizon: Option<TimestampMs>,
    /// The level to compress at again, by the batch's own codec.
    pub level: Option<i32>,
    /// The most that the batch may grow to when decompressed.
    pub decompressed_bytes_max: usize,
}

/// What [`rewrite`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewritten {
    /// Every record stays and nothing else changes: use the batch as it is.
    Unchanged,
    /// A new batch in the place of the old one.
    Changed(Batch),
    /// No record stays. Drop the batch, or put [`emptied`] in its place while its producer's last sequence number
    /// has to be remembered.
    Emptied,
}

/// Keeps the records that `keep` wants, asked once for each in order.
///
/// As Kafka's cleaner does, what stays keeps its offset and timestamp, and the batch its range of offsets, producer,
/// sequence numbers, leader epoch, flags and codec. If a tombstone stays in a batch without a delete horizon, it gets
/// the one in `options` (KIP-534). The checksum of `batch` is not looked at, that of the new one is right.
pub fn rewrite(
    batch: &Batch,
    options: &RewriteOptions,
    mut keep: impl FnMut(&Record) -> bool,
) -> Result<Rewritten, BatchError> {
    let mut kept = Kept::default();
    for record in batch.records(options.decompressed_bytes_max) {
        let record = record?;
        kept.note(&record, keep(&record));
    }
    let needs_horizon = kept.tombstones && batch.header.delete_horizon.is_none();
    let new_horizon = options.delete_horizon.filter(|_| needs_horizon);
    if kept.count == 0 && batch.header.record_count > 0 {
        Ok(Rewritten::Emptied)
    } else if kept.count == batch.header.record_count && new_horizon.is_none() {
        Ok(Rewritten::Unchanged)
    } else {
        write_kept(batch, options, &kept, new_horizon).map(Rewritten::Changed)
    }
}

/// Which records stay, as one bit each: a second pass over the batch costs less than holding every record of it.
#[derive(Default)]
struct Kept {
    bits: Vec<u64>,
    index: usize,
    count: i32,
    tombstones: bool,
    first_timestamp: Option<TimestampMs>,
    max_timestamp: Option<TimestampMs>,
}

impl Kept {
    fn note(&mut self, record: &Record, stays: bool) {
        if self.index.is_multiple_of(64) {
            self.bits.push(0);
        }
        if stays {
            self.bits[self.index / 64] |= 1 << (self.index % 64);
            self.count += 1;
            self.tombstones |= record.value.is_none();
            self.first_timestamp.get_or_insert(record.timestamp);
            self.max_timestamp = self.max_timestamp.max(Some(record.timestamp));
        }
        self.index += 1;
    }

    fn contains(&self, index: usize) -> bool {
        self.bits[index / 64] & (1 << (index % 64)) != 0
    }
}

fn write_kept(
    batch: &Batch,
    options: &RewriteOptions,
    kept: &Kept,
    new_horizon: Option<TimestampMs>,
) -> Result<Batch, BatchError> {
    let mut header = batch.header;
    header.delete_horizon = header.delete_horizon.or(new_horizon);
    if let (TimestampType::CreateTime, Some(max_timestamp)) =
        (header.timestamp_type, kept.max_timestamp)
    {
        header.max_timestamp = max_timestamp;
    }
    let base_timestamp = header
        .delete_horizon
        .or(kept.first_timestamp)
        .unwrap_or(header.base_timestamp);
    let compression = Compression {
        codec: header.codec,
        level: options.level,
    };
    let mut builder = BatchBuilder::like(&header, compression, base_timestamp);
    for (index, record) in batch.records(options.decompressed_bytes_max).enumerate() {
        let record = record?;
        if kept.contains(index) {
            builder.append_original(&record);
        }
    }
    builder.build().ok_or(BatchError::NoBatch)
}

/// The batch without its records: a header that keeps the range of offsets and what is known of the producer, so that
/// its sequence numbers survive the compaction of its last batch.
pub fn emptied(header: &BatchHeader) -> Batch {
    let mut header = BatchHeader {
        codec: Codec::None,
        delete_horizon: None,
        base_timestamp: TimestampMs::NONE,
        record_count: 0,
        ..*header
    };
    let mut bytes = vec![0; HEADER_BYTES];
    header.finish(&mut bytes);
    Batch {
        header,
        bytes: bytes.into(),
    }
}

/// The same records under another codec; everything else in the header stays. A batch that has the codec already comes
/// back as it is.
///
/// The records are decoded on the way, so what comes back is known to be readable. Fails with [`BatchError::Bomb`] if
/// they take more than `decompressed_bytes_max`.
pub fn recompress(
    batch: &Batch,
    compression: Compression,
    decompressed_bytes_max: usize,
) -> Result<Batch, BatchError> {
    if batch.header.codec == compression.codec {
        return Ok(batch.clone());
    }
    let plain = batch.decompressed_payload(decompressed_bytes_max)?;
    let mut header = BatchHeader {
        codec: Codec::None,
        ..batch.header
    };
    check_readable(&header, &plain)?;

    header.codec = compression.codec;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + plain.len() / 2);
    bytes.resize(HEADER_BYTES, 0);
    compression::compress(compression, &plain, &mut bytes);
    header.finish(&mut bytes);
    Ok(Batch {
        header,
        bytes: bytes.into(),
    })
}

fn check_readable(header: &BatchHeader, plain: &Bytes) -> Result<(), BatchError> {
    Records::of_plain(*header, plain.clone()).try_for_each(|record| record.map(drop))
}
