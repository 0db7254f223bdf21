//! Making of a batch that came what the topic stores: pure, so that a test needs no broker.

use bytes::Bytes;
use millstream_catalog::settings::TopicValues;
use millstream_limits::{BATCH_DECOMPRESSED_BYTES_MAX, UNPACKED_IN_PASSING_BYTES_MAX};
use millstream_record::header::set_log_append_time;
use millstream_record::{
    Batch, BatchError, BatchHeader, Codec, ProducePolicy, TimestampBounds, TimestampMs,
    TimestampType, recompress, validate_produced,
};

use crate::error::BrokerError;

/// A batch fit to be stored.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) batch: Batch,
    /// The log append time that is written in it, where the topic wants that.
    pub(crate) stamp: Option<TimestampMs>,
}

/// Whether taking `bytes` means unpacking records for so long that it should not hold up a thread that serves others.
pub(crate) fn takes_long(bytes: &[u8], values: &TopicValues) -> bool {
    // What is no batch is refused at once.
    let Ok(header) = BatchHeader::parse(bytes) else {
        return false;
    };
    let looks_inside = policy(values, TimestampMs(0)).records_needed(&header);
    let recompresses = values
        .compression
        .is_some_and(|compression| compression.codec != header.codec);
    recompresses || (looks_inside && unpacking_takes_long(bytes))
}

/// Whether looking at the records of this batch takes long.
pub(crate) fn unpacking_takes_long(bytes: &[u8]) -> bool {
    let is_small = |header: BatchHeader| {
        header.codec == Codec::None && bytes.len() <= UNPACKED_IN_PASSING_BYTES_MAX
    };
    BatchHeader::parse(bytes).is_ok_and(|header| !is_small(header))
}

/// Takes `bytes`, which a client sent, as one batch that fits a topic with these settings at the time `now`.
///
/// Without `compression.type`, `message.timestamp.type`, compaction or an earliest timestamp, the bytes come back as
/// they are and the records in them are never looked at.
pub(crate) fn accept(
    bytes: Bytes,
    values: &TopicValues,
    now: TimestampMs,
) -> Result<Accepted, BrokerError> {
    let mut batch = validate_produced(bytes, &policy(values, now))?;
    if batch.header.transactional {
        return Err(BrokerError::TransactionalBatch);
    }
    if let Some(compression) = values.compression
        && compression.codec != batch.header.codec
    {
        batch = recompress(&batch, compression, BATCH_DECOMPRESSED_BYTES_MAX)?;
        check_size(&batch, values)?;
    }
    let stamp = (values.timestamp_type == TimestampType::LogAppendTime).then_some(now);
    if let Some(now) = stamp {
        batch = batch.edited(|bytes| set_log_append_time(bytes, now))?;
    }
    Ok(Accepted { batch, stamp })
}

fn policy(values: &TopicValues, now: TimestampMs) -> ProducePolicy {
    let bounds = || TimestampBounds {
        earliest: match values.timestamp_before_max_ms {
            i64::MAX => TimestampMs(i64::MIN),
            before_ms => now.saturating_sub(before_ms),
        },
        latest: now.saturating_add(values.timestamp_after_max_ms),
    };
    ProducePolicy {
        batch_bytes_max: values.max_message_bytes,
        keys_required: values.cleanup.compact,
        timestamps: (values.timestamp_type == TimestampType::CreateTime).then(bounds),
        records_checked: false,
        decompressed_bytes_max: BATCH_DECOMPRESSED_BYTES_MAX,
    }
}

/// Another codec may have made the batch larger than the topic takes.
fn check_size(batch: &Batch, values: &TopicValues) -> Result<(), BatchError> {
    if batch.bytes.len() > values.max_message_bytes {
        return Err(BatchError::TooLarge {
            size_bytes: batch.bytes.len(),
            max_bytes: values.max_message_bytes,
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
