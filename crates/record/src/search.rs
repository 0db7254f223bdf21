//! Finding records by time inside a batch, for `ListOffsets` and seeking.

use crate::batch::Batch;
use crate::error::BatchError;
use crate::header::TimestampType;
use crate::ids::{Offset, TimestampMs};

impl Batch {
    /// The first record that is not earlier than `from`, with its timestamp; none if all are.
    ///
    /// Decodes records only where the header cannot tell.
    pub fn first_since(
        &self,
        from: TimestampMs,
        decompressed_bytes_max: usize,
    ) -> Result<Option<(Offset, TimestampMs)>, BatchError> {
        if self.header.max_timestamp < from {
            return Ok(None);
        }
        self.find(decompressed_bytes_max, |timestamp| timestamp >= from)
    }

    /// The first of the records that have the batch's max timestamp, with that timestamp; none if the batch has no
    /// records or its header lies.
    pub fn first_at_max_timestamp(
        &self,
        decompressed_bytes_max: usize,
    ) -> Result<Option<(Offset, TimestampMs)>, BatchError> {
        let max_timestamp = self.header.max_timestamp;
        self.find(decompressed_bytes_max, |timestamp| {
            timestamp == max_timestamp
        })
    }

    fn find(
        &self,
        decompressed_bytes_max: usize,
        wanted: impl Fn(TimestampMs) -> bool,
    ) -> Result<Option<(Offset, TimestampMs)>, BatchError> {
        // All records share one timestamp, and unless compaction was here the first has the base offset.
        let header = &self.header;
        let shared = header.timestamp_type == TimestampType::LogAppendTime;
        if shared && i64::from(header.record_count) == header.offset_count() {
            return Ok(
                wanted(header.max_timestamp).then_some((header.base_offset, header.max_timestamp))
            );
        }
        for record in self.records(decompressed_bytes_max) {
            let record = record?;
            if wanted(record.timestamp) {
                return Ok(Some((record.offset, record.timestamp)));
            }
        }
        Ok(None)
    }
}
