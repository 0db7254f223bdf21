//! `ListOffsets`: finds offsets by time, among them the first and the last.

use crate::{ErrorCode, IsolationLevel, Str};

message! {
    /// Asks for one offset of each partition.
    message ListOffsetsRequest [1-11, flexible 6+] {
        /// -1 for a consumer.
        replica_id: i32 [0+],
        isolation_level: IsolationLevel [2+],
        topics: Vec<ListOffsetsTopic> [0+],
        /// For offsets in remote storage (KIP-1075).
        timeout_ms: i32 [10+],
    }

    /// What to find in one topic.
    struct ListOffsetsTopic {
        name: Str [0+],
        partitions: Vec<ListOffsetsPartition> [0+],
    }

    /// What to find in one partition.
    struct ListOffsetsPartition {
        partition_index: i32 [0+],
        current_leader_epoch: i32 [4+] = -1,
        /// A time in milliseconds, or one of the special ones, such as [`LATEST_TIMESTAMP`].
        timestamp: i64 [0+],
    }

    /// The offsets.
    message ListOffsetsResponse [1-11, flexible 6+] {
        throttle_time_ms: i32 [2+],
        topics: Vec<ListOffsetsTopicResponse> [0+],
    }

    /// What was found in one topic.
    struct ListOffsetsTopicResponse {
        name: Str [0+],
        partitions: Vec<ListOffsetsPartitionResponse> [0+],
    }

    /// What was found in one partition.
    struct ListOffsetsPartitionResponse {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
        /// The found record's time; -1 if a special time was asked for, or nothing found.
        timestamp: i64 [1+] = -1,
        /// -1 if there is no such record.
        offset: i64 [1+] = -1,
        leader_epoch: i32 [4+] = -1,
    }
}

/// The end of the partition, for a reader at [`IsolationLevel`].
pub const LATEST_TIMESTAMP: i64 = -1;
/// The first offset of the partition.
pub const EARLIEST_TIMESTAMP: i64 = -2;
/// The record with the highest timestamp (KIP-734).
pub const MAX_TIMESTAMP: i64 = -3;
/// The first offset on the broker's own disks (KIP-405).
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// The last offset in remote storage (KIP-1005).
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;
/// The first offset that is not yet in remote storage (KIP-1023).
pub const EARLIEST_PENDING_UPLOAD_TIMESTAMP: i64 = -6;
