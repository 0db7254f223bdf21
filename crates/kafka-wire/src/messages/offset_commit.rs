//! `OffsetCommit`: keeps a group's offsets.

use uuid::Uuid;

use crate::{ErrorCode, Str};

message! {
    /// Offsets to keep for a group.
    message OffsetCommitRequest [2-10, flexible 8+] {
        group_id: Str [0+],
        /// -1 from a consumer that is not a member.
        generation_id_or_member_epoch: i32 [1+] = -1,
        member_id: Str [1+],
        group_instance_id: Option<Str> [7+] = None,
        /// -1 for the broker's own retention.
        retention_time_ms: i64 [2-4] = -1,
        topics: Vec<OffsetCommitRequestTopic> [0+],
    }

    /// Offsets in one topic.
    struct OffsetCommitRequestTopic {
        name: Str [0-9],
        topic_id: Uuid [10+],
        partitions: Vec<OffsetCommitRequestPartition> [0+],
    }

    /// The offset in one partition: that of the next record to read.
    struct OffsetCommitRequestPartition {
        partition_index: i32 [0+],
        committed_offset: i64 [0+],
        committed_leader_epoch: i32 [6+] = -1,
        committed_metadata: Option<Str> [0+],
    }

    /// Whether each offset is kept.
    message OffsetCommitResponse [2-10, flexible 8+] {
        throttle_time_ms: i32 [3+],
        topics: Vec<OffsetCommitResponseTopic> [0+],
    }

    /// Whether the offsets in one topic are kept.
    struct OffsetCommitResponseTopic {
        name: Str [0-9],
        topic_id: Uuid [10+],
        partitions: Vec<OffsetCommitResponsePartition> [0+],
    }

    /// Whether the offset in one partition is kept.
    struct OffsetCommitResponsePartition {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
    }
}
