//! `DeleteRecords`: drops what is before an offset (KIP-107).

use crate::{ErrorCode, Str};

message! {
    /// How far to delete.
    message DeleteRecordsRequest [0-2, flexible 2+] {
        topics: Vec<DeleteRecordsTopic> [0+],
        timeout_ms: i32 [0+],
    }

    /// How far to delete in one topic.
    struct DeleteRecordsTopic {
        name: Str [0+],
        partitions: Vec<DeleteRecordsPartition> [0+],
    }

    /// How far to delete in one partition.
    struct DeleteRecordsPartition {
        partition_index: i32 [0+],
        /// The first offset to keep; -1 for the high watermark.
        offset: i64 [0+],
    }

    /// What is left.
    message DeleteRecordsResponse [0-2, flexible 2+] {
        throttle_time_ms: i32 [0+],
        topics: Vec<DeleteRecordsTopicResult> [0+],
    }

    /// What is left of one topic.
    struct DeleteRecordsTopicResult {
        name: Str [0+],
        partitions: Vec<DeleteRecordsPartitionResult> [0+],
    }

    /// What is left of one partition.
    struct DeleteRecordsPartitionResult {
        partition_index: i32 [0+],
        /// The first offset that is left.
        low_watermark: i64 [0+],
        error_code: ErrorCode [0+],
    }
}
