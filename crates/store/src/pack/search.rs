//! Finding records by time inside a batch of which readers may have only a part.

use millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX;
use millstream_record::{Batch, BatchError, Offset, TimestampMs};

/// A record: when and where.
pub(crate) type Stamp = (TimestampMs, Offset);

/// The one with the later timestamp, the first of two equal ones.
pub(crate) fn later(first: Option<Stamp>, second: Option<Stamp>) -> Option<Stamp> {
    match (first, second) {
        (Some(first), Some(second)) if second.0 <= first.0 => Some(first),
        (first, second) => second.or(first),
    }
}

/// The first record of a batch, from `from` on, whose timestamp is at least `at`.
pub(crate) fn first_record_since(
    batch: &Batch,
    at: TimestampMs,
    from: Offset,
) -> Result<Option<Stamp>, BatchError> {
    if batch.header.base_offset >= from {
        let found = batch.first_since(at, BATCH_DECOMPRESSED_BYTES_MAX)?;
        return Ok(found.map(|(offset, time)| (time, offset)));
    }
    for record in batch.records(BATCH_DECOMPRESSED_BYTES_MAX) {
        let record = record?;
        if record.offset >= from && record.timestamp >= at {
            return Ok(Some((record.timestamp, record.offset)));
        }
    }
    Ok(None)
}

/// The first of a batch's records, from `from` on, that have the latest timestamp.
pub(crate) fn latest_record(batch: &Batch, from: Offset) -> Result<Option<Stamp>, BatchError> {
    if batch.header.base_offset >= from {
        let found = batch.first_at_max_timestamp(BATCH_DECOMPRESSED_BYTES_MAX)?;
        return Ok(found.map(|(offset, time)| (time, offset)));
    }
    let mut latest = None;
    for record in batch.records(BATCH_DECOMPRESSED_BYTES_MAX) {
        let record = record?;
        if record.offset >= from {
            latest = later(latest, Some((record.timestamp, record.offset)));
        }
    }
    Ok(latest)
}
