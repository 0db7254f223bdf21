//! `OffsetDelete`: forgets a group's offsets in topics it does not read (KIP-496).

use crate::{ErrorCode, Str};

message! {
    /// Offsets to delete.
    message OffsetDeleteRequest [0-0] {
        group_id: Str [0+],
        topics: Vec<OffsetDeleteRequestTopic> [0+],
    }

    /// Offsets in one topic.
    struct OffsetDeleteRequestTopic {
        name: Str [0+],
        partitions: Vec<OffsetDeleteRequestPartition> [0+],
    }

    /// The offset in one partition.
    struct OffsetDeleteRequestPartition {
        partition_index: i32 [0+],
    }

    /// What became of each offset.
    message OffsetDeleteResponse [0-0] {
        error_code: ErrorCode [0+],
        throttle_time_ms: i32 [0+],
        topics: Vec<OffsetDeleteResponseTopic> [0+],
    }

    /// What became of the offsets in one topic.
    struct OffsetDeleteResponseTopic {
        name: Str [0+],
        partitions: Vec<OffsetDeleteResponsePartition> [0+],
    }

    /// What became of the offset in one partition.
    struct OffsetDeleteResponsePartition {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
    }
}
