//! `OffsetFetch`: reads the offsets kept for groups: of one group up to version 7, of several from 8 on (KIP-709).

use uuid::Uuid;

use crate::{ErrorCode, Str};

message! {
    /// Asks for offsets. Null topics ask for all that are kept.
    message OffsetFetchRequest [1-10, flexible 6+] {
        group_id: Str [0-7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [0-7, nullable 2-7],
        groups: Vec<OffsetFetchRequestGroup> [8+],
        /// Whether to fail while a transaction's offsets are undecided (KIP-447).
        require_stable: bool [7+],
    }

    /// Partitions of one topic, up to version 7.
    struct OffsetFetchRequestTopic {
        name: Str [0-7],
        partition_indexes: Vec<i32> [0-7],
    }

    /// What to read of one group.
    struct OffsetFetchRequestGroup {
        group_id: Str [8+],
        member_id: Option<Str> [9+] = None,
        member_epoch: i32 [9+] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>> [8+],
    }

    /// Partitions of one topic, from version 8 on.
    struct OffsetFetchRequestTopics {
        name: Str [8-9],
        topic_id: Uuid [10+],
        partition_indexes: Vec<i32> [8+],
    }

    /// The offsets.
    message OffsetFetchResponse [1-10, flexible 6+] {
        throttle_time_ms: i32 [3+],
        topics: Vec<OffsetFetchResponseTopic> [0-7],
        error_code: ErrorCode [2-7],
        groups: Vec<OffsetFetchResponseGroup> [8+],
    }

    /// Offsets in one topic, up to version 7.
    struct OffsetFetchResponseTopic {
        name: Str [0-7],
        partitions: Vec<OffsetFetchResponsePartition> [0-7],
    }

    /// The offset in one partition, up to version 7; -1 if none is kept.
    struct OffsetFetchResponsePartition {
        partition_index: i32 [0-7],
        committed_offset: i64 [0-7],
        committed_leader_epoch: i32 [5-7] = -1,
        metadata: Option<Str> [0-7],
        error_code: ErrorCode [0-7],
    }

    /// The offsets of one group.
    struct OffsetFetchResponseGroup {
        group_id: Str [8+],
        topics: Vec<OffsetFetchResponseTopics> [8+],
        error_code: ErrorCode [8+],
    }

    /// Offsets in one topic, from version 8 on.
    struct OffsetFetchResponseTopics {
        name: Str [8-9],
        topic_id: Uuid [10+],
        partitions: Vec<OffsetFetchResponsePartitions> [8+],
    }

    /// The offset in one partition, from version 8 on; -1 if none is kept.
    struct OffsetFetchResponsePartitions {
        partition_index: i32 [8+],
        committed_offset: i64 [8+],
        committed_leader_epoch: i32 [8+] = -1,
        metadata: Option<Str> [8+],
        error_code: ErrorCode [8+],
    }
}
