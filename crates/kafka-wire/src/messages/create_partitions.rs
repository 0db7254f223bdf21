//! `CreatePartitions`: more partitions for topics that exist (KIP-195).

use crate::{ErrorCode, Str};

message! {
    /// Topics to enlarge.
    message CreatePartitionsRequest [0-3, flexible 2+] {
        topics: Vec<CreatePartitionsTopic> [0+],
        timeout_ms: i32 [0+],
        /// Whether only to check.
        validate_only: bool [0+],
    }

    /// One topic to enlarge.
    struct CreatePartitionsTopic {
        name: Str [0+],
        /// How many partitions it is to have in all.
        count: i32 [0+],
        /// The brokers of each new partition; null to let the cluster choose.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0+],
    }

    /// The brokers of one new partition.
    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0+],
    }

    /// What became of each topic.
    message CreatePartitionsResponse [0-3, flexible 2+] {
        throttle_time_ms: i32 [0+],
        results: Vec<CreatePartitionsTopicResult> [0+],
    }

    /// What became of one topic.
    struct CreatePartitionsTopicResult {
        name: Str [0+],
        error_code: ErrorCode [0+],
        error_message: Option<Str> [0+] = None,
    }
}
