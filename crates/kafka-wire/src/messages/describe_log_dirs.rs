//! `DescribeLogDirs`: what takes how much room on a broker's disks (KIP-113).
//!
//! Kafka 4 has dropped version 0; it is what 3.9 reads.

use crate::{ErrorCode, Str};

message! {
    /// Asks for partitions; null topics ask for all.
    message DescribeLogDirsRequest [0-4, flexible 2+] {
        topics: Option<Vec<DescribableLogDirTopic>> [0+],
    }

    /// Partitions of one topic.
    struct DescribableLogDirTopic {
        topic: Str [0+],
        partitions: Vec<i32> [0+],
    }

    /// The directories of the broker.
    message DescribeLogDirsResponse [0-4, flexible 2+] {
        throttle_time_ms: i32 [0+],
        error_code: ErrorCode [3+],
        results: Vec<DescribeLogDirsResult> [0+],
    }

    /// One directory.
    struct DescribeLogDirsResult {
        error_code: ErrorCode [0+],
        log_dir: Str [0+],
        topics: Vec<DescribeLogDirsTopic> [0+],
        /// The size of the volume; -1 if unknown (KIP-827).
        total_bytes: i64 [4+] = -1,
        usable_bytes: i64 [4+] = -1,
    }

    /// What one topic takes in a directory.
    struct DescribeLogDirsTopic {
        name: Str [0+],
        partitions: Vec<DescribeLogDirsPartition> [0+],
    }

    /// What one partition takes in a directory.
    struct DescribeLogDirsPartition {
        partition_index: i32 [0+],
        /// In bytes.
        partition_size: i64 [0+],
        /// How far a copy that is being moved is behind.
        offset_lag: i64 [0+],
        /// Whether it is such a copy.
        is_future_key: bool [0+],
    }
}
