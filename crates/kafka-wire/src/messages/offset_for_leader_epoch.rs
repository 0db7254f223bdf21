//! `OffsetForLeaderEpoch`: where an epoch ends, so that a consumer notices a log that was cut (KIP-320).
//!
//! Kafka 4 has dropped versions 0 and 1; they are what 3.9 reads.

use crate::{ErrorCode, Str};

message! {
    /// Asks where epochs end.
    message OffsetForLeaderEpochRequest [0-4, flexible 4+] {
        /// -1 for a consumer.
        replica_id: i32 [3+] = -2,
        topics: Vec<OffsetForLeaderTopic> [0+],
    }

    /// Epochs of one topic.
    struct OffsetForLeaderTopic {
        topic: Str [0+],
        partitions: Vec<OffsetForLeaderPartition> [0+],
    }

    /// An epoch of one partition.
    struct OffsetForLeaderPartition {
        partition: i32 [0+],
        current_leader_epoch: i32 [2+] = -1,
        leader_epoch: i32 [0+],
    }

    /// Where the epochs end.
    message OffsetForLeaderEpochResponse [0-4, flexible 4+] {
        throttle_time_ms: i32 [2+],
        topics: Vec<OffsetForLeaderTopicResult> [0+],
    }

    /// Where the epochs of one topic end.
    struct OffsetForLeaderTopicResult {
        topic: Str [0+],
        partitions: Vec<EpochEndOffset> [0+],
    }

    /// Where the epoch of one partition ends.
    struct EpochEndOffset {
        error_code: ErrorCode [0+],
        partition: i32 [0+],
        /// The epoch that was found: the one asked for, or the last before it.
        leader_epoch: i32 [1+] = -1,
        end_offset: i64 [0+] = -1,
    }
}
