//! What a broker checks before it accepts a produced batch, after Kafka's `LogValidator` and `UnifiedLog`.

use bytes::Bytes;
use millstream_limits::RECORD_ENCODED_BYTES_MAX;

use crate::batch::Batch;
use crate::error::BatchError;
use crate::header::{BatchHeader, Codec, TimestampType, set_max_timestamp};
use crate::ids::{Offset, TimestampMs};

/// What a topic takes.
#[derive(Debug, Clone, Copy)]
pub struct ProducePolicy {
    /// `max.message.bytes`: the largest batch, as it is sent.
    pub batch_bytes_max: usize,
    /// Every record needs a key: the topic is compacted. The records are decoded to see.
    pub keys_required: bool,
    /// Which timestamps are taken. `None` where the broker sets them.
    pub timestamps: Option<TimestampBounds>,
    /// Decode every record even if nothing else asks for it, so that what is stored is known to be readable.
    pub records_checked: bool,
    /// The most that a batch may grow to when it has to be decompressed.
    pub decompressed_bytes_max: usize,
}

/// The range of timestamps that a topic takes, both ends included. A record without a timestamp always fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampBounds {
    /// Now less `message.timestamp.before.max.ms`; `i64::MIN` for no bound.
    pub earliest: TimestampMs,
    /// Now and `message.timestamp.after.max.ms`.
    pub latest: TimestampMs,
}

impl ProducePolicy {
    /// Whether the records of a batch with this header have to be decoded to tell if it fits: where the policy asks for
    /// it, and where one of them could be larger than any record may be and that can be seen without decompressing.
    pub fn records_needed(&self, header: &BatchHeader) -> bool {
        let bounded_below = self
            .timestamps
            .is_some_and(|bounds| bounds.earliest > TimestampMs(i64::MIN));
        let could_be_too_large =
            header.codec == Codec::None && header.size_bytes as usize > RECORD_ENCODED_BYTES_MAX;
        // A producer that does not say the latest timestamp; where they are not compressed, a glance at the records tells it.
        let latest_is_unsaid = self.timestamps.is_some()
            && header.codec != Codec::None
            && header.max_timestamp < header.base_timestamp;
        self.keys_required
            || self.records_checked
            || bounded_below
            || could_be_too_large
            || latest_is_unsaid
    }
}

impl TimestampBounds {
    /// Whether a timestamp lies within them: of the record at `index`, where that is known.
    pub fn check(&self, timestamp: TimestampMs, index: Option<i32>) -> Result<(), BatchError> {
        let &Self { earliest, latest } = self;
        if timestamp == TimestampMs::NONE || (earliest..=latest).contains(&timestamp) {
            Ok(())
        } else {
            Err(BatchError::TimestampOutOfRange {
                index,
                timestamp,
                earliest,
                latest,
            })
        }
    }
}

/// Takes `bytes`, the records a client sent to one partition, as exactly one batch that fits `policy`.
///
/// The header and the checksum are always checked; records are decoded only if the policy needs it, so on the usual path
/// the content is read once, for its checksum, and never copied. A lower bound for timestamps needs it too. A record
/// that is too large inside a compressed batch is found by whoever first decodes it.
///
/// Not every producer says the latest timestamp in the header, or says it right: where producers set timestamps, that of
/// records that were decoded or are not compressed takes its place, as it does with Kafka. What the header of a compressed
/// batch says is believed, unless it is before its first timestamp.
pub fn validate_produced(bytes: Bytes, policy: &ProducePolicy) -> Result<Batch, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::NoBatch);
    }
    let size_bytes = BatchHeader::peek_size(&bytes)? as usize;
    if size_bytes > policy.batch_bytes_max {
        return Err(BatchError::TooLarge {
            size_bytes,
            max_bytes: policy.batch_bytes_max,
        });
    }
    let batch = Batch::parse(bytes)?;
    // The checksum first: a flipped bit deserves the answer that makes a client try again.
    batch.check_crc()?;
    check_produced_header(&batch.header)?;
    let decoded = if policy.records_needed(&batch.header) {
        Some(check_records(&batch, policy)?)
    } else {
        None
    };
    let Some(bounds) = &policy.timestamps else {
        return Ok(batch);
    };
    let said = batch.header.max_timestamp;
    let latest = decoded.or_else(|| batch.latest_plain_timestamp());
    let latest = latest.unwrap_or(said);
    bounds.check(latest, None)?;
    bounds.check(batch.header.base_timestamp, Some(0))?;
    if latest == said {
        Ok(batch)
    } else {
        batch.edited(|bytes| set_max_timestamp(bytes, latest))
    }
}

fn check_produced_header(header: &BatchHeader) -> Result<(), BatchError> {
    let bad = |field, value| Err(BatchError::BadField { field, value });
    if header.control {
        return Err(BatchError::ControlBatch);
    }
    if header.base_offset != Offset::ZERO {
        return bad("base offset", header.base_offset.0);
    }
    if i64::from(header.record_count) != header.offset_count() {
        return Err(BatchError::CountMismatch {
            count: header.record_count,
            offsets: header.offset_count(),
        });
    }
    if header.timestamp_type == TimestampType::LogAppendTime {
        return Err(BatchError::ClientLogAppendTime);
    }
    if header.delete_horizon.is_some() {
        return bad("delete horizon", header.base_timestamp.0);
    }
    if header.producer_id.0 < -1 {
        return bad("producer id", header.producer_id.0);
    }
    if header.has_producer() && header.producer_epoch.0 < 0 {
        return bad("producer epoch", header.producer_epoch.0.into());
    }
    if header.has_producer() && header.base_sequence.0 < 0 {
        return bad("base sequence", header.base_sequence.0.into());
    }
    Ok(())
}

/// Checks the records, and says what their latest timestamp is.
fn check_records(batch: &Batch, policy: &ProducePolicy) -> Result<TimestampMs, BatchError> {
    let mut latest = TimestampMs::NONE;
    for (index, record) in (0..).zip(batch.records(policy.decompressed_bytes_max)) {
        let record = record?;
        if policy.keys_required && record.key.is_none() {
            return Err(BatchError::MissingKey { index });
        }
        if let Some(bounds) = &policy.timestamps {
            bounds.check(record.timestamp, Some(index))?;
        }
        latest = latest.max(record.timestamp);
    }
    Ok(latest)
}
